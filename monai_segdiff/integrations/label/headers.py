"""The size of a label map, from its header: read before the data, which may be huge once it is unpacked."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
from PIL import Image

from monai_segdiff.data import file_extension
from monai_segdiff.integrations.label.errors import RequestError

__all__ = ["LABEL_ENDINGS", "check_size"]

#: Formats of label maps.
LABEL_ENDINGS = (".nii.gz", ".nii", ".png")
_HEADER = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_FARTHEST = 2**20  # where the data may begin, in bytes; extensions of the header lie before them


def check_size(file: Path, image_size: Sequence[int]) -> None:
    """Refuse a label map that is none, or not of the size that a network was trained on.

    Args:
        file: the label map; one slice of 2D may be stored as a volume.
        image_size: of the network.

    Raises:
        RequestError: saying what was expected, and how to get there.
    """
    ending = file_extension(file)
    if ending not in LABEL_ENDINGS:
        raise RequestError(f"a label map must be one of {', '.join(LABEL_ENDINGS)}, not {ending or 'without ending'}")
    try:
        size = _picture(file) if ending == ".png" else _nifti(file, gz=ending.endswith(".gz"))
    except (OSError, EOFError, ValueError, SyntaxError, zlib.error, nib.spatialimages.HeaderDataError) as error:
        raise RequestError(f"the label map cannot be read as {ending}: store it again") from error
    dims = len(image_size)
    if tuple(n for n in size[dims:] if n != 1) or tuple(size[:dims]) != tuple(image_size):
        wanted, found = ("x".join(map(str, sizes)) for sizes in (image_size, size))
        raise RequestError(
            f"the label map has size {found}, this generator makes images of {wanted}: bring studies to that size with "
            f"python -m monai_segdiff prepare --spatial-dims {dims} --size {' '.join(map(str, image_size))}"
        )


def _picture(file: Path) -> tuple[int, ...]:
    with Image.open(file, formats=["PNG"]) as picture:
        return picture.size


def _nifti(file: Path, gz: bool) -> tuple[int, ...]:
    with gzip.open(file) if gz else open(file, "rb") as stream:
        block = stream.read(max(_HEADER))
    sizes = {int.from_bytes(block[:4], order) for order in ("little", "big")} & set(_HEADER)
    if not sizes:
        raise ValueError("no NIfTI header")
    bytes_read = sizes.pop()
    header = _HEADER[bytes_read](block[:bytes_read])
    if float(header["vox_offset"]) > _FARTHEST:
        raise ValueError("the data begin too far behind the header")
    return tuple(int(n) for n in header.get_data_shape())
