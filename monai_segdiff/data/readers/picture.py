"""Pictures (PNG, JPEG): what a viewer shows is what is meant."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from monai_segdiff.data.readers.voxels import Voxels, channel_count, plain_numbers

__all__ = ["MOST_PIXELS", "PICTURE_AFFINE", "open_picture", "picture_values", "read_picture"]

#: The rows of a picture run down, and its left is the patient's right; how large its pixels are is unknown.
PICTURE_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])

#: Pixels of a picture, at most; PIL warns above 89 million.
MOST_PIXELS = 2**27
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_GRAY_MODES = ("L", "I", "I;16", "I;16B", "I;16L", "F")


def open_picture(path: Path) -> Image.Image:
    """Open a picture as a viewer shows it: turned as it says, its chunks' checksums checked.

    Args:
        path: PNG or JPEG file.

    Raises:
        ValueError: for another format, more pixels than a radiograph has, or damage; the file is not named.
        OSError: for damage.
        SyntaxError: for damage.
    """
    wanted = _FORMATS[path.suffix.lower()]
    content = path.read_bytes()
    if not content:
        raise ValueError("it is empty")
    with Image.open(path, formats=list(set(_FORMATS.values()))) as picture:
        if picture.format != wanted:
            raise ValueError(f"it holds {picture.format} under the name of {wanted}; rename it")
        if picture.width * picture.height > MOST_PIXELS:
            raise ValueError(f"it has {picture.width}x{picture.height} pixels; crop it, or scale it down")
        if wanted == "PNG":
            _check_depth(content)
            _check_chunks(content)
    with Image.open(path, formats=[wanted]) as picture:
        picture.load()
        return ImageOps.exif_transpose(picture)


def _check_chunks(content: bytes) -> None:
    """Refuse a PNG file with a chunk whose checksum does not fit, the last one included, which PIL does not look at."""
    at, name = 8, b""
    while name != b"IEND":
        length = int.from_bytes(content[at : at + 4], "big")
        name, body = content[at + 4 : at + 8], content[at + 4 : at + 8 + length]
        checksum = content[at + 8 + length : at + 12 + length]
        if len(checksum) < 4:
            raise ValueError("it is cut short")
        if int.from_bytes(checksum, "big") != zlib.crc32(body):
            raise ValueError(f"the checksum of its chunk {name.decode('latin-1')!r} does not fit")
        at += length + 12


def read_picture(path: Path, is_label_map: bool = False, channels: int | None = 1) -> Voxels:
    """Read the gray values of a picture, or its colors; of a label map, the ids.

    Colors that are all gray are their gray values, whether stored as such, as red, green and blue, or by a palette.
    Other colors of an image become their luminance, as ITU-R 601-2 has it, where one channel is wanted. In a label map
    they are no ids: the indices of a palette are.

    Args:
        path: PNG or JPEG file.
        is_label_map: whether its values are ids.
        channels: 1 for gray values, 3 for red, green and blue, also of what is gray; None for what the picture has.

    Raises:
        ValueError: for a label map in colors or in JPEG, an image that is partly transparent, or another number of
            channels; the file is not named.
        OSError: for damage, as :func:`open_picture` raises it.
    """
    if is_label_map and path.suffix.lower() != ".png":
        raise ValueError(
            "it is a JPEG, whose compression changes label ids, at edges above all; make it anew from the lossless "
            "original, or set each value to the nearest id and save it as PNG"
        )
    values, facts = picture_values(open_picture(path), is_label_map, channels)
    array = plain_numbers(values.swapaxes(0, 1))
    return Voxels(array, PICTURE_AFFINE.copy(), facts, 1 if array.ndim == 2 else 3)


def picture_values(
    picture: Image.Image, is_label_map: bool = False, channels: int | None = 1
) -> tuple[NDArray[Any], dict[str, Any]]:
    """Gray values of a picture that is decoded, by its rows, or its colors; of a label map, the ids, and their palette.

    Args:
        picture: the picture.
        is_label_map: whether its values are ids.
        channels: as for :func:`read_picture`.

    Returns:
        (Y, X) of gray values or ids, or (Y, X, 3) of red, green and blue; and what else is known.

    Raises:
        ValueError: as for :func:`read_picture`.
    """
    if channels != 1 and (colored := _colors(picture, channels)) is not None:
        return colored, {}
    facts: dict[str, Any] = {}
    if picture.mode == "P":
        colors = _palette(picture)
        indices = np.asarray(picture)
        used = np.unique(indices)
        gray = (colors[used, :1] == colors[used]).all()
        if is_label_map and not gray:
            values = indices
            facts["palette"] = {int(i): tuple(int(c) for c in colors[i]) for i in used}
        elif gray:
            values = colors[indices, 0]
        else:
            values = np.asarray(_opaque(picture.convert("RGBA"), is_label_map).convert("L"))
    elif picture.mode in _GRAY_MODES:
        values = np.asarray(picture)
    elif picture.mode == "1":
        values = np.asarray(picture.convert("L"))
    elif picture.mode in ("LA", "RGB", "RGBA", "PA", "La", "RGBa"):
        plain = _opaque(picture, is_label_map)
        values = _gray_values(plain, is_label_map)
    else:
        raise ValueError(f"it is a picture of mode {picture.mode}; save it in gray")
    return values, facts


def _colors(picture: Image.Image, channels: int | None) -> NDArray[np.uint8] | None:
    """Red, green and blue, (Y, X, 3); None for a gray picture whose gray values will do."""
    if picture.mode in _GRAY_MODES[1:] and channels is not None:
        raise ValueError(f"it is gray with more than 8 bits, and {channels} channels are wanted; save it in colors")
    values = None if picture.mode in _GRAY_MODES else np.asarray(_opaque(picture.convert("RGBA"), False).convert("RGB"))
    gray = values is None or bool((values == values[..., :1]).all())
    if channels is None and gray:
        return None
    if channels not in (None, 3):
        raise ValueError(f"it has {channel_count(1 if gray else 3)}, and {channels} are wanted; name those that it has")
    return np.asarray(picture.convert("RGB")) if values is None else values


def _palette(picture: Image.Image) -> NDArray[np.uint8]:
    """Red, green and blue of each of 256 indices."""
    flat = list(picture.getpalette("RGB") or [])
    return np.asarray((flat + [0] * 768)[:768], dtype=np.uint8).reshape(256, 3)


def _opaque(picture: Image.Image, is_label_map: bool) -> Image.Image:
    """A picture without its transparency, which must not hide anything."""
    if "A" not in picture.getbands() and "a" not in picture.getbands():
        return picture
    alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    if alpha.min() < 255:
        raise ValueError(
            f"{(alpha < 255).mean():.0%} of its pixels are transparent, so what they show depends on the viewer; "
            f"save it without transparency{', one id per pixel' if is_label_map else ''}"
        )
    return picture.convert("L" if picture.mode in ("LA", "La") else "RGB")


def _gray_values(picture: Image.Image, is_label_map: bool) -> NDArray[np.uint8]:
    values = np.asarray(picture)
    if values.ndim == 2:
        return values
    if (values == values[..., :1]).all():
        return values[..., 0]
    if is_label_map:
        colors = np.unique(values.reshape(-1, 3), axis=0)
        shown = ", ".join(str(tuple(int(c) for c in color)) for color in colors[:5])
        raise ValueError(
            f"its classes are painted in {len(colors)} colors ({shown}{', ...' if len(colors) > 5 else ''}), and which "
            "is which is not said; save it with one id per pixel, in gray or as indices of a palette"
        )
    return np.asarray(picture.convert("L"))


def _check_depth(content: bytes) -> None:
    """Refuse colors of 16 bits, of which the library would drop the lower 8."""
    depth, kind = content[24:26] if len(content) > 26 else (8, 0)
    if depth == 16 and kind != 0:
        raise ValueError("it holds colors, or transparency, with 16 bits each; save it in gray with 16 bits")
