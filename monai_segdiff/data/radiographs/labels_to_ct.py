"""CT-like volumes from label maps: every structure gets the Hounsfield units of its tissue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from monai.data import MetaTensor
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

from monai_segdiff.data.load import label_ids
from monai_segdiff.data.radiographs.tissues import Tissue
from monai_segdiff.data.regrid import GridAxis, grid_around, grid_around_labels, share_in_voxels, spread
from monai_segdiff.data.shapes import WaveField, coverage

__all__ = ["labels_to_ct"]

Volume: TypeAlias = NDArray[np.float32]

_AIR = -1000.0
_AIR_BESIDE = 10.0  # mm of air beside the body
_SMOOTH = 6.0  # mm, standard deviation with which the body's surface is smoothed
_HULL_SPACING = 2.5  # mm, at least as fine as which the body's surface is looked for
_WIDE = 15.0  # mm around a wide section of a bone that count as wide too
_NARROW = (0.35, 0.65)  # a section of this share of the widest one's area is shaft entirely, or not at all
_GRAIN = {"fine": (3.0, 9.0), "coarse": (12.0, 40.0)}  # mm, wavelengths of the texture


def labels_to_ct(
    label_map: ArrayLike,
    affine: ArrayLike,
    tissues: Mapping[int, Tissue],
    *,
    spacing: float | None = None,
    noise: float = 8.0,
    seed: int = 0,
) -> MetaTensor:
    """Make a CT-like volume of a label map.

    The map is turned to RAS and brought onto cubic voxels, each of which takes the share of every structure in it:
    edges are as smooth as in a CT. Bones get a cortical shell and a texture inside. Where the table has an id 0, its
    tissue fills what is not labeled: in every axial slice the convex hull of the labels and `margin_mm` beyond it.
    The body then runs through the first and the last slice, as a scanned limb does. Without an id 0 it is air.

    Args:
        label_map: whole numbers, (X, Y, Z) or (1, X, Y, Z).
        affine: voxel index to RAS position in mm, (4, 4).
        tissues: label id to tissue, see `read_tissues`.
        spacing: voxel size in mm of the result; by default 1, but not below the smallest or above the largest of the
            label map's.
        noise: standard deviation in HU.
        seed: determines texture and noise.

    Returns:
        Volume in HU, float32, (1, X', Y', Z'), with its affine.

    Raises:
        ValueError: if the map is no label map, is empty or holds ids that the table lacks (they are listed), if the
            affine is unusable, or an argument is out of range.
    """
    labels, matrix = _checked(label_map, affine, tissues)
    turn = io_orientation(matrix)
    labels, matrix = apply_orientation(labels, turn), matrix @ inv_ornt_aff(turn, labels.shape)
    old = np.linalg.norm(matrix[:3, :3], axis=0)
    spacing = float(np.clip(1.0, old.min(), old.max())) if spacing is None else float(spacing)
    if not (spacing > 0 and noise >= 0):
        raise ValueError(f"spacing must be above 0 and noise at least 0, got {spacing} and {noise}")
    between = tissues.get(0)
    if between is None:
        grid = grid_around(labels, old, spacing)
    else:
        beside = between.margin_mm + between.shell_mm + _AIR_BESIDE
        grid = grid_around_labels(labels, old, spacing, beside, between.extend_mm)
    weights = [g.weights(spacing) for g in grid]
    shape = tuple(g.new_count for g in grid)
    if min(shape) < 2:
        raise ValueError(f"with voxels of {spacing:g} mm the volume would be of size {'x'.join(map(str, shape))}")
    rng = np.random.default_rng(seed)
    axes = [spacing * np.arange(n, dtype=np.float32) for n in shape]
    grain = {name: WaveField(rng, lengths, 60).on_grid(*axes) for name, lengths in _GRAIN.items()}
    hu = _surroundings(labels, grid, spacing, between, grain["coarse"])
    outside = np.ones(shape, dtype=np.float32)
    inside = np.zeros(shape, dtype=np.float32)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        part, share = share_in_voxels(labels[box] == label, box, weights)
        outside[part] -= share
        value = _inside(share, tissues[label], spacing, {name: field[part] for name, field in grain.items()})
        inside[part] += share * value
    hu = inside + np.clip(outside, 0, 1) * hu
    hu += noise * rng.standard_normal(shape, dtype=np.float32)
    scaled = matrix.copy()
    scaled[:3, :3] *= spacing / old
    scaled[:3, 3] += matrix[:3, :3] @ [g.start / s for g, s in zip(grid, old, strict=True)]
    return MetaTensor(torch.from_numpy(np.maximum(hu, -1024)[None]), affine=scaled)


def _checked(
    label_map: ArrayLike, affine: ArrayLike, tissues: Mapping[int, Tissue]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    labels = np.asarray(label_map)
    if labels.ndim == 4 and len(labels) == 1:
        labels = labels[0]
    if labels.ndim != 3:
        raise ValueError(f"a label map is of size (X, Y, Z), got {labels.shape}")
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise ValueError(f"the affine must be an invertible matrix (4, 4), got {matrix.tolist()}")
    found = [int(i) for i in label_ids(labels)]
    if not any(found):
        raise ValueError("no voxel of the label map is labeled")
    if unknown := [i for i in found if i != 0 and i not in tissues]:
        listed = ", ".join(map(str, unknown))
        raise ValueError(f"the label map holds ids that the table of tissues lacks: {listed}; add them to it")
    return labels.astype(np.uint8 if max(found) < 256 else np.int32, copy=False), matrix


def _surroundings(
    labels: NDArray[Any], grid: Sequence[GridAxis], spacing: float, between: Tissue | None, grain: Volume
) -> Volume:
    """HU where nothing is labeled."""
    hu = np.full(grain.shape, _AIR, dtype=np.float32)
    if between is None:
        return hu
    coarser = max(1, int(_HULL_SPACING / spacing))
    share = spread((labels > 0).astype(np.float32), [g.weights(spacing, coarser) for g in grid])
    planes = np.moveaxis(share > min(0.5, float(share.max()) / 2), 2, 0)
    hull = np.stack([convex_hull_image(plane) if plane.any() else plane for plane in planes], axis=2)
    outward = _inward(~hull, spacing * coarser) - _inward(hull, spacing * coarser)
    outward = ndimage.gaussian_filter(outward, _SMOOTH / (spacing * coarser), mode="nearest", truncate=3.0)
    outward = ndimage.zoom(outward, coarser, order=1, mode="nearest", grid_mode=True)
    outward = outward[tuple(slice(n) for n in grain.shape)] - np.float32(between.margin_mm)
    hu += coverage(outward - np.float32(between.shell_mm), spacing) * (between.shell_hu - hu)
    hu += coverage(outward, spacing) * (between.hu + between.texture * grain - hu)
    return hu


def _inward(mask: NDArray[np.bool_], spacing: float) -> Volume:
    """Distance in mm of what is inside a mask from its surface, 0 outside; the edge of the volume is no surface."""
    distance = np.asarray(ndimage.distance_transform_edt(mask), dtype=np.float32)
    return np.maximum(distance - np.float32(0.5), 0) * np.float32(spacing)


def _inside(share: Volume, tissue: Tissue, spacing: float, grain: Mapping[str, Volume]) -> Volume | float:
    """HU within a structure."""
    if tissue.shell_mm == 0 and tissue.texture == 0:
        return tissue.hu
    texture = tissue.texture * (0.9 * grain["fine"] + 0.45 * grain["coarse"])
    if tissue.shell_mm == 0:
        return np.asarray(tissue.hu + texture, dtype=np.float32)
    mask = share > 0.5
    narrow = _narrowness(mask, spacing)
    shaft_mm = tissue.shell_mm if tissue.shaft_mm is None else tissue.shaft_mm
    shaft_hu = tissue.hu if tissue.shaft_hu is None else tissue.shaft_hu
    thickness = tissue.shell_mm + narrow * (shaft_mm - tissue.shell_mm)
    spongy = tissue.hu + narrow * (shaft_hu - tissue.hu) + texture * (1 - 0.7 * narrow)
    core = coverage(thickness - _inward(mask, spacing), spacing)
    return np.asarray(tissue.shell_hu + core * (spongy - tissue.shell_hu), dtype=np.float32)


def _narrowness(mask: NDArray[np.bool_], spacing: float) -> Volume | float:
    """0 where a bone is wide, 1 in its shaft, from the areas of its sections along its longest axis."""
    points = np.argwhere(mask)
    if len(points) < 10:
        return 0.0
    center = points.mean(axis=0)
    axis = np.linalg.eigh(np.cov((points - center).T))[1][:, -1]
    x, y, z = (direction * (np.arange(n) - c) for direction, n, c in zip(axis, mask.shape, center, strict=True))
    along = (x[:, None, None] + y[:, None] + z).astype(np.float32)
    low = float(along.min())
    section = (along - low).astype(np.int32)
    area = np.bincount(section[mask], minlength=int(section.max()) + 1).astype(np.float64)
    area = ndimage.gaussian_filter1d(area, 2.0 / spacing, mode="nearest")
    # The end of a bone, where sections become small again, is not shaft.
    area = ndimage.maximum_filter1d(area, 2 * round(_WIDE / spacing) + 1, mode="nearest")
    narrow = np.clip((_NARROW[1] - area / area.max()) / (_NARROW[1] - _NARROW[0]), 0, 1)
    narrow = ndimage.gaussian_filter1d(narrow, 5.0 / spacing, mode="nearest")
    return np.asarray(np.interp(along - low, np.arange(len(narrow)), narrow), dtype=np.float32)
