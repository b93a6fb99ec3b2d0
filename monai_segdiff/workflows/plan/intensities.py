"""Which intensities matter, how images are brought to one scale, and which class encloses which."""

from __future__ import annotations

import math

import numpy as np

from monai_segdiff.data.description.classes import BODY
from monai_segdiff.workflows.plan.case_facts import BODY_HU
from monai_segdiff.workflows.plan.choices import Choices
from monai_segdiff.workflows.plan.fingerprint import Fingerprint

__all__ = ["choose_classes", "choose_intensities"]

_ROUND = 50.0  # HU
_LOWEST, _HIGHEST = -1000.0, 3000.0  # HU
_NARROWEST = 300.0  # HU
_AIR = 0.05  # of the voxels


def choose_intensities(fingerprint: Fingerprint, choices: Choices) -> None:
    """Choose ``intensity_range``, ``percentiles`` and ``n4`` of ``prepare``.

    Args:
        fingerprint: the data.
        choices: get them.
    """
    low, high = min(fingerprint.pooled(0)), max(fingerprint.pooled(-1))
    tops = fingerprint.pooled(-1)
    if fingerprint.scale == "HU":
        window, why = _window(fingerprint)
        choices.choose("prepare.intensity_range", window, why)
        choices.choose("prepare.percentiles", None, "HU have a meaning, the same in every image")
    elif fingerprint.scale == "shared":
        bytes_ = high <= 255 and low >= 0 and all(case.whole_numbers for case in fingerprint.cases)
        choices.choose(
            "prepare.intensity_range",
            [0.0, 255.0] if bytes_ else None,
            "gray values of a byte"
            if bytes_
            else f"all images share one scale ({low:g} to {high:g}): the 0.5 and 99.5 percentile of all of them",
        )
        choices.choose("prepare.percentiles", None, "all images share one scale")
    else:
        choices.choose("prepare.intensity_range", None, "percentiles bring every image to 0..1")
        choices.choose(
            "prepare.percentiles",
            [0.5, 99.5],
            f"intensities have no unit: the highest of an image is from {min(tops):g} to {max(tops):g}, so each is "
            "scaled by its own percentiles",
        )
    choices.choose("prepare.n4", False, "true where MR images get darker to one side; needs the extra n4")


def choose_classes(fingerprint: Fingerprint, choices: Choices) -> None:
    """Choose the added class body and what encloses what.

    Args:
        fingerprint: the data.
        choices: get ``body_threshold`` and ``parents`` of ``prepare``.
    """
    air = float(np.mean([case.air for case in fingerprint.cases]))
    named = any(name.casefold() == BODY for name in fingerprint.classes)
    wanted = fingerprint.scale == "HU" and air >= _AIR and not named
    why = (
        f"CT with {air:.0%} air: a class 'body' for everything inside the skin"
        if wanted
        else "a class 'body' is there already"
        if named
        else "only for CT with air around the patient, in HU"
    )
    body = choices.choose("prepare.body_threshold", BODY_HU if wanted else None, why)
    found = fingerprint.enclosing()
    enclosed = {name: other for name, (other, _) in found.items()} | fingerprint.parents
    parents = {**(dict.fromkeys(fingerprint.classes, BODY) if body is not None else {}), **enclosed}
    measured = [f"{name} in {other} ({share:.0%} of its outer border)" for name, (other, share) in found.items()]
    said = [f"{name} in {other} (as the source says)" for name, other in fingerprint.parents.items()]
    none = "no class has 90% of its outer border in another" + (", so all lie in the body" if body is not None else "")
    choices.choose("prepare.parents", parents or None, "; ".join([*measured, *said]) or none)


def _window(fingerprint: Fingerprint) -> tuple[list[float], str]:
    held = np.array([case.labelled for case in fingerprint.cases if case.labelled is not None])
    low, high = float(np.median(held[:, 0])), float(np.median(held[:, 1]))
    window = [
        max(_LOWEST, math.floor(low / _ROUND) * _ROUND),
        min(_HIGHEST, math.ceil(high / _ROUND) * _ROUND),
    ]
    if (lacking := _NARROWEST - (window[1] - window[0])) > 0:
        window = [
            window[0] - math.ceil(lacking / 2 / _ROUND) * _ROUND,
            window[1] + math.ceil(lacking / 2 / _ROUND) * _ROUND,
        ]
    return window, (
        f"HU: 99% of the labelled voxels of the median case lie from {low:.0f} to {high:.0f}; in steps of "
        f"{_ROUND:.0f}, at least {_NARROWEST:.0f} wide"
    )
