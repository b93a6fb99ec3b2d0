"""Volumes of one slice, as viewers store a slice, for 2D generators."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from monai_segdiff.data import file_extension
from monai_segdiff.files import atomic_file

__all__ = ["as_slice"]


def as_slice(file: Path, dims: int, folder: Path) -> Path:
    """Drop trailing axes of length one.

    Args:
        file: image or label map; NIfTI, or a picture, which has no such axes.
        dims: number of the images' axes.
        folder: where a copy of the same name may be written.

    Returns:
        The file itself where it has no more axes, or the copy.

    Raises:
        OSError: if the copy cannot be written.
    """
    if not file_extension(file).startswith(".nii"):
        return file
    stored = nib.load(file)
    if len(stored.shape) <= dims or any(n != 1 for n in stored.shape[dims:]):
        return file
    array = np.asanyarray(stored.dataobj).reshape(stored.shape[:dims])
    with atomic_file(folder / file.name) as temporary:
        nib.save(stored.__class__(array, stored.affine, dtype=array.dtype), temporary)
    return folder / file.name
