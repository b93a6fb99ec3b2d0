"""How long a study takes, from a few of its cases and a few of its steps."""

from __future__ import annotations

import math
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai_segdiff.bundle import bundle_path
from monai_segdiff.data import Case, SegmentationDataset, prepare_dataset, split_cases
from monai_segdiff.data.description.dataset_json import SPLITS
from monai_segdiff.data.preparation.source import Source
from monai_segdiff.data.splits import split_as_given
from monai_segdiff.evaluation import evaluate
from monai_segdiff.evaluation.evaluate import features_of
from monai_segdiff.evaluation.evidence import gather
from monai_segdiff.evaluation.measure.inputs import read_inputs
from monai_segdiff.evaluation.readers.fitting import default_images
from monai_segdiff.evaluation.readers.train_segmenter import open_segmenter
from monai_segdiff.evaluation.sections.failed import FailedSamples
from monai_segdiff.evaluation.sections.faithfulness import Faithfulness
from monai_segdiff.evaluation.sections.memorization import Memorization
from monai_segdiff.evenly import evenly
from monai_segdiff.workflows.plan.choices import Choices
from monai_segdiff.workflows.plan.document import training_values
from monai_segdiff.workflows.plan.fingerprint import Fingerprint
from monai_segdiff.workflows.plan.grid import expected_items
from monai_segdiff.workflows.plan.trial import Trial, run_trial

__all__ = [
    "FEWEST_MASKS",
    "Measured",
    "Times",
    "expected_times",
    "measure",
    "planned_splits",
    "prepare_arguments",
    "prepare_some",
    "tuning_seconds",
]

_PATIENTS = 6  # of a trial: four to train on
_MOST_CASES = 12
_TUNED_STEPS = 3  # of tuned networks
FEWEST_MASKS = 16
"""Validation masks below which no guidance is chosen."""
_SAMPLER_STEPS = 20  # of the bundles, unless the plan says otherwise
_EACH_WORKER = 0.85  # of what one process does alone
_FEW = 32  # images that a trial of the report takes
_IMAGE_BYTES = 4 + 2  # a voxel of an image and of its label map in memory
_FRACTIONS = (0.8, 0.1, 0.1)  # of `prepare_dataset`, unless the plan says otherwise


@dataclass(frozen=True)
class Measured:
    """What a trial of a plan has shown.

    Args:
        prepare_seconds: of a case, with one process.
        report_seconds: of a report on few images, the segmenter's training left out.
        report_images: how many these were, those of training included.
        report_image: seconds that each further image takes there.
        trial: what the network takes.
    """

    prepare_seconds: float
    report_seconds: float
    report_images: int
    report_image: float
    trial: Trial

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Measured:
        """From plain values, as `asdict` gives them."""
        return cls(**{**content, "trial": Trial(**content["trial"])})


@dataclass(frozen=True)
class Times:
    """Expected seconds of each stage, and the most memory.

    Args:
        prepare: seconds, and so the others.
        train: seconds.
        generate: seconds.
        evaluate: seconds.
        memory: bytes of the training's process.
        gpu_memory: bytes on the GPU; 0 without one.
    """

    prepare: float
    train: float
    guide: float
    tune: float
    generate: float
    evaluate: float
    memory: int
    gpu_memory: int

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return self.prepare + self.train + self.guide + self.tune + self.generate + self.evaluate


def prepare_arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of :func:`~monai_segdiff.data.prepare_dataset` that a plan says.

    Args:
        values: value by key, those of sections called ``section.name``.
    """
    own = {key.partition(".")[2]: value for key, value in values.items() if key.startswith("prepare.")}
    for pair in ("intensity_range", "percentiles"):
        if own.get(pair) is not None:
            own[pair] = tuple(own[pair])
    return {"spatial_dims": values["spatial_dims"], "size": values["image_size"], **own}


def planned_splits(source: Source, arguments: Mapping[str, Any]) -> dict[str, list[Case]]:
    """The split of a source's cases that preparing them makes.

    Args:
        source: the data.
        arguments: of `prepare_dataset`.
    """
    if source.split_of is not None:
        return split_as_given(source.cases, source.split_of)[0]
    if arguments.get("within_patient"):
        return {"training": list(source.cases)}
    splits, _ = split_cases(source.cases, arguments.get("fractions", _FRACTIONS), arguments.get("seed", 0))
    return splits


def measure(source: Source, values: Mapping[str, Any], folder: Path) -> Measured:
    """Prepare a few cases, take a few steps on them, and write a report on a few images.

    Args:
        source: the data.
        values: the plan, value by key.
        folder: for what the trial needs; removed at its end.

    Raises:
        MemoryError: if there is not enough memory for a step.
        ValueError: if a case is unsound, or a value of the plan is not possible.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a few cases: they are said of all of them later
            dataset, seconds = prepare_some(source, values, folder / "prepared")
            bundle = bundle_path(values["bundle"])
            trial = run_trial(bundle, dataset.root, training_values(values), values["generate.batch_size"])
            whole, each, images = _report(dataset, folder)
        return Measured(seconds, whole, images, each, trial)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def expected_times(
    fingerprint: Fingerprint, splits: Mapping[str, Sequence[Case]], choices: Choices, found: Measured
) -> Times:
    """The time and memory that a study takes.

    Args:
        fingerprint: the data.
        splits: of its cases.
        choices: the plan.
        found: what a trial of it has shown.
    """
    items = expected_items(fingerprint, choices)
    number = {split: sum(items[name] for name in {case.patient for case in cases}) for split, cases in splits.items()}
    if choices["prepare.within_patient"]:
        shares = choices.section("prepare").get("fractions", _FRACTIONS)
        number = {split: number["training"] * share for split, share in zip(SPLITS, shares, strict=True)}
    training, validation, test = (number.get(split, 0.0) for split in SPLITS)
    per_mask, most = choices["generate.per_mask"], choices["generate.most_masks"]
    images = per_mask * min(number.get(choices["generate.split"], 0.0), most or math.inf)
    trial, voxels = found.trial, math.prod(choices["image_size"])
    segmenter = choices["evaluate.segmenter_images"] or default_images(choices["image_size"])
    read = segmenter / trial.segmenter_batch * trial.segmenter_seconds + trial.read_seconds * training
    steps = choices.section("").get("num_steps", _SAMPLER_STEPS)
    tuning, masks, weights = (
        choices["tuning_images"],
        min(choices["guide.most_masks"], validation),
        choices["guide.weights"],
    )
    guides = len(weights) > 1 and validation >= FEWEST_MASKS
    calls = math.ceil(masks / trial.sampled_at_once) * steps * sum(1 if weight == 1 else 2 for weight in weights)
    guide = calls * trial.network_seconds + len(weights) * found.report_image * (masks + validation) + read
    return Times(
        prepare=found.prepare_seconds * fingerprint.number / max(1.0, _EACH_WORKER * choices["prepare.workers"]),
        train=_training_seconds(choices, trial, training, validation, choices["max_images"], trial.step_seconds, steps),
        guide=guide if guides else 0.0,
        tune=_training_seconds(
            choices, trial, training, validation, tuning, tuning_seconds(choices, trial), _TUNED_STEPS
        )
        if tuning
        else 0.0,
        generate=math.ceil(images / trial.sampled_at_once) * (_TUNED_STEPS if tuning else steps) * trial.network_seconds
        + trial.start_seconds,
        evaluate=(0.0 if guides else read)
        + found.report_seconds
        + found.report_image * max(0.0, images + training + validation + test - found.report_images),
        memory=trial.peak_bytes + round((training + validation) * voxels * _IMAGE_BYTES),
        gpu_memory=trial.gpu_bytes,
    )


def tuning_seconds(choices: Choices, trial: Trial) -> float:
    """Seconds of a step of the tuning: that of the training, and the evaluation that its target takes.

    Args:
        choices: the plan.
        trial: what was measured.
    """
    return trial.step_seconds + trial.network_seconds * choices["batch_size"] / trial.sampled_at_once


def _training_seconds(
    choices: Choices,
    trial: Trial,
    training: float,
    validation: float,
    images: int,
    step_seconds: float,
    sampler_steps: int,
) -> float:
    batch, epoch = choices["batch_size"], choices["images_per_epoch"]
    epochs = max(1, math.ceil(images / epoch))
    steps = epochs * math.ceil(epoch / batch)
    previews = epochs // max(1, min(epochs, choices["preview_interval"])) * sampler_steps * trial.network_seconds
    validations = (
        epochs // max(1, min(epochs, choices["val_interval"])) * math.ceil(validation / batch) * trial.validate_seconds
    )
    # Every file is read three times: when it is verified, hashed, and kept in memory.
    return (
        trial.start_seconds
        + 3 * trial.read_seconds * (training + validation)
        + steps * step_seconds
        + (previews + validations)
    )


def prepare_some(source: Source, values: Mapping[str, Any], output: Path) -> tuple[SegmentationDataset, float]:
    """Prepare some patients of a source.

    Args:
        source: the data.
        values: the plan, value by key.
        output: folder to create.

    Returns:
        The data set, and the seconds that a case took.
    """
    arguments = prepare_arguments(values)
    patients = evenly(sorted({case.patient for case in source.cases}), _PATIENTS)
    cases = evenly([case for case in source.cases if case.patient in patients], _MOST_CASES)
    few = len({case.patient for case in cases}) < 2
    for name in ("patients", "classes", "findings", "findings_table", "segments", "precedence"):
        arguments.pop(name, None)  # the source has them already
    arguments.setdefault("channels", source.channels or None)
    own = {"within_patient": few or arguments.pop("within_patient", False), "fractions": (0.6, 0.2, 0.2)}
    own["drop_other_labels"] = True  # which the check has refused unless that was asked for
    with ExitStack() as stack:
        before = time.monotonic()  # preparing also makes the files of studies and of masks in files of their own
        files = [stack.enter_context(source.files_of(case)) for case in cases]
        dataset = prepare_dataset(
            [replace(case, findings=None, region=None) for case in files],
            output,
            source.classes,
            **{**arguments, **own, "workers": 1, "progress": False},
        )
        return dataset, (time.monotonic() - before) / len(cases)


def _report(dataset: SegmentationDataset, folder: Path) -> tuple[float, float, int]:
    """Seconds of a report without training, of each image that it takes, and how many these were."""
    before = time.monotonic()
    evaluate(dataset.root, dataset.root, folder / "report", segmenter_images=1, max_images=_FEW, progress=False)
    whole = time.monotonic() - before
    inputs = read_inputs(dataset.root, dataset.root, _FEW)
    cache = folder / "report" / "segmenter"
    reads = open_segmenter(None, inputs.training, inputs.real_reader, 1, cache_dir=cache, progress=False)
    sections = [Faithfulness(), FailedSamples(), Memorization()]
    before = time.monotonic()
    gather(inputs, reads, features_of(None, reads), sections, seed=0, with_real=True, progress=False)
    images = len(inputs.training) + len(inputs.held_out) + len(inputs.generated)
    return whole, (time.monotonic() - before) / images, images
