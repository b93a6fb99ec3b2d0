"""An image and its label map brought onto one grid and one vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Pad, ResizeWithPadOrCrop, SpatialCrop, SpatialResample
from numpy.typing import NDArray
from scipy import ndimage

from monai_segdiff.data.load import label_ids

__all__ = ["body_mask", "fit_spacing", "remap_labels", "resample_pair"]

_TIE = 1e-4  # between two classes that are as near, the first id is taken, and not what rounding makes of it


def remap_labels(label: NDArray[np.generic], classes: Mapping[str, int | Sequence[int]]) -> NDArray[np.uint8]:
    """Label map with ids 1, 2, ... in the order of `classes`; every other id becomes 0.

    Args:
        label: source ids.
        classes: class name to its source id or ids.

    Raises:
        ValueError: if a value is not a whole number.
    """
    ids = label_ids(label)
    target = np.zeros(len(ids), dtype=np.uint8)
    for index, source in enumerate(classes.values(), start=1):
        target[np.isin(ids, source)] = index
    return target[np.searchsorted(ids, label)]


def body_mask(image: NDArray[np.generic], threshold: float) -> NDArray[np.bool_]:
    """Everything inside the skin: the largest component above a threshold, holes filled in each slice of the last axis.

    Args:
        image: (X, Y) or (X, Y, Z) in the threshold's unit.
        threshold: between air and tissue, e.g. -300 HU.
    """
    # Opening in the slice plane cuts table and tubes off the skin; what is beyond the rim counts as body.
    cross = ndimage.generate_binary_structure(2, 1).reshape(3, 3, *[1] * (image.ndim - 2))
    tissue = ndimage.binary_erosion(image > threshold, cross, iterations=2, border_value=1)
    tissue = ndimage.binary_dilation(tissue, cross, iterations=2)
    components, count = ndimage.label(tissue)
    if count == 0:
        return np.zeros(image.shape, dtype=bool)
    largest = components == np.argmax(np.bincount(components.ravel())[1:]) + 1
    planes = largest[..., None] if largest.ndim == 2 else largest
    filled = np.stack([ndimage.binary_fill_holes(planes[..., k]) for k in range(planes.shape[-1])], axis=-1)
    return filled.reshape(image.shape)


def fit_spacing(
    shape: Sequence[int], spacing: Sequence[float], size: Sequence[int], square: Sequence[int]
) -> list[float]:
    """Voxel size in mm at which the whole field of view fits into a grid.

    Args:
        shape: voxels per axis.
        spacing: mm per axis.
        size: voxels per axis of the grid; -1 keeps the axis as it is.
        square: axes that share one voxel size, so that shapes keep their proportions; the others are fitted alone.
    """
    fitted = [s if n == -1 else s * old / n for old, s, n in zip(shape, spacing, size, strict=True)]
    common = max(fitted[axis] for axis in square)
    return [common if axis in square else value for axis, value in enumerate(fitted)]


def resample_pair(
    image: MetaTensor,
    label: MetaTensor,
    spacing: Sequence[float],
    size: Sequence[int],
    fill: float | Sequence[float] | None = None,
    center: Sequence[float] | None = None,
    outside: int = 0,
) -> tuple[MetaTensor, MetaTensor]:
    """Resample an image and its label map to a voxel size, then pad or crop both around a point.

    Where voxels grow the image is smoothed first, so that noise and edges do not alias. The label map takes the class
    whose indicator, smoothed and interpolated the same way, is largest: edges stay where the image has them, which
    nearest neighbor sampling misses by up to half a voxel.

    Args:
        image: (C, *spatial).
        label: (1, *spatial), ids, at least 0.
        spacing: voxel size in mm per axis.
        size: voxels per axis; -1 keeps what resampling gives.
        fill: intensity outside the image, one number or one for each channel; by default each channel's minimum.
        center: index where the grid's center is, which is moved by less than half a voxel where that spares resampling;
            by default the middle of the image.
        outside: id outside the label map.

    Returns:
        Image, float32, (C, *size), and label map, (1, *size); its ids are uint8 where they fit, else int32.
    """
    dims = len(spacing)
    affine = np.asarray(image.affine, dtype=np.float64)
    old = np.linalg.norm(affine[:dims, :dims], axis=0)
    growth = np.asarray(spacing) / old
    shape = np.array(image.shape[1:])
    new_shape = np.maximum(1, np.round(shape / growth)).astype(int)
    # Not MONAI's Spacing: where the origin is within a voxel of 0 its scale_extent shifts the grid by a voxel.
    target = affine.copy()
    target[:dims, :dims] *= growth
    unchanged = np.allclose(growth, 1, atol=1e-3)
    # What is cropped off in the end is not made first: of small voxels it can be more than there is memory for.
    kept = np.array([n if wanted == -1 else min(n, wanted) for n, wanted in zip(new_shape, size, strict=True)])
    if center is None:
        target[:dims, -1] += affine[:dims, :dims] @ ((shape - 1) / 2 - growth * (new_shape - 1) / 2)
        target[:dims, -1] += target[:dims, :dims] @ (new_shape // 2 - kept // 2)
        fit = partial(ResizeWithPadOrCrop, list(size), mode="constant")
    else:
        wanted = np.where(np.asarray(size) == -1, new_shape, size)
        start, kept, padding = _placed(np.asarray(center), wanted, shape, growth, unchanged)
        target[:dims, -1] += affine[:dims, :dims] @ start
        fit = partial(Pad, [(0, 0), *padding], mode="constant")
    resample = SpatialResample(mode="bilinear", padding_mode="border", dtype=torch.float32)
    sigma = (0.0, *np.minimum(np.maximum(growth - 1, 0) / 2, shape))  # beyond its size an image is one mean

    def onto_grid(values: MetaTensor) -> MetaTensor:
        if unchanged:
            return values if center is None else SpatialCrop(roi_start=start, roi_end=start + kept)(values)
        if max(sigma) > 0.02:
            # Not MONAI's GaussianSmooth: it takes everything outside the image for 0, which is tissue in HU.
            smooth = ndimage.gaussian_filter(np.asarray(values), sigma, mode="nearest", truncate=3.0)
            values = MetaTensor(torch.as_tensor(smooth), affine=values.affine)
        return resample(values, dst_affine=torch.as_tensor(target), spatial_size=kept.tolist())

    out = onto_grid(image.to(torch.float32))
    id_type = torch.uint8 if int(label.max()) < 256 else torch.int32
    if unchanged:
        ids = onto_grid(label.to(id_type))
    else:
        share = torch.full((1, *out.shape[1:]), -1.0)
        best = torch.zeros((1, *out.shape[1:]), dtype=id_type)
        for value in np.unique(np.asarray(label)):
            indicator = torch.as_tensor(onto_grid((label == value).to(torch.float32)).as_tensor())
            best[indicator > share + _TIE] = int(value)
            share = torch.maximum(share, indicator)
        ids = MetaTensor(best, affine=out.affine)
    fitted = [fit(value=lowest)(out[k : k + 1]) for k, lowest in enumerate(_fill_of_channels(image, fill))]
    joined = torch.cat([layer.as_tensor() for layer in fitted])
    return MetaTensor(joined, affine=fitted[0].affine), fit(value=outside)(ids).to(id_type)


def _fill_of_channels(image: MetaTensor, fill: float | Sequence[float] | None) -> list[float]:
    """Intensity outside each channel."""
    if fill is None:
        return [float(layer.min()) for layer in image]
    return [fill] * len(image) if isinstance(fill, int | float) else list(fill)


def _placed(
    center: NDArray[np.float64],
    size: NDArray[np.int64],
    shape: NDArray[np.int64],
    growth: NDArray[np.float64],
    whole: bool,
) -> tuple[NDArray[np.generic], NDArray[np.int64], list[tuple[int, int]]]:
    """A grid's part in the field of view: where that starts, its voxels per axis, and those missing at both ends.

    Args:
        center: index where the grid's center is.
        size: its voxels per axis.
        shape: those of the field of view.
        growth: size of its voxels in those of the field of view.
        whole: whether it starts at a whole index.
    """
    origin = center - growth * (size - 1) / 2
    if whole:
        origin = np.round(origin)
    nearly = 1e-6
    first = np.maximum(0, np.ceil((-0.5 - origin) / growth - nearly)).astype(int)
    last = np.minimum(size - 1, np.floor((shape - 0.5 - origin) / growth + nearly)).astype(int)
    start = origin + growth * first
    padding = [(int(before), int(after)) for before, after in zip(first, size - 1 - last, strict=True)]
    return start.astype(int) if whole else start, last - first + 1, padding
