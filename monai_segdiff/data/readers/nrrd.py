"""NRRD files (.nrrd, or .nhdr with its voxels beside it), in any of the spaces that are patients'."""

from __future__ import annotations

import bz2
import io
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_segdiff.data.readers.voxels import (
    ONE_EACH,
    Voxels,
    channels_last,
    check_claimed_size,
    gathered,
    plain_numbers,
    require_module,
    shape_text,
    voxels_beside,
)

__all__ = ["read_nrrd"]

# Signs that bring each space to right-anterior-superior.
_SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
_LPS = (-1, -1, 1)  # what 3D Slicer and ITK take where nothing is said
_HEADER_BYTES = 2**20
_BLOCK = 2**20


def read_nrrd(path: Path, channels: int | None = 1) -> Voxels:
    """Read a .nrrd or .nhdr file, checksum included where it is packed.

    Args:
        path: the file.
        channels: how many it must have; None for as many as there are.

    Raises:
        ImportError: if pynrrd is not installed.
        ValueError: for what is damaged, has other channels or layers, lies in another file, or in a space that is no
            patient's; the file is not named.
    """
    require_module(path, "nrrd", "pynrrd")
    import nrrd

    content = path.read_bytes()
    ends = [content.find(mark, 0, _HEADER_BYTES) + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if mark in content]
    end = min(ends, default=len(content))
    if not content.startswith(b"NRRD") or end > _HEADER_BYTES:
        raise ValueError("it does not begin with an NRRD header")
    header = nrrd.read_header(io.BytesIO(content[:end]))
    body = content[end:]
    if elsewhere := header.pop("data file", header.pop("datafile", None)):
        if path.suffix.lower() != ".nhdr":
            raise ValueError(f"its voxels are in {elsewhere!r}; save both in one .nrrd file")
        body = voxels_beside(path, str(elsewhere))
    for key in ("line skip", "lineskip", "byte skip", "byteskip"):
        if not -1 <= int(header.get(key, 0)) <= len(body):
            raise ValueError(f"its header gives {key} {header[key]}, and {len(body)} bytes follow")
    sizes = [int(n) for n in header["sizes"]]
    if not sizes or min(sizes) < 1:
        raise ValueError(f"its header gives the size {shape_text(sizes)}")
    dtype = np.dtype(nrrd.reader._determine_datatype(header))
    header, body = _unpacked(header, body, math.prod(sizes) * dtype.itemsize)
    array = nrrd.read_data(header, io.BytesIO(body), None, index_order="F")
    return _placed(np.asarray(array), header, channels)


def _unpacked(header: dict[str, Any], body: bytes, claimed: int) -> tuple[dict[str, Any], bytes]:
    """The voxels' bytes, with a header that says that they are not packed."""
    encoding = str(header.get("encoding", "raw")).lower()
    if encoding in ("gzip", "gz"):
        check_claimed_size(claimed, len(body), packed=True)
        return {**header, "encoding": "raw"}, gathered(_inflated(body), claimed)
    if encoding in ("bzip2", "bz2"):
        if claimed > 2**29 and claimed > 100 * len(body):
            check_claimed_size(claimed, len(body), packed=True)
        unpacker = bz2.BZ2Decompressor()
        plain = unpacker.decompress(body, max_length=claimed + _BLOCK)
        if not unpacker.eof:
            raise ValueError("its packed voxels are cut short, or more than its header asks for")
        return {**header, "encoding": "raw"}, plain
    check_claimed_size(claimed, len(body) if encoding == "raw" else 8 * len(body))
    return header, body


def _inflated(body: bytes) -> Iterator[bytes]:
    """Blocks of a gzip stream, which raises where its checksum does not hold or is missing."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    left = body
    while left and not unpacker.eof:
        yield unpacker.decompress(left, _BLOCK)
        left = unpacker.unconsumed_tail
    yield unpacker.flush()
    if not unpacker.eof:
        raise ValueError("its packed voxels are cut short")


def _placed(array: NDArray[Any], header: dict[str, Any], channels: int | None) -> Voxels:
    """Voxels of the axes in space, with their affine."""
    directions = header.get("space directions")
    kinds = [str(kind).lower() for kind in header.get("kinds", [])]
    if directions is None:
        spatial = [i for i in range(array.ndim) if i >= len(kinds) or kinds[i] in ("domain", "space", "???", "none")]
        spacings = np.asarray(header.get("spacings", np.ones(array.ndim)), dtype=np.float64)
        steps = np.zeros((array.ndim, 3))
        for position, axis in enumerate(spatial[:3]):
            size = spacings[axis] if axis < len(spacings) and np.isfinite(spacings[axis]) else 1.0
            steps[axis, position] = size
    else:
        rows = [np.full(3, np.nan) if row is None else np.asarray(row, dtype=np.float64) for row in directions]
        steps = np.stack([np.pad(row, (0, max(0, 3 - len(row)))) for row in rows])
        spatial = [i for i in range(array.ndim) if np.isfinite(steps[i]).all()]
    others = [i for i in range(array.ndim) if i not in spatial]
    layers = any(array.shape[i] > 1 for i in others)
    if len(spatial) > 3 or (layers and (channels == 1 or _is_segmentation(header))):
        _refuse_layers(array, header, spatial, others)
    array, found = channels_last(np.transpose(array, [*spatial, *others]), len(spatial), channels)
    affine = np.eye(4)
    affine[:3, : len(spatial)] = steps[spatial, :3].T
    if len(spatial) == 2:
        affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1])
    origin = np.asarray(header.get("space origin", np.zeros(3)), dtype=np.float64)
    affine[:3, 3] = np.pad(origin, (0, max(0, 3 - len(origin))))[:3]
    affine[:3] *= np.asarray(_signs(header))[:, None]
    codes = {} if directions is not None else {"qform_code": 0, "sform_code": 0}
    return Voxels(plain_numbers(array), affine, codes, found)


def _signs(header: dict[str, Any]) -> tuple[int, int, int]:
    if "space" not in header:
        return _LPS
    name = str(header["space"]).lower().removesuffix("-time")
    if name not in _SPACES:
        raise ValueError(
            f"its space is {header['space']!r}, which does not say where the patient's left and front are; save it in "
            "left-posterior-superior, as 3D Slicer does"
        )
    return _SPACES[name]


def _refuse_layers(array: NDArray[Any], header: dict[str, Any], spatial: list[int], others: list[int]) -> None:
    layers = math.prod(array.shape[i] for i in others) if others else array.shape[-1]
    if _is_segmentation(header):
        raise ValueError(
            f"it holds {layers} layers of segments that may overlap; in 3D Slicer export the segments as one label map "
            "(Segmentations, Export to files, or Export to new labelmap)"
        )
    raise ValueError(f"it has {layers} channels or time points; {ONE_EACH}")


def _is_segmentation(header: dict[str, Any]) -> bool:
    return any(str(key).startswith("Segment") for key in header)
