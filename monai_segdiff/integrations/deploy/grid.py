"""A segmentation's label map on the grid of a bundle, and the bundle's images back on the segmentation's grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation
from numpy.typing import NDArray

from monai_segdiff.data.load import spacing_of
from monai_segdiff.data.preparation.resample import fit_spacing, resample_pair
from monai_segdiff.data.regrid import GridAxis, spread

__all__ = ["FittedLabels", "fit_labels"]

_NEARLY = 1e-3  # of a voxel
_MOST_VOXELS = 2**28  # 512 x 512 x 1024


@dataclass(frozen=True)
class FittedLabels:
    """Label maps for a bundle, and the way back.

    Args:
        labels: (N, *image_size), whole numbers: N slices, or one volume.
        affines: (N, 4, 4), index to RAS mm of each.
        source_shape: of the label map that they were taken from, (X, Y, Z).
        source_affine: its affine (4, 4), index to RAS mm.
        grid_shape: of the samples side by side, (x, y, z), turned to RAS.
        grid_affine: their affine.
    """

    labels: NDArray[np.integer[Any]]
    affines: NDArray[np.float64]
    source_shape: tuple[int, ...]
    source_affine: NDArray[np.float64]
    grid_shape: tuple[int, ...]
    grid_affine: NDArray[np.float64]

    def onto_source(self, images: NDArray[np.floating[Any]], fill: float) -> NDArray[np.float32]:
        """Bring generated images onto the grid that the label map came from.

        Values are interpolated linearly where voxels shrink and averaged where they grow.

        Args:
            images: (N, *image_size), one for each label map.
            fill: intensity of what the bundle's field of view does not reach.

        Returns:
            The image, (X, Y, Z), with the affine of the label map.
        """
        volume = np.moveaxis(images, 0, -1) if images.ndim == 3 else images[0]
        shape, affine = _ras_grid(self.source_shape, self.source_affine)
        axes, reached = _axes(self.grid_shape, self.grid_affine, shape, affine)
        weights = [axis.weights(float(size)) for axis, size in zip(axes, spacing_of(affine, 3), strict=True)]
        out = spread(volume.astype(np.float32), weights)
        for number, inside in enumerate(reached):
            np.moveaxis(out, number, 0)[~inside] = fill
        codes = nib.aff2axcodes(self.source_affine)
        turned = Orientation(axcodes="".join(codes), labels=None)(MetaTensor(out[None], affine=torch.as_tensor(affine)))
        return np.ascontiguousarray(np.asarray(turned)[0])


def fit_labels(labels: MetaTensor, image_size: Sequence[int], spacing: Sequence[float] | None = None) -> FittedLabels:
    """Bring a label map onto the grid of a bundle, as `prepare_dataset` brings training data there.

    It is turned to RAS, resampled, and padded or cropped around its center. For a bundle of pictures it is cut into
    slices along the third axis, which keep their distance.

    Args:
        labels: (1, X, Y, Z), or (1, X, Y) for one slice, with its RAS affine.
        image_size: voxels per axis of the bundle's images, two or three.
        spacing: voxel size in mm per axis of the bundle's training images; by default the whole field of view is
            fitted into the grid.

    Returns:
        The label maps, with the way back.

    Raises:
        ValueError: if labeled voxels lie outside of the bundle's field of view, `spacing` has another length, or there
            are more slices than memory for their images.
    """
    size = list(image_size)
    if spacing is not None and len(spacing) != len(size):
        raise ValueError(f"spacing needs {len(size)} numbers, one for each axis of the bundle's images, got {spacing}")
    values, place = labels.as_tensor(), torch.as_tensor(labels.affine, dtype=torch.float64)
    volume = MetaTensor(values if labels.ndim == 4 else values[..., None], affine=place)
    oriented = Orientation(axcodes="RAS", labels=None)(volume)
    sliced = len(size) == 2
    voxel, shape = spacing_of(np.asarray(oriented.affine), 3).tolist(), tuple(oriented.shape[1:])
    grid = [*size, -1] if sliced else size
    if spacing is None:
        target = fit_spacing(shape, voxel, grid, (0, 1))
    else:
        target = [*spacing, voxel[2]] if sliced else list(spacing)
    if sliced and math.prod(size) * shape[2] > _MOST_VOXELS:
        raise ValueError(
            f"the segmentation has {shape[2]} slices, too many for images of {' x '.join(map(str, size))} pixels: "
            "crop it to its labels"
        )
    _, fitted = resample_pair(oriented.to(torch.float32), oriented, target, grid)
    affine = np.asarray(fitted.affine, dtype=np.float64)
    ids = np.asarray(fitted)[0]
    _, reached = _axes(ids.shape, affine, shape, np.asarray(oriented.affine, dtype=np.float64))
    _check_reach(np.asarray(oriented)[0] > 0, reached, np.array(target) * ids.shape)
    samples = np.moveaxis(ids, -1, 0) if sliced else ids[None]
    affines = np.repeat(affine[None], len(samples), axis=0)
    if sliced:
        affines[:, :3, 3] += np.arange(len(samples))[:, None] * affine[:3, 2]
    return FittedLabels(
        labels=np.ascontiguousarray(samples),
        affines=affines,
        source_shape=tuple(volume.shape[1:]),
        source_affine=place.numpy(),
        grid_shape=ids.shape,
        grid_affine=affine,
    )


def _ras_grid(shape: Sequence[int], affine: NDArray[np.float64]) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine of a grid after it is turned to RAS."""
    orientation = nib.io_orientation(affine)
    turned = affine @ nib.orientations.inv_ornt_aff(orientation, tuple(shape))
    order = np.argsort(orientation[:, 0])
    return tuple(int(shape[axis]) for axis in order), turned


def _axes(
    grid_shape: Sequence[int], grid_affine: NDArray[np.float64], shape: Sequence[int], affine: NDArray[np.float64]
) -> tuple[list[GridAxis], list[NDArray[np.bool_]]]:
    """Axes that map a bundle's grid to another with the same directions, and the voxels of that inside the first."""
    to_grid = np.linalg.inv(grid_affine) @ affine
    sizes = spacing_of(grid_affine, 3)
    axes, reached = [], []
    for axis in range(3):
        count, new_count = int(grid_shape[axis]), int(shape[axis])
        first, step = float(to_grid[axis, 3]), float(to_grid[axis, axis])
        axes.append(GridAxis(count, float(sizes[axis]), first * float(sizes[axis]), new_count, True, 0, count - 1))
        places = first + step * np.arange(new_count)
        reached.append((places >= -0.5 - _NEARLY) & (places <= count - 0.5 + _NEARLY))
    return axes, reached


def _check_reach(labeled: NDArray[np.bool_], reached: Sequence[NDArray[np.bool_]], field: NDArray[np.float64]) -> None:
    """Refuse labels that the bundle's field of view would cut off."""
    for axis, inside in enumerate(reached):
        cut = int(np.moveaxis(labeled, axis, 0)[~inside].sum())
        if cut:
            raise ValueError(
                f"{cut} labeled voxels lie outside of the bundle's field of view of "
                f"{' x '.join(f'{length:.0f}' for length in field)} mm: leave spacing out, to fit the whole "
                "segmentation into it, or crop the segmentation to its labels"
            )
