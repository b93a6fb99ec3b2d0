"""The size of an image or label map, from its header: read before the data, which may be huge once it is unpacked."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
from PIL import Image

from monai_segdiff.data import file_extension
from monai_segdiff.data.readers.nifti import nifti_header
from monai_segdiff.data.readers.picture import open_picture
from monai_segdiff.data.readers.voxels import check_claimed_size
from monai_segdiff.integrations.label.errors import RequestError

__all__ = ["LABEL_ENDINGS", "check_file", "check_size"]

#: Formats of images and label maps.
LABEL_ENDINGS = (".nii.gz", ".nii", ".png")
_HEADER = 540  # bytes that hold one of either version
_SPARE = 2**20  # bytes that may follow the voxels
_LARGEST_GB = 1  # of voxels
_BLOCK = 2**20
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    OverflowError,
    zlib.error,
    nib.spatialimages.HeaderDataError,
    Image.DecompressionBombError,
)


def check_size(file: Path, image_size: Sequence[int], what: str = "label map", channels: int = 1) -> None:
    """Refuse a file that is no label map or image, or has another size than the network was trained on.

    Args:
        file: the file; one slice of 2D may be stored as a volume.
        image_size: of the network.
        what: what it is, for the message.
        channels: how many it has, in NIfTI behind three axes of space; the colors of a picture are not counted.

    Raises:
        RequestError: with the expected size, and the command that resizes.
    """
    ending = _ending(file, what)
    try:
        size = _picture(file)[0] if ending == ".png" else _nifti(file)[0]
    except _DAMAGE as error:
        raise RequestError(f"the {what} cannot be read as {ending}: store it again") from error
    dims = len(image_size)
    beyond = () if channels == 1 or ending == ".png" else (channels,)
    if tuple(n for n in size[dims:] if n != 1) != beyond or tuple(size[:dims]) != tuple(image_size):
        needed = (*image_size, *[1] * (3 - dims), *beyond) if beyond else image_size
        wanted, found = ("x".join(map(str, sizes)) for sizes in (needed, size))
        raise RequestError(
            f"the {what} has size {found}, but the generator needs {wanted}: resize the studies with "
            f"python -m monai_segdiff prepare --spatial-dims {dims} --size {' '.join(map(str, image_size))}"
        )


def check_file(file: Path, what: str) -> None:
    """Refuse a file that is no image, fails its own checksum, is cut short, or is larger than a study may be.

    Voxels are read to the end and not kept in memory.

    Args:
        file: the file.
        what: what it is, for the message.

    Raises:
        RequestError: saying what is wrong with it.
    """
    ending = _ending(file, what)
    try:
        size, start, voxel = _picture(file) if ending == ".png" else _nifti(file)
        if not size or min(size) < 1:
            raise ValueError("an axis without voxels")
        needed = start + math.prod(size) * voxel
        if needed > _LARGEST_GB * 2**30:
            shown = "x".join(map(str, size))
            raise RequestError(f"the {what} of size {shown} has more than {_LARGEST_GB} GB of voxels: crop it")
        if ending == ".png":
            open_picture(file)
        else:
            check_claimed_size(needed - start, file.stat().st_size, packed=ending.endswith(".gz"))
            with _opened(file) as stream:
                _count(stream, needed)
    except RequestError:
        raise
    except _DAMAGE as error:
        raise RequestError(f"the {what} cannot be read as {ending}: store it again") from error


def _ending(file: Path, what: str) -> str:
    ending = file_extension(file)
    if ending not in LABEL_ENDINGS:
        raise RequestError(
            f"the {what} must be one of {', '.join(LABEL_ENDINGS)}, got {ending[:20] or 'no file ending'}"
        )
    return ending


def _opened(file: Path) -> BinaryIO:
    return gzip.open(file) if file_extension(file).endswith(".gz") else open(file, "rb")  # type: ignore[return-value]


def _count(stream: BinaryIO, needed: int) -> None:
    """Read a stream to its end, where its checksum is."""
    found = 0
    while block := stream.read(_BLOCK):
        found += len(block)
        if found > needed + _SPARE:
            raise ValueError("more than the header asks for")
    if found < needed:
        raise EOFError("cut short")


def _picture(file: Path) -> tuple[tuple[int, ...], int, int]:
    """Size, start of the data and bytes of a voxel, 4 at most."""
    with Image.open(file, formats=["PNG"]) as picture:
        return picture.size, 0, 4


def _nifti(file: Path) -> tuple[tuple[int, ...], int, int]:
    """Size, start of the data in bytes, and bytes of a voxel."""
    with _opened(file) as stream:
        header = nifti_header(stream.read(_HEADER))
    size = tuple(int(n) for n in header.get_data_shape())
    return size, int(header.get_data_offset()), int(header.get_data_dtype().itemsize)
