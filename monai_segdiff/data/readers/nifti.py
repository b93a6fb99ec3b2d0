"""NIfTI files: either byte order, scale factors, and the checksum of those that are packed."""

from __future__ import annotations

import gzip
import io
import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np

from monai_segdiff.data.readers.voxels import Voxels, channels_last, check_claimed_size, gathered, plain_numbers

__all__ = ["nifti_header", "read_nifti"]

_HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_FARTHEST = 2**24  # where the voxels may begin, in bytes; extensions of the header lie before them
_BLOCK = 2**20

# What is wrong with a header is said by the error; nibabel's own log would say it a second time, without the file.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)


def read_nifti(path: Path, channels: int | None = 1) -> Voxels:
    """Read a .nii or .nii.gz file to its end, checksum included.

    Channels are its fourth axis (X, Y, Z, C), as in the Medical Segmentation Decathlon, its fifth, or its colors.

    Args:
        path: the file.
        channels: how many it must have; None for as many as there are.

    Raises:
        ValueError: for what is damaged, no image, or has other channels; the file is not named.
        OSError: the same, from gzip.
    """
    packed = path.name.lower().endswith(".gz")
    held = path.stat().st_size
    if held == 0:
        raise ValueError("it is empty")
    opener: Callable[[Path], BinaryIO] = gzip.open if packed else partial(open, mode="rb")  # type: ignore[assignment]
    with opener(path) as stream:
        start = stream.read(max(_HEADERS))
        header = nifti_header(start)
        shape, offset = header.get_data_shape(), int(header.get_data_offset())
        claimed = math.prod(shape) * header.get_data_dtype().itemsize
        check_claimed_size(claimed, held if packed else held - offset, packed)
        needed = offset + claimed
        if packed:
            content = start + gathered(iter(partial(stream.read, _BLOCK), b""), needed)
            held = len(content)
        if held < needed:
            raise ValueError(f"it is cut short: {needed} bytes are needed, and {held} are there")
        source = io.BytesIO(content) if packed else stream
        proxy = nib.arrayproxy.ArrayProxy(source, header, mmap=False)
        array, found = channels_last(plain_numbers(np.asanyarray(proxy), colors=channels != 1), 3, channels)
    codes = {name: int(header[name]) for name in ("qform_code", "sform_code")}
    return Voxels(array, np.asarray(header.get_best_affine(), dtype=np.float64), codes, found)


def nifti_header(start: bytes) -> nib.Nifti1Header:
    """Read the header of a NIfTI file.

    Args:
        start: the first 540 bytes of the file, unpacked; fewer of a tiny one.

    Returns:
        The header, of one file with its voxels.

    Raises:
        ValueError: if it is no such header, or damaged.
    """
    sizes = {int.from_bytes(start[:4], order) for order in ("little", "big")} & set(_HEADERS)
    if not sizes or len(start) < max(sizes):
        raise ValueError("it does not begin with a NIfTI header")
    size = sizes.pop()
    header = _HEADERS[size](start[:size])  # nibabel finds the byte order, and checks
    if not bytes(header["magic"].item()).startswith(b"n+"):
        raise ValueError("its voxels are in another file (.hdr and .img); convert the pair to one .nii file")
    offset, ndim = float(header["vox_offset"]), int(header["dim"][0])
    if not 0 <= offset <= _FARTHEST:
        raise ValueError(f"its voxels begin at byte {offset:g}: the header is damaged")
    if not 1 <= ndim <= 7 or min(header.get_data_shape()) < 1:
        raise ValueError(f"its header gives the size {tuple(int(n) for n in header['dim'][1 : 1 + max(0, ndim)])}")
    return header
