"""NIfTI files, written the same way everywhere."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.openers import Opener
from numpy.typing import NDArray

from monai_segdiff.files import atomic_file

__all__ = ["as_stored", "save_nifti"]


def save_nifti(path: str | Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> Path:
    """Write an array as NIfTI, atomically, in its own dtype and without intensity scaling.

    Args:
        path: file ending in .nii or .nii.gz; its folder is created if need be.
        array: voxels, (X, Y) or (X, Y, Z), axes as the affine says; or several channels, as :func:`as_stored` lays
            them out.
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


def as_stored(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Lay the channels of an image out as NIfTI files hold them.

    Args:
        image: (C, *spatial).

    Returns:
        (*spatial) of one channel; else channels behind three axes of space, (X, Y, Z, C), as in the Medical
        Segmentation Decathlon. A third axis would be one of space, so that a picture becomes (X, Y, 1, C).
    """
    if len(image) == 1:
        return image[0]
    last = np.moveaxis(image, 0, -1)
    return np.ascontiguousarray(last[:, :, None] if last.ndim == 3 else last)
