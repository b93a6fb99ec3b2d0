"""Images whose masks were exchanged between patients are found, sound ones are not, with a trained segmenter."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from monai_segdiff.data import Case, SegmentationDataset, make_ct_phantoms
from monai_segdiff.evaluation import PairReader, Segmenter, train_segmenter
from monai_segdiff.evaluation.evidence import Evidence
from monai_segdiff.evaluation.measure.measure import Measurements, detector_of, measure
from monai_segdiff.evaluation.measure.other_masks import draw_other_masks
from monai_segdiff.evaluation.sections.failed import FailedSamples
from monai_segdiff.metrics import MOST_OTHERS


@pytest.fixture(scope="module")
def population(tmp_path_factory) -> SegmentationDataset:
    """40 patients to train on, 20 that the limits come from, 40 unseen; 64x64."""
    root = tmp_path_factory.mktemp("patients") / "population"
    return make_ct_phantoms(root, 100, 64, 2, 4, fractions=(0.4, 0.2, 0.4), progress=False)


@pytest.fixture(scope="module")
def reader(population) -> PairReader:
    return PairReader(population.classes, population.intensity_range, 2)


@pytest.fixture(scope="module")
def segmenter(population, reader, tmp_path_factory) -> Segmenter:
    folder = tmp_path_factory.mktemp("cache")
    return train_segmenter(population.splits["training"], reader, 3200, cache_dir=folder, progress=False)


def exchanged(cases: Sequence[Case], seed: int) -> list[Case]:
    """Every image with the mask of another patient, chosen at random."""
    rng = random.Random(seed)
    masks = [rng.choice([other for other in cases if other.patient != case.patient]) for case in cases]
    return [replace(case, label=mask.label, patient=mask.patient) for case, mask in zip(cases, masks, strict=True)]


def measured(cases: Sequence[Case], reader: PairReader, segmenter: Segmenter, seed: int = 0) -> Measurements:
    others = draw_other_masks(cases, reader, seed)
    return measure(cases, reader, segmenter, None, None, others=others)


@pytest.mark.slow
def test_exchanged_masks_are_found_and_real_images_are_not(population, reader, segmenter):
    """Over five exchanges, each with its own draw of other masks: a single one of 160 images varies by some percent."""
    held, unseen = (measured(population.splits[name], reader, segmenter) for name in ("validation", "test"))
    detector = detector_of(held)

    def off_mask(images: Measurements) -> torch.Tensor:
        return images.failures(detector)["off mask"]

    cases = population.splits["test"]
    wrong = [measured(exchanged(cases, seed), reader, segmenter, seed) for seed in range(5)]
    assert torch.cat([off_mask(images) for images in wrong]).float().mean() >= 0.95
    assert off_mask(unseen).float().mean() <= 0.02


def test_every_patient_finds_enough_masks_of_others(population, reader):
    cases = population.splits["test"]
    others = draw_other_masks(cases, reader, seed=3)
    assert others.masks.dtype == torch.uint8
    assert all(len(others.patients) - others.patients.count(p) >= MOST_OTHERS for p in set(others.patients))
    assert len(others.patients) < 2 * MOST_OTHERS
    again = draw_other_masks(cases, reader, seed=3)
    assert torch.equal(again.masks, others.masks)
    assert again.patients == others.patients


def test_samples_of_one_mask_count_once(population, reader):
    cases = population.splits["test"][:6]
    assert len(draw_other_masks(cases * 10, reader).patients) == len({reader(case).mask_id for case in cases})


def test_most_samples_of_one_patient_leave_the_others_enough(population, reader):
    first, *rest = population.splits["training"]
    many = [replace(case, patient=first.patient) for case in rest[:100]] + rest[100:]
    others = draw_other_masks(many, reader)
    assert others.patients.count(first.patient) <= MOST_OTHERS
    assert len(others.patients) - others.patients.count(first.patient) == min(MOST_OTHERS, len(rest[100:]))


def test_the_report_says_what_was_compared(population, reader, segmenter):
    cases = population.splits["validation"]
    held = measured(cases, reader, segmenter)
    one = measured(cases[:4], reader, segmenter)
    alone = measure(cases[:4], reader, segmenter, None, None)
    assert len({case.patient for case in cases[:4]}) == 1

    def notes(real: Measurements, made: Measurements) -> list[str]:
        real_set = SimpleNamespace(channels=())
        inputs = SimpleNamespace(synthetic_reader=reader, real=real_set, of_channels=lambda text: [])
        return FailedSamples()(Evidence(inputs, real, made, None, "", "")).notes

    assert f"up to {MOST_OTHERS} masks of other patients" in notes(held, held)[1]
    assert notes(held, one)[2].startswith("Not so 4 of 4 synthetic images")
    assert "all images come from one patient" in notes(alone, alone)[1]
