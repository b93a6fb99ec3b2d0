"""How far apart two grids lie."""

from __future__ import annotations

from itertools import product

import numpy as np
from monai.data import MetaTensor

from monai_segdiff.data.load import spacing_of

__all__ = ["AFFINE_TOLERANCE", "largest_offset", "smallest_spacing"]

AFFINE_TOLERANCE = 0.02  # of a voxel, at the corner that is furthest off


def largest_offset(first: MetaTensor, second: MetaTensor) -> float:
    """How far apart two affines put one corner of a grid, at most, in mm.

    Args:
        first: (C, *spatial), whose grid it is.
        second: of the same spatial size.
    """
    corners = np.array(list(product(*((0, n - 1) for n in (*first.shape[1:], 1)[:3]), [1]))).T
    there = [np.asarray(volume.affine, dtype=np.float64) @ corners for volume in (first, second)]
    return float(np.linalg.norm((there[0] - there[1])[:3], axis=0).max())


def smallest_spacing(image: MetaTensor) -> float:
    """Voxel size in mm along the axis where it is smallest.

    Args:
        image: (C, *spatial).
    """
    return float(spacing_of(np.asarray(image.affine), image.ndim - 1).min())
