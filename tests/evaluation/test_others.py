"""Images whose masks were exchanged between patients are found, sound ones are not, with a trained segmenter."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from monai_segdiff.data import Case, SegmentationDataset, make_ct_phantoms
from monai_segdiff.evaluation import PairReader, Segmenter, train_segmenter
from monai_segdiff.evaluation.measure import Measurements, measure
from monai_segdiff.evaluation.others import draw_other_masks
from monai_segdiff.evaluation.sections import ceiling_of
from monai_segdiff.metrics import FailedSampleDetector


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


@pytest.fixture(scope="module")
def held(population, reader, segmenter):
    return measured(population.splits["validation"], reader, segmenter)


def measured(cases: Sequence[Case], reader: PairReader, segmenter) -> Measurements:
    return measure(cases, reader, segmenter, None, "", progress=False, others=draw_other_masks(cases, reader))


def off_mask(detector: FailedSampleDetector, images: Measurements) -> float:
    found = detector.reasons(images.noise, images.detail, images.foreground, images.advantage)
    return found["off mask"].float().mean().item()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_exchanged_masks_are_found_and_real_images_are_not(population, reader, segmenter, held, seed):
    unseen = population.splits["test"]
    detector = FailedSampleDetector.fit(held.noise, held.detail, ceiling_of(held), held.advantage)
    ex = off_mask(detector, measured(exchanged(unseen, seed), reader, segmenter))
    re = off_mask(detector, measured(unseen, reader, segmenter))
    print(ex, re, detector, ceiling_of(held))
    assert ex >= 0.95
    assert re <= 0.02
