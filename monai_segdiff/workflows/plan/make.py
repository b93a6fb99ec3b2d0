"""The plan of a study: from the data, the machine and the time that there is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monai_segdiff.data.preparation.source import Source
from monai_segdiff.settings import check_settings
from monai_segdiff.workflows.plan.choices import Choices
from monai_segdiff.workflows.plan.document import training_values
from monai_segdiff.workflows.plan.estimate import (
    Measured,
    Times,
    expected_times,
    measure,
    planned_splits,
    prepare_arguments,
    tuning_seconds,
)
from monai_segdiff.workflows.plan.fingerprint import Fingerprint
from monai_segdiff.workflows.plan.grid import choose_grid
from monai_segdiff.workflows.plan.held_out import choose_split
from monai_segdiff.workflows.plan.intensities import choose_classes, choose_intensities
from monai_segdiff.workflows.plan.machine import Machine
from monai_segdiff.workflows.plan.network import (
    DEFAULT_IMAGES,
    choose_bundle,
    choose_length,
    choose_network,
    longest_side,
)
from monai_segdiff.workflows.study_state import plain

__all__ = ["Wish", "decide", "in_words", "plan_study"]

_MOST_MASKS = 1000
_KEPT = 0.95  # of the hours given; the rest is for what no trial shows
_SHARE = 0.2  # of the hours given that generation, or the segmenter's training, may take
# Values that no measured second depends on.
_LENGTHS = (
    *("max_images", "tuning_images", "images_per_epoch", "warmup_steps", "val_interval", "preview_interval"),
    *("prepare.fractions", "prepare.seed"),
    *("guide.weights", "guide.most_masks"),
    *("generate.most_masks", "generate.per_mask", "generate.split", "evaluate.segmenter_images"),
)
_FEWEST_IMAGES = 1600  # seen, below which nothing was measured


@dataclass(frozen=True)
class Wish:
    """How long a study may take.

    Args:
        hours: for everything, or None.
        images: that the training sees, or None. With neither, the default length.
    """

    hours: float | None = None
    images: int | None = None

    def __post_init__(self) -> None:
        if self.hours is not None and self.images is not None:
            raise ValueError("hours (--hours) and images (--images) exclude each other: leave one out")
        if self.hours is not None and not (math.isfinite(self.hours) and self.hours > 0):
            raise ValueError(f"hours (--hours) must be a number above 0, got {self.hours:g}")
        if self.images is not None and self.images < 1:
            raise ValueError(f"images (--images) must be at least 1, got {self.images}")


def plan_study(
    source: Source,
    fingerprint: Fingerprint,
    machine: Machine,
    wish: Wish,
    edited: Mapping[str, Any],
    folder: Path,
    known: Mapping[str, Any] | None = None,
    asked: Mapping[str, Any] | None = None,
) -> tuple[Choices, Times, dict[str, Any]]:
    """Decide, measure a few real steps, and decide how long.

    Args:
        source: the data.
        fingerprint: what they are.
        machine: where the study runs.
        wish: how long it may take.
        edited: values that the user has given, by key.
        folder: for the trial; removed at its end.
        known: what an earlier call has measured; it is not measured again where nothing of it depends on what changed.
        asked: values that options name, by key.

    Returns:
        The plan, what it takes, and what was measured, of JSON types.

    Raises:
        ValueError: if a value of the user's is not possible, or the hours are too few.
        MemoryError: if not even a step on one image fits into memory.
    """
    choices, found = _that_fits(source, fingerprint, machine, edited, folder, known, asked or {})
    depends = _depends(choices, machine)
    splits = planned_splits(source, prepare_arguments(_values(choices)))
    times = expected_times(fingerprint, splits, choices, found)
    dims = choices["spatial_dims"]
    if wish.images is not None:
        choose_length(choices, wish.images, "as asked for (--images)")
    elif wish.hours is not None:
        _shorten_the_rest(choices, found, times, wish.hours)
        times = expected_times(fingerprint, splits, choices, found)
        images, why = _images_in(wish.hours, choices, found, times)
        choose_length(choices, images, why)
    else:
        choose_length(choices, DEFAULT_IMAGES[dims], _default_reason(dims))
    times = expected_times(fingerprint, splits, choices, found)
    held = {name: len({case.patient for case in cases}) for name, cases in splits.items()}
    choices.notes = [
        f"Data: {_data_in_words(fingerprint)}",
        *([f"Read as: {source.found}"] if source.found else []),
        "Split: " + ", ".join(f"{_count(number, 'patient')} for {name}" for name, number in held.items()),
        f"Machine: {machine}",
        f"Expected: {in_words(times)}; a step of {choices['batch_size']} images takes "
        f"{found.trial.step_seconds:.3g} s here",
    ]
    return choices, times, {"of": depends, "found": asdict(found)}


def decide(
    fingerprint: Fingerprint,
    machine: Machine,
    edited: Mapping[str, Any],
    batch_size: int | None = None,
    *,
    asked: Mapping[str, Any] | None = None,
    split_of: Mapping[str, str] | None = None,
) -> Choices:
    """Everything that follows from data and machine alone, with the default length.

    Args:
        fingerprint: the data.
        machine: where the study runs.
        edited: values that the user has given, by key.
        batch_size: where memory allows no larger one.
        asked: values that options name, by key.
        split_of: patient to split, where the source's own is kept.

    Raises:
        ValueError: if a value is not possible, or nobody is held out.
    """
    choices = Choices(edited, asked=asked or {})
    choose_bundle(fingerprint, choices)
    dims = edited.get("spatial_dims", 2)
    if dims not in DEFAULT_IMAGES:
        raise ValueError(f"spatial_dims must be 2 or 3 in a plan, not {dims!r}")
    choose_grid(fingerprint, choices, longest_side(machine, dims))
    choose_intensities(fingerprint, choices)
    choose_classes(fingerprint, choices)
    choose_network(machine, choices, batch_size)
    choose_length(choices, DEFAULT_IMAGES[dims], _default_reason(dims))
    choose_split(fingerprint, choices, split_of)
    choices.choose("prepare.workers", machine.cores, "cases at a time: one for each core")
    choices.choose("guide.weights", [1.0, 1.5, 2.0, 3.0], "weights to try on validation masks; 1 is no guidance")
    choices.choose("guide.most_masks", 128, "validation masks that they are tried on, evenly spaced")
    choices.choose("generate.per_mask", 1, "images for each label map")
    choices.choose("generate.most_masks", _MOST_MASKS, "label maps, evenly spaced over the split")
    choices.choose("generate.batch_size", 16 if dims == 2 else 2, "images sampled at once")
    choices.choose("evaluate.segmenter_images", None, "length of the segmenter's training: as `evaluate` has it")
    for key in edited:
        if key not in choices.made:
            choices.add(key)
    check_settings(training_values(_values(choices)))
    return choices


def in_words(times: Times) -> str:
    """Expected time and memory in a line."""
    parts = ", ".join(
        f"{name} {_span(getattr(times, name))}"
        for name in ("prepare", "train", "guide", "tune", "generate", "evaluate")
    )
    gpu = f" and {times.gpu_memory / 2**30:.1f} GiB of the GPU" if times.gpu_memory else ""
    return f"{times.total / 3600:.2g} hours ({parts}), {times.memory / 2**30:.1f} GiB of memory{gpu}"


def _that_fits(
    source: Source,
    fingerprint: Fingerprint,
    machine: Machine,
    edited: Mapping[str, Any],
    folder: Path,
    known: Mapping[str, Any] | None,
    asked: Mapping[str, Any],
) -> tuple[Choices, Measured]:
    """A plan whose steps fit into memory: where they do not, with a smaller batch."""
    batch_size: int | None = None
    while True:
        choices = decide(fingerprint, machine, edited, batch_size, asked=asked, split_of=source.split_of)
        if known is not None and known["of"] == _depends(choices, machine):
            return choices, Measured.of(known["found"])
        try:
            return choices, measure(source, _values(choices), folder)
        except MemoryError:
            if choices["batch_size"] == 1 or "batch_size" in edited:
                raise
            batch_size = choices["batch_size"] // 2


def _depends(choices: Choices, machine: Machine) -> dict[str, Any]:
    """What measured times depend on: the plan without the length of its trainings, and the machine."""
    kept = {key: value for key, value in _values(choices).items() if key not in _LENGTHS}
    return plain({**kept, "machine": str(machine)})


def _values(choices: Choices) -> dict[str, Any]:
    return {key: made.value for key, made in choices.made.items()}


def _shorten_the_rest(choices: Choices, found: Measured, times: Times, hours: float) -> None:
    """Keep generation and the segmenter from taking most of few hours."""
    most = _SHARE * hours * 3600
    trial = found.trial
    if times.generate > most:
        share = most / times.generate
        masks = max(trial.sampled_at_once, round(choices["generate.most_masks"] * share))
        choices.choose("generate.most_masks", masks, f"as many as {_SHARE:.0%} of {hours:g} hours allow")
    if times.guide > most and len(choices["guide.weights"]) > 1:
        choices.choose(
            "guide.weights", [1.0], f"none is tried, as that takes more than {_SHARE:.0%} of {hours:g} hours"
        )
    training = times.guide + times.evaluate - found.report_seconds
    if training > most:
        images = max(trial.segmenter_batch, round(most / max(trial.segmenter_seconds, 1e-9)) * trial.segmenter_batch)
        choices.choose(
            "evaluate.segmenter_images",
            images,
            f"as {_SHARE:.0%} of {hours:g} hours allow; the shorter, the lower the Dice that a perfect image can reach",
        )


def _images_in(hours: float, choices: Choices, found: Measured, times: Times) -> tuple[int, str]:
    """How many images a training can see, as all else takes its time, too."""
    batch, trial = choices["batch_size"], found.trial
    tuning = choices["tuning_images"]
    planned = choices["max_images"] + tuning
    step = trial.step_seconds + (tuning_seconds(choices, trial) - trial.step_seconds) * tuning / planned
    fixed = times.total - planned / batch * step
    seconds = hours * 3600 * _KEPT - fixed
    images = int(seconds / step) * batch
    if images < batch:
        raise ValueError(
            f"{hours:g} hours (--hours) are too few: all but the training takes {_span(fixed)}; give "
            f"{(fixed + planned / batch * step) / 3600 / _KEPT:.2g} hours for the default length"
        )
    why = f"what {hours:g} hours allow beside {_span(fixed)} for all else"
    if images < _FEWEST_IMAGES:
        why += f"; few: fewer than {_FEWEST_IMAGES} were never measured, expect noise"
    return images, why


def _default_reason(dims: int) -> str:
    what = {2: "22,400 images of 64x64", 3: "4,800 volumes of 32x32x32"}[dims]
    return f"as long as is known to give good results on a CPU ({what}); --hours or --images say otherwise"


def _data_in_words(fingerprint: Fingerprint) -> str:
    low, high = min(fingerprint.pooled(0)), max(fingerprint.pooled(-1))
    shapes = [case.shape for case in fingerprint.cases]
    sizes = " x ".join(
        f"{min(axis)}" if min(axis) == max(axis) else f"{min(axis)}-{max(axis)}" for axis in zip(*shapes, strict=True)
    )
    scale = {"HU": "in HU", "shared": "of one scale", "own": "without a unit, each image of its own scale"}
    orientations = sorted({case.orientation for case in fingerprint.cases if case.orientation})
    parts = [
        f"{fingerprint.name}, {_count(fingerprint.number, 'case')} of {_count(len(fingerprint.patients), 'patient')}",
        f"{fingerprint.modality or 'modality not told'}, intensities {low:g} to {high:g} {scale[fingerprint.scale]}",
        f"{sizes} voxels" + (f" of {' x '.join(f'{s:g}' for s in fingerprint.spacing())} mm" if orientations else ""),
        *([f"stored {', '.join(orientations)}"] if orientations else []),
        f"channels {', '.join(fingerprint.channels) or 1}",
    ]
    unit = ("ml" if fingerprint.spatial_dims == 3 else "cm2") if orientations else "pixels"
    scale_of = {"ml": 1e-3, "cm2": 1e-2, "pixels": 1.0}[unit]
    classes = ", ".join(
        f"{name} ({_count(patients, 'patient')}, {volume * scale_of:.3g} {unit})"
        for name, (patients, volume) in fingerprint.occurrences().items()
    )
    return f"{'; '.join(parts)}; classes {classes}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
