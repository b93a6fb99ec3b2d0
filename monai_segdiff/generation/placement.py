"""A label map of any grid on the grid of a bundle, and the bundle's images back on the label map's grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from monai_segdiff.data.load import spacing_of
from monai_segdiff.data.preparation.resample import fit_spacing, resample_pair
from monai_segdiff.data.readers.axes import from_canonical, to_canonical
from monai_segdiff.data.regrid import GridAxis, spread

__all__ = ["CutLabelsError", "PlacedLabels", "canonical_grid", "fit_labels", "slicing_axis"]

_NEARLY = 1e-3  # of a voxel
_MOST_VOXELS = 2**28  # 512 x 512 x 1024


class CutLabelsError(ValueError):
    """What is labeled does not fit into the field of view of a bundle."""


@dataclass(frozen=True)
class _Grid:
    """Voxels of a certain shape, and where they lie: (4, 4), index to mm."""

    shape: tuple[int, ...]
    affine: NDArray[np.float64]

    def onto(self, other: _Grid) -> tuple[list[GridAxis], list[NDArray[np.bool_]]]:
        """Axes that lead to another grid of the same directions, and which voxels of that lie inside of this."""
        to_own = np.linalg.inv(self.affine) @ other.affine
        sizes = spacing_of(self.affine, 3)
        axes, reached = [], []
        for axis in range(3):
            count, new_count, size = int(self.shape[axis]), int(other.shape[axis]), float(sizes[axis])
            first, step = float(to_own[axis, 3]), float(to_own[axis, axis])
            axes.append(GridAxis(count, size, first * size, new_count, True, 0, count - 1))
            places = first + step * np.arange(new_count)
            reached.append((places >= -0.5 - _NEARLY) & (places <= count - 0.5 + _NEARLY))
        return axes, reached


@dataclass(frozen=True)
class PlacedLabels:
    """Label maps for a bundle, and the way back.

    Args:
        labels: (N, *grid), whole numbers: N slices, or one volume or picture.
        affines: (N, 4, 4), index to RAS mm of each.
        spacing: voxel size of the grid in mm, one number per axis of a label map.
        axis: axis, of right, anterior and superior, along which a volume was cut into slices; None if it was not.
        source_shape: of the label map that they were taken from, (X, Y, Z) or (X, Y).
        source_affine: its affine (4, 4), index to RAS mm.
        source: the same label map with the axes of the grid.
        grid: the samples side by side, (x, y, z).
        order: which axis of the canonical label map each axis of the grid is.
    """

    labels: NDArray[np.integer[Any]]
    affines: NDArray[np.float64]
    spacing: tuple[float, ...]
    axis: int | None
    source_shape: tuple[int, ...]
    source_affine: NDArray[np.float64]
    source: _Grid = field(repr=False)
    grid: _Grid = field(repr=False)
    order: tuple[int, ...] = (0, 1, 2)

    def onto_source(self, images: NDArray[np.floating[Any]], fill: float) -> NDArray[np.float32]:
        """Bring generated images onto the grid that the label map came from.

        Values are interpolated linearly where voxels shrink and averaged where they grow.

        Args:
            images: (N, *grid), one for each label map.
            fill: intensity of what the bundle's field of view does not reach.

        Returns:
            The image, of the label map's shape and axes.
        """
        volume = images[..., None][0] if len(self.source_shape) == 2 else images[0]
        if len(self.source_shape) == 3 and images.ndim == 3:
            volume = np.moveaxis(images, 0, -1)
        out = volume.astype(np.float32)
        if self.grid.shape != self.source.shape or not np.allclose(self.grid.affine, self.source.affine, atol=1e-6):
            axes, reached = self.grid.onto(self.source)
            sizes = spacing_of(self.source.affine, 3)
            out = spread(out, [axis.weights(float(size)) for axis, size in zip(axes, sizes, strict=True)])
            for number, inside in enumerate(reached):
                np.moveaxis(out, number, 0)[~inside] = fill
        out = out.transpose(np.argsort(self.order))
        return from_canonical(
            out[..., 0] if len(self.source_shape) == 2 else out, self.source_affine, self.source_shape
        )


def fit_labels(
    labels: MetaTensor,
    image_size: Sequence[int],
    spacing: Sequence[float] | None = None,
    *,
    axis: int | None = None,
    larger: bool = False,
    outside: int = 0,
) -> PlacedLabels:
    """Bring a label map onto the grid of a bundle, as `prepare_dataset` brings training data there.

    It is turned to RAS, resampled, and padded or cropped around its center; where that would cut off something that is
    labeled, around what is labeled, but not beyond its ends. For a bundle of pictures a volume is cut into slices,
    which keep their distance.

    Args:
        labels: (1, X, Y, Z), or (1, X, Y) for one slice, with its RAS affine.
        image_size: voxels per axis of the bundle's images, two or three.
        spacing: voxel size in mm per axis of the bundle's training images; by default the whole field of view is
            fitted into the grid.
        axis: axis along which a volume is sliced for a bundle of pictures: 0 sagittal, 1 coronal, 2 axial; by default
            the one of length one, or axial.
        larger: whether the grid may be larger than the bundle's images, which are then at least its size.
        outside: label id of what lies outside of the label map's field of view.

    Returns:
        The label maps, with the way back.

    Raises:
        CutLabelsError: if labeled voxels lie outside of the bundle's field of view.
        ValueError: if `spacing` has another length, a slice is given for a bundle of volumes, or there are more voxels
            than memory for their images.
    """
    size = list(image_size)
    if spacing is not None and len(spacing) != len(size):
        raise ValueError(f"spacing needs {len(size)} numbers, one for each axis of the bundle's images, got {spacing}")
    if labels.ndim - 1 < len(size):
        raise ValueError(f"it is a slice, and the bundle makes volumes of size {tuple(size)}: give a volume")
    source_affine = np.asarray(labels.affine, dtype=np.float64)
    values, affine = to_canonical(np.asarray(labels)[0], source_affine)
    sliced = len(size) == 2
    along = slicing_axis(labels, axis) if sliced and values.ndim == 3 else None
    values, affine, origin, order = _with_axes(values, affine, along)
    source = _Grid(tuple(values.shape), affine)
    voxel = spacing_of(affine, 3).tolist()
    grid = [*size, -1] if sliced else size
    if spacing is None:
        target = fit_spacing(source.shape, voxel, grid, (0, 1))
    else:
        target = [*spacing, voxel[2]] if sliced else list(spacing)
    ids, place = _onto_grid(values, source, target, grid, larger)
    for number, inside in enumerate(source.onto(place)[1]):
        np.moveaxis(ids, number, 0)[~inside] = outside
    samples = np.moveaxis(ids, -1, 0) if sliced else ids[None]
    affines = np.repeat((origin @ place.affine)[None], len(samples), axis=0)
    if sliced:
        affines[:, :3, 3] += np.arange(len(samples))[:, None] * affines[:, :3, 2]
    return PlacedLabels(
        labels=np.ascontiguousarray(samples),
        affines=affines,
        spacing=tuple(float(length) for length in target[: len(size)]),
        axis=along,
        source_shape=tuple(labels.shape[1:]),
        source_affine=source_affine,
        source=source,
        grid=place,
        order=order,
    )


def canonical_grid(labels: MetaTensor) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine of a label map after its axes are turned to right, anterior and superior.

    Args:
        labels: (1, *spatial).
    """
    values, affine = to_canonical(np.asarray(labels)[0], np.asarray(labels.affine, dtype=np.float64))
    return values.shape, affine


def slicing_axis(labels: MetaTensor, axis: int | None = None) -> int:
    """Along which axis a volume is cut into slices, of its axes turned to right, anterior and superior.

    Args:
        labels: (1, X, Y, Z).
        axis: the axis that the bundle's training images were cut along; None where that is unknown.

    Returns:
        The last axis of length one where there is one, as a slice is stored; else the bundle's; else 2, axial.
    """
    shape = canonical_grid(labels)[0]
    if 1 in shape:
        return 2 - tuple(reversed(shape)).index(1)
    return 2 if axis is None else axis


def _with_axes(
    values: NDArray[Any], affine: NDArray[np.float64], along: int | None
) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64], tuple[int, ...]]:
    """A volume whose last axis is the one that it is cut along; a slice as a volume of one, with its voxel size only.

    Returns:
        Voxels and affine, a matrix (4, 4) that leads from it to the true one, and the order of the axes.
    """
    if values.ndim == 2:
        plain = np.diag([*spacing_of(affine, 2), 1.0, 1.0])
        return values[..., None], plain, affine @ np.linalg.inv(plain), (0, 1, 2)
    order = (0, 1, 2) if along is None else (*(axis for axis in range(3) if axis != along), along)
    return values.transpose(order), affine[:, [*order, 3]], np.eye(4), order


def _onto_grid(
    values: NDArray[Any], source: _Grid, target: Sequence[float], size: Sequence[int], larger: bool
) -> tuple[NDArray[Any], _Grid]:
    """Label ids on the grid of a bundle, and where that lies."""
    shape = np.array(source.shape)
    voxel = spacing_of(source.affine, 3)
    wanted = [
        int(count) if side == -1 else max(side, round(count * old / new)) if larger else side
        for side, count, old, new in zip(size, shape, voxel, target, strict=True)
    ]
    if math.prod(wanted) > _MOST_VOXELS:
        raise ValueError(
            f"the label map has {source.shape[2]} slices, too many for images of {' x '.join(map(str, wanted[:2]))} "
            "pixels: crop it to its labels"
        )
    labeled = values > 0
    # Around its center first, as training data are; then around what is labeled, where that is cut off otherwise.
    for low, high in (((0, 0, 0), source.shape), _around_labels(labeled, np.array(wanted) * target / voxel)):
        part = values[tuple(slice(*ends) for ends in zip(low, high, strict=True))]
        begin = source.affine.copy()
        begin[:3, 3] += source.affine[:3, :3] @ np.asarray(low)
        volume = MetaTensor(torch.as_tensor(np.ascontiguousarray(part))[None], affine=torch.as_tensor(begin))
        _, fitted = resample_pair(volume.to(torch.float32), volume, target, wanted)
        place = _Grid(tuple(fitted.shape[1:]), np.asarray(fitted.affine, dtype=np.float64))
        reached = place.onto(source)[1]
        cut = [int(np.moveaxis(labeled, axis, 0)[~inside].sum()) for axis, inside in enumerate(reached)]
        if not any(cut):
            return np.array(fitted)[0], place
    raise CutLabelsError(
        f"{max(cut)} labeled voxels lie outside of the bundle's field of view of "
        f"{' x '.join(f'{n * length:.0f}' for n, length in zip(wanted, target, strict=True))} mm: leave spacing out, "
        "to fit the whole label map into it, or crop it to its labels"
    )


def _around_labels(labeled: NDArray[np.bool_], field: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """First and end of the part of a label map that a field of view, in its voxels, shows of what is labeled."""
    low, high = [], []
    for axis, count in enumerate(labeled.shape):
        used = np.flatnonzero(labeled.any(axis=tuple(other for other in range(3) if other != axis)))
        length = min(count, math.ceil(min(field[axis], count)))
        center = (used[0] + used[-1] + 1) / 2 if used.size else count / 2
        first = int(np.clip(round(center - length / 2), 0, count - length))
        low.append(first)
        high.append(first + length)
    return low, high
