"""Sizes that DICOM headers claim, held against the bytes that are there before any memory is taken."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

__all__ = ["SIZES", "check_claimed_sizes", "check_grid", "claimed_bytes"]

#: What of a header says how large its image is.
SIZES = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated")
_FREE = 2**27  # bytes that compressed images may become, whatever their files' size: one of 8192 x 8192 pixels
_EXPANSION = 50  # and how often their files' size beyond that; lossy CT has 10 to 20
_LONGEST = 2**16  # voxels along an axis
_FREE_VOXELS = 2**28  # 512 x 512 x 1024
_SPARSENESS = 100  # voxels of a grid for each byte of a segmentation that leaves out empty slices
# Every image stands in the file as it is; deflated ones do once pydicom has read them.
_NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}


def claimed_bytes(file: Path, header: Any) -> int:
    """Bytes of the pixels that a header speaks of, once they are decoded.

    Args:
        file: where it is from, for messages.
        header: with the attributes in `SIZES`.

    Raises:
        ValueError: if it has no rows or columns, or its numbers are none; names the file.
    """
    sizes = {}
    for keyword, default in zip(SIZES, (None, None, 1, 1, 16), strict=True):
        found = header.get(keyword)
        value = default if found is None or found == "" else found
        try:
            sizes[keyword] = int(value)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            what = f"no {keyword}" if value is None else f"{keyword} {value!r}, not one number"
            raise ValueError(f"{file} has {what}; export it again") from error
        if sizes[keyword] < 1:
            raise ValueError(f"{file} has {keyword} {sizes[keyword]}, which is no size; export it again")
    if _syntax(header) not in _NATIVE:
        sizes["BitsAllocated"] = max(sizes["BitsAllocated"], 8)  # single bits are decoded to bytes
    return -(-prod(sizes.values()) // 8)


def check_claimed_sizes(headers: Mapping[Path, Any], where: Any) -> None:
    """Refuse images whose headers ask for far more memory than their files can fill.

    Args:
        headers: file to header, with the attributes in `SIZES` and ``file_meta``.
        where: names all of them, for messages.

    Raises:
        ValueError: names the file, what it claims and what is there.
    """
    total = there = 0
    for file, header in headers.items():
        claimed, size = claimed_bytes(file, header), file.stat().st_size
        total, there = total + claimed, there + size
        if _syntax(header) in _NATIVE and claimed > size:
            raise ValueError(
                f"{file} cannot be decoded: it has {size} bytes, but speaks of {header.Rows} x {header.Columns} "
                f"pixels, which are {claimed}; copy it again"
            )
    if total > max(_FREE, _EXPANSION * there):
        rest = f" and {len(headers) - 1} others" if len(headers) > 1 else ""
        first = max(headers, key=lambda file: claimed_bytes(file, headers[file]))
        raise ValueError(
            f"{first}{rest} ({where}) cannot be decoded: of {there} bytes in all they speak of {total} bytes of "
            "pixels, which is more than compressing explains; export the series again"
        )


def check_grid(file: Path, shape: tuple[int, ...], like: tuple[int, ...] = ()) -> None:
    """Refuse a segmentation that a small file spreads over a grid that would fill the memory.

    Args:
        file: the segmentation.
        shape: of its grid.
        like: shape of the images that it is to lie on, if there are any.

    Raises:
        ValueError: names the file.
    """
    most = max(_FREE_VOXELS, _SPARSENESS * file.stat().st_size, prod(like))
    if prod(shape) > most or max(shape) > _LONGEST:
        raise ValueError(
            f"{file} has {file.stat().st_size} bytes, but lies on a grid of {' x '.join(map(str, shape))} voxels; "
            "export it again"
        )


def _syntax(header: Any) -> str:
    return str(header.file_meta.get("TransferSyntaxUID") or "") if hasattr(header, "file_meta") else ""
