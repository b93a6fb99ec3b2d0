"""TIFF files: a picture, or pages of one size as a volume."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from monai_segdiff.data.readers.picture import MOST_PIXELS, PICTURE_AFFINE, picture_values
from monai_segdiff.data.readers.tiff_pages import Page, tiff_pages
from monai_segdiff.data.readers.voxels import Voxels, check_claimed_size, plain_numbers

__all__ = ["read_tiff"]

_METHODS = {1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32773: "PackBits", 32946: "deflate"}
_JPEG = 7


def read_tiff(path: Path, is_label_map: bool = False, channels: int | None = 1) -> Voxels:
    """Read the gray values of a TIFF file, or its colors; of a label map, the ids.

    Pixels mean what those of other pictures do, see :func:`~monai_segdiff.data.readers.picture.read_picture`. Pages of
    one size are the slices of a volume, from the feet up. How large voxels are is unknown, as of every picture.

    Args:
        path: the file.
        is_label_map: whether its values are ids.
        channels: 1 for gray values, 3 for red, green and blue, also of what is gray; None for what the file has, which
            is colors where any page has.

    Raises:
        ValueError: for damage, more than the file can hold, pages of several sizes, another number of channels, and
            what a decoder would change; the file is not named.
        OSError: for damage, as the decoder finds it.
    """
    content = path.read_bytes()
    if not content:
        raise ValueError("it is empty")
    pages = tiff_pages(content)
    for page in pages:
        _check_page(page, pages[0], is_label_map)
    packed = any(page.compression != 1 for page in pages)
    check_claimed_size(sum(page.size for page in pages), len(content), packed)
    slices: list[NDArray[Any]] = []
    facts: dict[str, Any] = {}
    with _opened(content, pages[0]) as picture:
        for page in pages:
            picture.seek(page.number)
            values, found = picture_values(_decoded(picture), is_label_map, channels)
            _same_palette(facts, found, bool(slices))
            slices.append(_without_sign_lost(values, page).swapaxes(0, 1))
    colored = any(part.ndim == 3 for part in slices)
    if channels is None and colored:  # gray pages among them are gray in all three colors
        return read_tiff(path, channels=3)
    if len({(part.shape, part.dtype) for part in slices}) > 1:
        raise ValueError("its pages are of several kinds; save one image in each file")
    array = np.stack(slices, axis=2) if len(slices) > 1 else slices[0]
    return Voxels(plain_numbers(array), PICTURE_AFFINE.copy(), facts, 3 if colored else 1)


def _opened(content: bytes, first: Page) -> Image.Image:
    """The file as a decoder sees it; from memory, as a mapped file that is to be turned comes out wrong."""
    try:
        return Image.open(io.BytesIO(content), formats=["TIFF"])
    except UnidentifiedImageError:
        raise ValueError(
            f"its pixels are {first.samples} samples of {first.bits} bits of a kind that is not read; save it in "
            "gray with 8, "
            "16 or 32 bits"
        ) from None


def _decoded(picture: Image.Image) -> Image.Image:
    """A copy of the page that is open, as a viewer shows it."""
    picture.load()
    return picture.copy()


def _check_page(page: Page, first: Page, is_label_map: bool) -> None:
    if page.width * page.height > MOST_PIXELS:
        raise ValueError(f"it has {page.width}x{page.height} pixels; crop it, or scale it down")
    if (page.width, page.height, page.bits, page.samples) != (first.width, first.height, first.bits, first.samples):
        raise ValueError(
            f"its pages differ ({first.width}x{first.height} and {page.width}x{page.height} pixels); save one image in "
            "each file"
        )
    if page.compression not in _METHODS:
        raise ValueError(
            f"it is packed by method {page.compression}; save it without compression, or with LZW or deflate"
        )
    if is_label_map and page.compression == _JPEG:
        raise ValueError("it is packed as JPEG, which changes label ids; make it anew from the lossless original")
    if page.samples > 1 and page.bits > 8:
        raise ValueError("it holds colors, or transparency, with 16 bits each; save it in gray with 16 bits")
    if page.bits > 8 and page.photometric == 0:
        raise ValueError("its zeros are white; save it with black as zero")
    if page.bits == 8 and page.signed:
        raise ValueError("it holds numbers from -128 to 127 in 8 bits; save it with 16 bits, or without a sign")


def _without_sign_lost(values: NDArray[Any], page: Page) -> NDArray[Any]:
    """Values of a page, refused where 32 bits without a sign were read as if they had one."""
    if page.bits == 32 and not page.signed and values.dtype.kind == "i" and values.min() < 0:
        raise ValueError("it holds whole numbers above 2^31; store smaller ones")
    return values


def _same_palette(facts: dict[str, Any], found: Mapping[str, Any], later: bool) -> None:
    """Take what a page says of its colors; an index has one color on all pages."""
    if later and bool(facts) != bool(found):
        raise ValueError("some of its pages have a palette; save all with one palette, or one id per pixel in gray")
    known: dict[int, Sequence[int]] = facts.setdefault("palette", {}) if found else {}
    for index, color in found.get("palette", {}).items():
        if known.setdefault(index, color) != color:
            raise ValueError(f"its pages paint id {index} in several colors; save all with one palette")
