"""Where the grid of a prepared image lies: around what is labeled, or the body, and inside the field of view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from monai_segdiff.data.preparation.resample import body_mask

__all__ = ["CROPS", "OUTSIDES", "Box", "body_box", "box_of", "grid_center", "with_margin"]

CROPS = ("none", "labels", "body")
OUTSIDES = ("fill", "class")

Box: TypeAlias = NDArray[np.float64]
"""(axes, 2): where it begins and ends along each axis, in voxels; voxel i reaches from i to i + 1."""


def box_of(mask: NDArray[np.bool_]) -> Box:
    """The smallest box around what a mask holds; the whole grid where it holds nothing.

    Args:
        mask: (*spatial).
    """
    ends = []
    for axis, count in enumerate(mask.shape):
        there = np.nonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))[0]
        ends.append((there[0], there[-1] + 1) if len(there) else (0, count))
    return np.array(ends, dtype=np.float64)


def body_box(image: NDArray[np.generic]) -> Box:
    """The box around the body: the largest region above Otsu's threshold; the whole grid where there is none.

    Args:
        image: (*spatial), any unit.

    Source:
        Otsu 1979, A threshold selection method from gray-level histograms, doi:10.1109/TSMC.1979.4310076.
    """
    return box_of(body_mask(image, float(threshold_otsu(np.asarray(image)))))


def with_margin(box: Box, margin: float, shape: Sequence[int], voxel: Sequence[float]) -> Box:
    """A box with room around it, as far as the field of view goes.

    Args:
        box: the box.
        margin: room in mm.
        shape: voxels per axis of the field of view.
        voxel: their size in mm.
    """
    room = margin / np.asarray(voxel, dtype=np.float64)
    return np.stack([np.maximum(box[:, 0] - room, 0), np.minimum(box[:, 1] + room, shape)], axis=1)


def grid_center(box: Box, shape: Sequence[int], extent: Sequence[float]) -> list[float]:
    """The center of a grid around a box, moved so that the grid lies in the field of view, or covers it where larger.

    Args:
        box: what the grid is for.
        shape: voxels per axis of the field of view.
        extent: of the grid, in the same voxels.

    Returns:
        Position along each axis as an index, voxel i being at i.
    """
    half = np.asarray(extent, dtype=np.float64) / 2
    ends = np.sort(np.stack([half, np.asarray(shape) - half]), axis=0)
    return list(np.clip(box.mean(axis=1), *ends) - 0.5)
