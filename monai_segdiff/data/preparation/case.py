"""One case turned into what a network trains on: slices or a volume of one size, with remapped labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from monai_segdiff.data.channels import load_case_image
from monai_segdiff.data.description.classes import named_ids
from monai_segdiff.data.issues import case_issues
from monai_segdiff.data.layout import Case
from monai_segdiff.data.load import is_raster, load_label_map, spacing_of
from monai_segdiff.data.preparation.bias_field import correct_bias_field
from monai_segdiff.data.preparation.covariates import SPACING
from monai_segdiff.data.preparation.crop import Box, body_box, box_of, grid_center, with_margin
from monai_segdiff.data.preparation.resample import body_mask, fit_spacing, remap_labels, resample_pair
from monai_segdiff.data.readers.palettes import Seen
from monai_segdiff.transforms.covariates import CovariateValue

__all__ = ["PreparedSample", "Plan", "prepare_case"]


@dataclass(frozen=True)
class Plan:
    """How cases are prepared; see `prepare_dataset`. `channels` are the source's, `kept` those that are wanted."""

    classes: Mapping[str, int | Sequence[int]]
    spatial_dims: int
    size: Sequence[int]
    spacing: Sequence[float] | None = None
    axis: int = 2
    fill: float | tuple[float, ...] | None = None
    min_foreground: float = 0.0
    drop_other_labels: bool = False
    body_threshold: float | None = None
    percentiles: tuple[float, float] | None = None
    n4: bool = False
    findings: tuple[str, ...] = ()
    crop: str = "none"
    margin: float = 0.0
    outside: int = 0  # id of what lies outside the field of view
    channels: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()


@dataclass(frozen=True)
class PreparedSample:
    """A slice or volume ready to be written.

    Args:
        name: case name, for slices with their number.
        image: float32, (C, *size) of the plan's size.
        label: uint8, of the plan's size.
        affine: (4, 4), index to RAS mm.
        thickness: distance to the next slice in mm.
        findings: what is found in it; None where that is unknown.
        region: where it is, uint8, of the plan's size; None where that is unknown or nothing is there.
        covariates: those of the case, and what was measured.
    """

    name: str
    image: NDArray[np.float32]
    label: NDArray[np.uint8]
    affine: NDArray[np.float64]
    thickness: float
    findings: tuple[str, ...] | None = None
    region: NDArray[np.uint8] | None = None
    covariates: tuple[tuple[str, CovariateValue], ...] = ()


def prepare_case(case: Case, plan: Plan, seen: Seen | None = None) -> Iterator[PreparedSample]:
    """Check, reorient, resample and slice one case.

    Args:
        case: the case.
        plan: how it is prepared.
        seen: gets the ids of its label map, where one is given.

    Yields:
        Slices with enough foreground in their order along the axis, or the one volume or picture.

    Raises:
        ValueError: if a file is unsound; names it and the remedy.
    """
    ids = {i for _, i in named_ids(plan.classes)}
    known = None if plan.drop_other_labels else ids
    for issue in case_issues(case, known, names=plan.findings, seen=seen, channels=plan.channels):
        if issue.severity == "error":
            raise ValueError(f"{issue.file}: {issue.message}; {issue.remedy}")
    if case.image is None or case.label is None:
        missing = "image" if case.image is None else "label"
        raise ValueError(f"{case.label or case.image} has no {missing}; add it, or leave the case out")
    image, label = _kept(load_case_image(case, plan.channels), plan), load_label_map(case.label)
    if image.ndim - 1 < plan.spatial_dims:
        raise ValueError(f"{case.image} is 2D where 3D is configured; set spatial_dims (--spatial-dims) to 2")
    regions = [] if case.region is None else [load_label_map(case.region)]
    (image, label, *regions), origin = _plain([image, label, *regions])
    label = label.new_tensor(_target_labels(np.asarray(image)[0], np.asarray(label)[0], plan)[None])
    box = _box(np.asarray(image)[0], np.asarray(label)[0], plan)
    if plan.n4 or plan.percentiles is not None:
        image = _scaled(image, plan, str(case.image))
    sliced = image.ndim - 1 > plan.spatial_dims
    size, plane = list(plan.size), list(range(min(2, image.ndim - 1)))
    spacing = None if plan.spacing is None else list(plan.spacing)
    voxel = spacing_of(np.asarray(image.affine), image.ndim - 1)
    if sliced:
        size.insert(plan.axis, -1)
        plane = [i for i in range(3) if i != plan.axis]
        if spacing is not None:
            spacing.insert(plan.axis, float(voxel[plan.axis]))
    shape: Sequence[int] = image.shape[1:]
    if box is not None:
        box = with_margin(box, plan.margin, shape, voxel.tolist())
    covariates = _covariates(case, plan, voxel[plane] if sliced else voxel)
    if spacing is None:
        spacing = fit_spacing(shape if box is None else np.diff(box)[:, 0], voxel.tolist(), size, plane)
    center = None
    if box is not None:
        extent = [n if n == -1 else n * s / old for n, s, old in zip(size, spacing, voxel.tolist(), strict=True)]
        center = grid_center(box, shape, [n if e == -1 else e for n, e in zip(shape, extent, strict=True)])
    regions = [resample_pair(image, region, spacing, size, center=center)[1] for region in regions]
    image, label = resample_pair(image, label, spacing, size, plan.fill, center, plan.outside)
    affine = origin @ np.asarray(image.affine, dtype=np.float64)
    pixels, labels = np.asarray(image), np.asarray(label)[0]
    region = np.asarray(regions[0])[0] if regions else None
    if not sliced:
        shown = region if region is not None and region.any() else None
        yield PreparedSample(case.id, pixels, labels, affine, float(spacing[-1]), case.findings, shown, covariates)
        return
    background = 0 if plan.body_threshold is None else 1
    for index in range(labels.shape[plan.axis]):
        part = labels.take(index, plan.axis)
        if ((part > background) & (part != plan.outside)).mean() >= plan.min_foreground:
            place = _slice_affine(affine, plane, plan.axis, index)
            name = f"{case.id}_slice{index:03d}"
            shown = None if region is None else region.take(index, plan.axis)
            findings = _slice_findings(case.findings, region, shown, plan.findings)
            shown = shown if shown is not None and shown.any() else None
            yield PreparedSample(
                name,
                pixels.take(index, plan.axis + 1),
                part,
                place,
                float(spacing[plan.axis]),
                findings,
                shown,
                covariates,
            )


def _covariates(case: Case, plan: Plan, voxel: NDArray[np.float64]) -> tuple[tuple[str, CovariateValue], ...]:
    """What is known of the case, and its voxel size where that is wanted and known; in the order of the plan."""
    told = dict(case.covariates)
    if SPACING in plan.covariates and case.image is not None and not is_raster(case.image):
        told.setdefault(SPACING, round(float(np.prod(voxel) ** (1 / len(voxel))), 4))
    return tuple((name, told[name]) for name in plan.covariates if name in told)


def _kept(image: MetaTensor, plan: Plan) -> MetaTensor:
    """The image with those of its channels that are wanted, in their order."""
    if plan.kept == plan.channels:
        return image
    return image[[plan.channels.index(name) for name in plan.kept]]


def _plain(files: Sequence[MetaTensor]) -> tuple[list[MetaTensor], NDArray[np.float64]]:
    """An image and its maps; slices with the affine of their voxel size, which the second leads from.

    Returns:
        The image and its maps, and a matrix (4, 4) from that affine to the true one.
    """
    if files[0].ndim == 4:
        return list(files), np.eye(4)
    true = np.eye(4) if is_raster(str(files[0].meta["filename_or_obj"])) else np.asarray(files[0].affine)
    plain = np.diag([*spacing_of(true, 2), 1.0, 1.0])
    return [MetaTensor(file.as_tensor(), affine=plain) for file in files], true @ np.linalg.inv(plain)


def _slice_findings(
    findings: tuple[str, ...] | None,
    region: NDArray[np.uint8] | None,
    shown: NDArray[np.uint8] | None,
    names: Sequence[str],
) -> tuple[str, ...] | None:
    """What a slice shows of a volume's findings; None where the regions do not tell."""
    if not findings:
        return findings
    places = set() if region is None else {names[i - 1] for i in np.unique(region) if i}
    if shown is None or not set(findings) <= places:
        return None
    return tuple(name for name in findings if names.index(name) + 1 in shown)


def _scaled(image: MetaTensor, plan: Plan, file: str) -> MetaTensor:
    """The whole image without its bias field, and with its percentiles at 0 and 1, as the plan asks; each channel."""
    names = plan.kept if len(image) > 1 else ("",)
    layers = [
        _scaled_channel(layer, np.asarray(image.affine), plan, f"{file}, channel {name!r}" if name else file)
        for layer, name in zip(np.asarray(image), names, strict=True)
    ]
    return MetaTensor(np.stack(layers), affine=image.affine)


def _scaled_channel(
    pixels: NDArray[np.generic], affine: NDArray[np.float64], plan: Plan, file: str
) -> NDArray[np.generic]:
    if plan.n4:
        try:
            pixels = correct_bias_field(pixels, spacing_of(affine, pixels.ndim).tolist())
        except ValueError as error:
            raise ValueError(f"{file}: {error}; prepare without n4, or leave the case out") from error
    if plan.percentiles is not None:
        low, high = np.percentile(pixels, plan.percentiles)
        if not low < high:
            raise ValueError(
                f"{file}: the percentiles {plan.percentiles[0]:g} and {plan.percentiles[1]:g} of its intensities are "
                f"both {low:g}; choose percentiles further apart, or leave the case out"
            )
        pixels = np.clip((pixels - low) / (high - low), 0, 1).astype(np.float32)
    return pixels


def _target_labels(image: NDArray[np.generic], label: NDArray[np.generic], plan: Plan) -> NDArray[np.uint8]:
    target = remap_labels(label, plan.classes)
    if plan.body_threshold is None:
        return target
    # Body comes first in the order of classes, so all others move up by one.
    target[target > 0] += 1
    target[(target == 0) & body_mask(image, plan.body_threshold)] = 1
    return target


def _box(image: NDArray[np.generic], label: NDArray[np.uint8], plan: Plan) -> Box | None:
    """What the grid lies around, where that is not the middle of the image."""
    if plan.crop == "none":
        return None
    if plan.crop == "body" and plan.body_threshold is None:
        return body_box(image)
    added = plan.body_threshold is not None and plan.crop == "labels"
    return box_of((label > (1 if added else 0)) & (label != plan.outside))


def _slice_affine(affine: NDArray[np.float64], plane: Sequence[int], axis: int, index: int) -> NDArray[np.float64]:
    """Affine of a 2D slice: its two axes first, then the axis it was cut along."""
    out = np.eye(4)
    out[:3, :3] = affine[:3, [*plane, axis]]
    out[:3, 3] = affine[:3, 3] + index * affine[:3, axis]
    return out
