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
    """Write a 2D or 3D array as NRRD, packed, atomically.

    Args:
        path: file ending in .nrrd.
        array: voxels; axes as the affine says.
        affine: voxel index to RAS position in mm, (4, 4).

    Raises:
        OSError: if the file cannot be written; names it.
    """
    import nrrd

    header = {
        "space": "left-posterior-superior",
        "space directions": (_LPS @ affine[:3, : array.ndim]).T,
        "space origin": _LPS @ affine[:3, 3],
        "kinds": ["domain"] * array.ndim,
        "encoding": "gzip",
    }
    with atomic_file(path) as temporary:
        nrrd.write(str(temporary), array, header, index_order="F")
    return path


def write_metaimage(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> Path:
    """Write a 3D array, or a slice as a volume of one, as MetaImage, packed, atomically.

    Args:
        path: file ending in .mha.
        array: voxels; axes as the affine says.
        affine: voxel index to RAS position in mm, (4, 4).

    Raises:
        OSError: if the file cannot be written; names it.
    """
    import itk

    volume = np.ascontiguousarray(array.reshape((*array.shape, 1)[:3]))
    image = ITKWriter.create_backend_obj(volume, channel_dim=None, affine=affine, dtype=volume.dtype)
    with atomic_file(path) as temporary:
        itk.imwrite(image, str(temporary), compression=True)
    return path
