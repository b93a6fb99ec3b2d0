"""The overview of a study: what was understood of the data, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import numpy as np

from monai_segdiff.data import Case
from monai_segdiff.data.preparation.source import Source
from monai_segdiff.evenly import evenly
from monai_segdiff.pictures.source_overview import ShownCase, source_overview
from monai_segdiff.workflows.plan.case_facts import CaseFacts
from monai_segdiff.workflows.plan.choices import Choices
from monai_segdiff.workflows.plan.fingerprint import Fingerprint
from monai_segdiff.workflows.plan.grid import regions_of

__all__ = ["frame_of", "overview"]

_ROWS = {"training": 4, "validation": 1, "test": 2}


def overview(
    source: Source, splits: Mapping[str, Sequence[Case]], fingerprint: Fingerprint, choices: Choices
) -> np.ndarray:
    """Draw cases of each split with what the plan makes of them.

    Args:
        source: the data.
        splits: of its cases.
        fingerprint: what they are.
        choices: the plan.

    Returns:
        uint8 pixels, ``(height, width, 3)``.
    """
    facts = {case.id: case for case in fingerprint.cases}
    chosen = [
        (split, case)
        for split, cases in splits.items()
        for case in evenly([case for case in cases if case.id in facts], _ROWS[split])
    ]
    with ExitStack() as stack:
        shown = [
            ShownCase(
                stack.enter_context(source.files_of(case)),
                f"{case.patient} ({split})",
                frame_of(facts[case.id], choices),
            )
            for split, case in chosen
        ]
        return source_overview(
            shown,
            source.classes,
            source.channels,
            axis=choices.section("prepare").get("axis"),
            lines=[*choices.notes, _planned(choices)],
            legend=_legend(fingerprint),
        )


def frame_of(case: CaseFacts, choices: Choices) -> list[tuple[float, float]] | None:
    """First and last position in voxels, per axis, of what the network sees of a case; None for all of it.

    Args:
        case: the case.
        choices: with the grid.
    """
    own = choices.section("prepare")
    spacing, box = own.get("spacing"), regions_of(case, own.get("crop", "none"))
    if spacing is None or box is None:
        return None
    plane = [axis for axis in range(len(case.shape)) if axis != own.get("axis")]
    sides = dict(zip(plane, _per_axis(spacing, choices["image_size"]), strict=True))
    frame = []
    for axis, ((low, high), extent, voxel) in enumerate(zip(box, case.extent, case.spacing, strict=True)):
        if axis not in sides:
            frame.append((0.0, float(case.shape[axis])))
            continue
        half, room = sides[axis] / 2, extent - sides[axis] / 2
        middle = min(max((low + high) / 2, min(half, room)), max(half, room))
        frame.append(((middle - half) / voxel, (middle + half) / voxel))
    return frame


def _per_axis(spacing: float | Sequence[float], size: Sequence[int]) -> list[float]:
    each = list(spacing) if isinstance(spacing, Sequence) else [spacing] * len(size)
    return [n * float(s) for n, s in zip(size, each, strict=True)]


def _planned(choices: Choices) -> str:
    own, size = choices.section("prepare"), " x ".join(map(str, choices["image_size"]))
    across = {0: "sagittal ", 1: "coronal ", 2: "axial "}.get(own.get("axis", -1), "")
    what = f"{across}slices" if choices["spatial_dims"] == 2 else "volumes"
    spacing = own.get("spacing")
    each = (
        ""
        if spacing is None
        else f" of {' x '.join(f'{s:g}' for s in (spacing if isinstance(spacing, list) else [spacing]))} mm"
    )
    crop = own.get("crop", "none")
    return f"Plan: {what} of {size} voxels{each}, crop {crop}; the yellow frame is what the network sees"


def _legend(fingerprint: Fingerprint) -> dict[str, str]:
    volumes = fingerprint.spatial_dims == 3
    unit = ("ml" if volumes else "cm2") if fingerprint.has_spacing else "pixels"
    scale = {"ml": 1e-3, "cm2": 1e-2, "pixels": 1.0}[unit]
    return {
        name: f"{name}: {volume * scale:.3g} {unit}, {patients} patients"
        for name, (patients, volume) in fingerprint.occurrences().items()
    }
