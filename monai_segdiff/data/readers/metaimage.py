"""MetaImage files (.mha, or .mhd with its voxels beside it), read by ITK once their header is known to be true."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from monai.data import ITKReader

from monai_segdiff.data.readers.voxels import (
    Voxels,
    channels_last,
    check_claimed_size,
    gathered,
    plain_numbers,
    require_module,
    voxels_beside,
)

__all__ = ["read_metaimage"]

_ELEMENTS = {"CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4}
_ELEMENTS |= {"LONG_LONG": 8, "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
_HEADER_BYTES = 2**20
_BLOCK = 2**20


def read_metaimage(path: Path, channels: int | None = 1) -> Voxels:
    """Read a .mha file, or a .mhd file, whose voxels lie in a file of the same folder.

    Args:
        path: the file.
        channels: how many it must have; None for as many as there are.

    Raises:
        ImportError: if ITK is not installed.
        ValueError: for what is damaged, has other channels, or lies elsewhere; the file is not named.
    """
    require_module(path, "itk", "itk-io")
    _check_header(path)
    reader = ITKReader()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array, about = reader.get_data(reader.read(str(path)))
    dims = len(np.atleast_1d(about["spatial_shape"]))
    affine = np.eye(4)
    found = np.asarray(about["original_affine"], dtype=np.float64)
    if len(found) == 3:  # of a picture: two axes and an origin
        affine[:2, :2], affine[:2, 3] = found[:2, :2], found[:2, 2]
    else:
        affine = found
    array, count = channels_last(plain_numbers(np.asarray(array)), min(dims, 3), channels)
    return Voxels(array, affine, channels=count)


def _check_header(path: Path) -> None:
    content = path.read_bytes()
    fields: dict[str, str] = {}
    position = 0
    while "ElementDataFile" not in fields:
        end = content.find(b"\n", position, position + _HEADER_BYTES)
        line = content[position:end].decode("utf-8", "replace")
        if end < 0 or "=" not in line:
            raise ValueError("it does not begin with a MetaImage header")
        key, _, value = line.partition("=")
        fields[key.strip()] = value.strip()
        position = end + 1
    body = content[position:]
    if fields["ElementDataFile"] != "LOCAL":
        body = _voxels_beside(path, fields["ElementDataFile"])
    sizes = [int(n) for n in fields["DimSize"].split()]
    if int(fields.get("NDims", len(sizes))) != len(sizes):
        raise ValueError(f"its header gives {fields['NDims']} dimensions and the size {fields['DimSize']}")
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    element = _ELEMENTS.get(fields["ElementType"].removeprefix("MET_"))
    if element is None or not sizes or min(sizes) < 1 or channels < 1:
        raise ValueError(f"its header gives the size {fields['DimSize']} and the type {fields['ElementType']}")
    claimed = math.prod(sizes) * channels * element
    packed = fields.get("CompressedData", "False").lower() == "true"
    check_claimed_size(claimed, len(body), packed)
    if packed:
        gathered(_inflated(body), claimed)


def _voxels_beside(path: Path, name: str) -> bytes:
    """What the file holds that a header names; a path that leads elsewhere is not followed."""
    if path.suffix.lower() != ".mhd":
        raise ValueError(f"its voxels are in {name!r}; save both in one .mha file")
    return voxels_beside(path, name)


def _inflated(body: bytes) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    left = body
    while left and not unpacker.eof:
        yield unpacker.decompress(left, _BLOCK)
        left = unpacker.unconsumed_tail
    if not unpacker.eof:
        raise ValueError("its packed voxels are cut short")
