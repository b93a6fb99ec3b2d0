"""The grid of cubic voxels that a label map is brought onto, and the share of a structure in each of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["GridAxis", "grid_around", "grid_around_labels", "share_in_voxels", "spread"]

Volume: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class GridAxis:
    """One axis of the label map and of the volume made of it.

    Args:
        count: voxels of the label map.
        spacing: their size in mm.
        start: position of the first new voxel in mm from the first old one.
        new_count: voxels of the volume.
        continued: whether the outermost labels go on beyond the ends; otherwise nothing is there.
        first: index of the first voxel that counts.
        last: index of the last one.
    """

    count: int
    spacing: float
    start: float
    new_count: int
    continued: bool
    first: int
    last: int

    def weights(self, new_spacing: float, coarser: int = 1) -> Volume:
        """Matrix (new, old) that averages over new voxels where they are larger, else interpolates linearly.

        Args:
            new_spacing: size in mm of new voxels.
            coarser: how many of them are taken together.
        """
        half = max(self.spacing, new_spacing * coarser) / 2
        old = np.arange(self.count) * self.spacing
        number = math.ceil(self.new_count / coarser)
        new = self.start + ((np.arange(number) + 0.5) * coarser - 0.5) * new_spacing
        if self.continued:
            new = np.clip(new, self.first * self.spacing, self.last * self.spacing)
        upper = np.minimum(new[:, None] + half, old + self.spacing / 2)
        overlap = np.maximum(upper - np.maximum(new[:, None] - half, old - self.spacing / 2), 0)
        overlap[:, : self.first] = overlap[:, self.last + 1 :] = 0
        whole = overlap.sum(axis=1, keepdims=True) if self.continued else 2 * half
        return (overlap / whole).astype(np.float32)


def grid_around(labels: NDArray[Any], spacing: Sequence[float], new_spacing: float) -> list[GridAxis]:
    """Axes of a volume with the field of view of its label map.

    Args:
        labels: label map.
        spacing: mm per axis.
        new_spacing: size in mm of the volume's voxels.
    """
    ends = [(0, count - 1) for count in labels.shape]
    return [_axis(*args, 0.0, True, new_spacing) for args in zip(labels.shape, spacing, ends, strict=True)]


def grid_around_labels(
    labels: NDArray[Any], spacing: Sequence[float], new_spacing: float, beside: float, extend: float
) -> list[GridAxis]:
    """Axes of a volume around what is labeled.

    Args:
        labels: label map in RAS.
        spacing: mm per axis.
        new_spacing: size in mm of the volume's voxels.
        beside: room in mm beside the labels, along the first two axes.
        extend: how far the last axis continues the outermost labels, in mm.
    """
    axes = []
    for axis, (count, old) in enumerate(zip(labels.shape, spacing, strict=True)):
        used = np.nonzero(labels.any(axis=tuple(other for other in range(3) if other != axis)))[0]
        ends, along = (int(used[0]), int(used[-1])), axis == 2
        axes.append(_axis(count, old, ends, extend if along else beside, along, new_spacing))
    return axes


def _axis(
    count: int, spacing: float, ends: tuple[int, int], room: float, continued: bool, new_spacing: float
) -> GridAxis:
    length = (ends[1] - ends[0] + 1) * spacing + 2 * room
    number = max(1, round(length / new_spacing))
    start = sum(ends) / 2 * spacing - (number - 1) / 2 * new_spacing
    return GridAxis(count, spacing, start, number, continued, *ends)


def spread(values: Volume, weights: Sequence[Volume]) -> Volume:
    """Bring values onto another grid, one matrix (new, old) per axis."""
    for axis, matrix in enumerate(weights):
        values = np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(values)


def share_in_voxels(
    mask: NDArray[np.bool_], box: Sequence[slice], weights: Sequence[Volume]
) -> tuple[tuple[slice, ...], Volume]:
    """Share of every new voxel that a structure fills.

    Args:
        mask: the structure within its box.
        box: where that is in the label map.
        weights: of each axis, see `GridAxis.weights`.

    Returns:
        The part of the new grid where the structure is, and its share there.
    """
    part = []
    for where, matrix in zip(box, weights, strict=True):
        touched = np.nonzero(matrix[:, where].any(axis=1))[0]
        # With a margin, so that the structure's surface lies within the part.
        low, high = (int(touched[0]) - 1, int(touched[-1]) + 2) if touched.size else (0, 1)
        part.append(slice(max(0, low), high))
    matrices = [matrix[rows, where] for rows, where, matrix in zip(part, box, weights, strict=True)]
    return tuple(part), spread(mask.astype(np.float32), matrices)
