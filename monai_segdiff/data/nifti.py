"""NIfTI files, written the same way everywhere."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.openers import Opener
from numpy.typing import NDArray

from monai_segdiff.files import atomic_file

__all__ = ["save_nifti"]


def save_nifti(path: str | Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> Path:
    """Write a 2D or 3D array as NIfTI, atomically, in its own dtype and without intensity scaling.

    Args:
        path: file ending in .nii or .nii.gz; its folder is created if need be.
        array: voxels; axes as the affine says.
        affine: voxel index to RAS position in mm, shape (4, 4).

    Raises:
        OSError: if the file cannot be written; names it.
    """
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    with atomic_file(path) as temporary:
        if temporary.suffix == ".gz":  # the same bytes as nib.save's, which writes them row by row, in half the time
            with Opener(temporary, "wb") as file:
                file.write(image.to_bytes())
        else:
            nib.save(image, temporary)
    return Path(path)
