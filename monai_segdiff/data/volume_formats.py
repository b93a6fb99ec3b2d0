"""NRRD and MetaImage files, written as 3D Slicer and ITK read them: positions in left-posterior-superior."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from monai.data import ITKWriter
from numpy.typing import NDArray

from monai_segdiff.files import atomic_file

__all__ = ["write_metaimage", "write_nrrd"]

_LPS = np.diag([-1.0, -1.0, 1.0])


def write_nrrd(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> Path:
    """Write an image of two or three axes as NRRD, packed, atomically.

    Args:
        path: file ending in .nrrd.
        array: (C, X, Y) or (C, X, Y, Z); axes of space as the affine says.
        affine: voxel index to RAS position in mm, (4, 4).

    Raises:
        OSError: if the file cannot be written; names it.
    """
    import nrrd

    directions = (_LPS @ affine[:3, : array.ndim - 1]).T
    kinds = ["domain"] * len(directions)
    if len(array) == 1:
        array = array[0]
    else:  # the axis of channels has no direction
        directions, kinds = np.vstack([np.full((1, 3), np.nan), directions]), ["vector", *kinds]
    header = {
        "space": "left-posterior-superior",
        "space directions": directions,
        "space origin": _LPS @ affine[:3, 3],
        "kinds": kinds,
        "encoding": "gzip",
    }
    with atomic_file(path) as temporary:
        nrrd.write(str(temporary), array, header, index_order="F")
    return path


def write_metaimage(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> Path:
    """Write an image of three axes, or a slice as a volume of one, as MetaImage, packed, atomically.

    Args:
        path: file ending in .mha.
        array: (C, X, Y) or (C, X, Y, Z); axes of space as the affine says.
        affine: voxel index to RAS position in mm, (4, 4).

    Raises:
        OSError: if the file cannot be written; names it.
    """
    import itk

    volume = array.reshape((*array.shape, 1)[:4])
    volume, channels = (volume[0], None) if len(volume) == 1 else (np.moveaxis(volume, 0, -1), -1)
    image = ITKWriter.create_backend_obj(
        np.ascontiguousarray(volume), channel_dim=channels, affine=affine, dtype=volume.dtype
    )
    with atomic_file(path) as temporary:
        itk.imwrite(image, str(temporary), compression=True)
    return path
