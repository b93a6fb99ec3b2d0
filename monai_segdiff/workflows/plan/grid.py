"""Slices or volumes, across which axis, and the grid that they are brought onto."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monai_segdiff.workflows.plan.case_facts import BODY_HU, CaseFacts
from monai_segdiff.workflows.plan.choices import Choices
from monai_segdiff.workflows.plan.fingerprint import Fingerprint

__all__ = ["choose_grid", "expected_items", "regions_of"]

_AXES = ("sagittal", "coronal", "axial")
_DIRECTIONS = ("right-left", "anterior-posterior", "superior-inferior")
_STEP = 8  # what the halvings of the networks divide
_SMALLEST = 16
_FLAT = 1.5  # ratio of voxel sizes above which one axis is the coarse one
_SAME = 0.005  # of the grid: what two planes may differ by and still be as good
_TIGHT = 0.8  # of the field of view: labels that reach further are not worth a crop
_MOST_OF = 95  # percent of the cases that a grid is made for
_LEAST_SHARE = 0.01  # of a slice, as `prepare` has it


@dataclass(frozen=True)
class _Axis:
    """A number of voxels along an axis, and what it costs."""

    voxels: int
    cut: float
    outside: float

    @property
    def cost(self) -> float:
        return self.cut + self.outside


def choose_grid(fingerprint: Fingerprint, choices: Choices, longest: int) -> None:
    """Choose dimension, slice axis, crop, voxel size and grid.

    Args:
        fingerprint: the data.
        choices: get ``spatial_dims``, ``image_size``, and of ``prepare`` axis, crop, margin and spacing.
        longest: voxels of the longest side, at most.
    """
    volumes = fingerprint.spatial_dims == 3
    dims = choices.choose(
        "spatial_dims",
        2,
        "slices: every volume gives many of them, and a step takes a small part of the time and memory that one on "
        "volumes takes; 3 generates whole volumes"
        if volumes
        else "the files are pictures or single slices",
    )
    if not fingerprint.has_spacing:
        _choose_picture_grid(fingerprint, choices, longest)
        return
    crop = choices.choose("prepare.crop", *_crop(fingerprint))
    choices.choose("prepare.margin", 0.0, "mm around what the crop is centered on; the grid has room for most cases")
    axis = choices.choose("prepare.axis", *_slice_axis(fingerprint, crop, longest)) if volumes and dims == 2 else None
    plane = [i for i in range(3 if volumes else 2) if i != axis]
    spacing, why = _voxel_size(fingerprint, crop, plane, longest, square=axis is not None or not volumes)
    spacing = choices.choose("prepare.spacing", spacing, why)
    given = [float(s) for s in spacing] if isinstance(spacing, list) else [float(spacing)] * len(plane)
    sides = [_side(fingerprint.cases, crop, i, s, longest) for i, s in zip(plane, given, strict=True)]
    choices.choose("image_size", [side.voxels for side in sides], _grid_reason(fingerprint, crop, plane, given, sides))


def regions_of(case: CaseFacts, crop: str) -> Sequence[tuple[float, float]] | None:
    """The box that a crop is centered on, in mm per axis; None where there is none.

    Args:
        case: the case.
        crop: "none", "labels" or "body".
    """
    if crop == "none":
        return [(0.0, extent) for extent in case.extent]
    return case.body if crop == "body" else case.box


def expected_items(fingerprint: Fingerprint, choices: Choices) -> dict[str, float]:
    """How many slices or volumes each patient is expected to give.

    Args:
        fingerprint: the data.
        choices: with the grid.
    """
    axis = choices.section("prepare").get("axis")
    counted: dict[str, list[float]] = {}
    for case in fingerprint.cases:
        count = 1.0
        if axis is not None:
            spacing = choices["prepare.spacing"]
            voxel = np.prod(spacing) if isinstance(spacing, list) else float(spacing) ** 2
            share = choices.section("prepare").get("min_foreground") or _LEAST_SHARE
            count = case.labelled_slices(axis, share * float(np.prod(choices["image_size"]) * voxel))
        counted.setdefault(case.patient, []).append(count)
    mean = float(np.mean([count for counts in counted.values() for count in counts]))
    return {
        patient: number * (float(np.mean(counted[patient])) if patient in counted else mean)
        for patient, number in fingerprint.patients.items()
    }


def _choose_picture_grid(fingerprint: Fingerprint, choices: Choices, longest: int) -> None:
    shapes = np.array([case.shape[:2] for case in fingerprint.cases], dtype=float)
    ratio = np.median(shapes[:, 0] / shapes[:, 1])
    largest = min(longest, int(shapes.max()) // _STEP * _STEP)
    size = [largest * min(1.0, ratio), largest * min(1.0, 1 / ratio)]
    sizes = ", ".join(f"{low:g}-{high:g}" for low, high in zip(shapes.min(0), shapes.max(0), strict=True))
    choices.choose(
        "image_size",
        [max(_SMALLEST, -(-round(n) // _STEP) * _STEP) for n in size],
        f"pictures of {sizes} pixels, width by height, fitted as a whole; the median shape, in multiples of {_STEP}",
    )


def _crop(fingerprint: Fingerprint) -> tuple[str, str]:
    if fingerprint.scale == "HU" and all(case.body for case in fingerprint.cases):
        return "body", f"CT with air around: what lies inside the skin (above {BODY_HU:g} HU) fills the image"
    shares = [
        (high - low) / extent
        for case in fingerprint.cases
        if case.box is not None
        for (low, high), extent in zip(case.box, case.extent, strict=True)
        if extent > 0
    ]
    share = float(np.median(shares)) if shares else 1.0
    if share > _TIGHT:
        return "none", f"the labels reach over {share:.0%} of the field of view (median): nothing to crop"
    return (
        "labels",
        f"the labels reach over {share:.0%} of the field of view (median): what is labelled fills the image",
    )


def _slice_axis(fingerprint: Fingerprint, crop: str, longest: int) -> tuple[int, str]:
    spacing = np.array(fingerprint.spacing())
    voxels = " x ".join(f"{s:g}" for s in spacing)
    single = [axis for axis in range(3) if all(case.shape[axis] == 1 for case in fingerprint.cases)]
    if single:
        return single[0], f"{_AXES[single[0]]}: the files hold one slice each"
    if spacing.max() > _FLAT * spacing.min():
        axis = int(spacing.argmax())
        return axis, f"{_AXES[axis]} slices: voxels of {voxels} mm are longest across them"
    costs = {}
    for axis in (2, 1, 0):
        plane = [i for i in range(3) if i != axis]
        size, _ = _voxel_size(fingerprint, crop, plane, longest, square=True)
        costs[axis] = sum(_side(fingerprint.cases, crop, i, size[0], longest).cost for i in plane)
    best = min(costs.values())
    axis = next(axis for axis, cost in costs.items() if cost <= best + _SAME)
    listed = ", ".join(f"{_AXES[i]} {cost:.1%}" for i, cost in costs.items())
    return axis, (
        f"{_AXES[axis]} slices: voxels of {voxels} mm are alike, and of their grid least is cut off labels or lies "
        f"outside the field of view ({listed})"
    )


def _wanted(cases: Sequence[CaseFacts], crop: str, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """For each case the length in mm that has to be in the image, and the field of view."""
    boxes = [(regions_of(case, crop), case.extent) for case in cases]
    pairs = [(box[axis][1] - box[axis][0], extent[axis]) for box, extent in boxes if box is not None]
    lengths, views = np.array(pairs, dtype=float).T
    return lengths, views


def _voxel_size(
    fingerprint: Fingerprint, crop: str, axes: Sequence[int], longest: int, *, square: bool
) -> tuple[list[float], str]:
    """Voxel size in mm for each of the axes: the files' own, or what lets the longest side hold most cases."""
    native = np.array([fingerprint.spacing()[axis] for axis in axes])
    lengths = np.array([np.percentile(_wanted(fingerprint.cases, crop, axis)[0], _MOST_OF) for axis in axes])
    finest = np.full(len(axes), native.min()) if square else native
    growth = max(1.0, float((lengths / finest / longest).max()))
    sizes = [float(f"{s * growth:.3g}") for s in finest]
    if growth == 1.0:
        return sizes, "mm a voxel, as the files have them: nothing finer is in the data"
    return sizes, (
        f"mm a voxel: {lengths.max():.0f} mm, which holds {_MOST_OF}% of the cases, are {longest} voxels of the "
        f"longest side; the files have {native.min():g}"
    )


def _side(cases: Sequence[CaseFacts], crop: str, axis: int, spacing: float, longest: int) -> _Axis:
    """The number of voxels that cuts off and adds least, both measured as shares and averaged over the cases."""
    lengths, views = _wanted(cases, crop, axis)
    most = max(_SMALLEST, longest)
    options = []
    for voxels in range(_SMALLEST, most + 1, _STEP):
        side = voxels * spacing
        cut = float((np.maximum(0, lengths - side) / lengths).mean())
        outside = float((np.maximum(0, side - views) / side).mean())
        options.append(_Axis(voxels, cut, outside))
    best = min(option.cost for option in options)
    return next(option for option in options if option.cost <= best + _SAME)


def _grid_reason(
    fingerprint: Fingerprint, crop: str, axes: Sequence[int], spacing: Sequence[float], sides: Sequence[_Axis]
) -> str:
    parts = []
    for axis, size, side in zip(axes, spacing, sides, strict=True):
        lengths, views = _wanted(fingerprint.cases, crop, axis)
        what = "field of view" if crop == "none" else crop
        parts.append(
            f"{_DIRECTIONS[axis]} {side.voxels * size:.3g} mm for {what} of {np.percentile(lengths, 5):.0f}-"
            f"{np.percentile(lengths, 95):.0f} mm in views of {views.min():.0f}-{views.max():.0f} mm "
            f"(cut off {side.cut:.1%}, outside the view {side.outside:.1%})"
        )
    return f"multiples of {_STEP}; {'; '.join(parts)}"
