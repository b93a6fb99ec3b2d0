from __future__ import annotations

import json
import math
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.data.preparation.source import Asked, Source
from monai_segdiff.workflows.plan.estimate import Trial, expected_times, planned_splits, prepare_arguments, prepare_some
from monai_segdiff.workflows.plan.fingerprint import take_fingerprint
from monai_segdiff.workflows.plan.make import Wish, decide, plan_study

from .made import CPU, as_mr, opened, volumes


def planned(folder, wish=None, edited=None, number=10):
    source = opened(volumes(folder, as_mr, number=number))
    found = take_fingerprint(source, progress=False)
    return plan_study(source, found, CPU, wish or Wish(), edited or {}, folder / "trial")


def test_expected_times_are_steps_times_seconds(tmp_path, figures):
    source = opened(volumes(tmp_path, as_mr, number=10))
    found = take_fingerprint(source, progress=False)
    choices = decide(found, CPU, {"evaluate.segmenter_images": 1600})
    splits = planned_splits(source, {})
    assert {name: len(cases) for name, cases in splits.items()} == {"training": 8, "validation": 1, "test": 1}
    times = expected_times(found, splits, choices, figures)
    assert times.prepare == pytest.approx(10 * 2.0 / (0.85 * 2))
    steps = 12 * 88  # of 1,408 images each; four more such epochs are the tuning's
    previews, validations = 2 * 20 * 0.25, 2 * 1 * 0.2  # the 16 slices of one patient are a batch
    assert times.train == pytest.approx(5 + 3 * 0.001 * 9 * 16 + steps * 0.5 + previews + validations)
    segmenter = 100 * 0.1 + 0.001 * 8 * 16
    calls = 20 * (1 + 2 + 2 + 2)  # of 16 masks, with four weights
    assert times.guide == pytest.approx(calls * 0.25 + 4 * 0.1 * (16 + 16) + segmenter)
    once = 3 * 0.25 + 0.2  # preview and validation
    assert times.tune == pytest.approx(5 + 3 * 0.001 * 9 * 16 + 4 * 88 * (0.5 + 0.25) + once)
    assert times.generate == pytest.approx(1 * 3 * 0.25 + 5)
    images = 16 + 10 * 16
    assert times.evaluate == pytest.approx(10 + 0.1 * (images - 100)), "the segmenter is there by then"
    assert times.memory == 2**29 + 9 * 16 * 16 * 16 * 6


@pytest.mark.parametrize(("patients", "held_out"), [(2, 16), (1, 0.2 * 16)])
def test_images_are_of_the_split_that_is_held_out(tmp_path, figures, patients, held_out):
    """Of two patients one is for validation and none to test; of a single one a fifth of its 16 slices is held out."""
    source = opened(volumes(tmp_path, as_mr, number=patients))
    found = take_fingerprint(source, progress=False)
    choices = decide(found, CPU, {"generate.per_mask": 20, "prepare.fractions": [0.6, 0.2, 0.2]}, patients)
    splits = planned_splits(source, prepare_arguments({key: made.value for key, made in choices.made.items()}))
    times = expected_times(found, splits, choices, figures)
    assert times.generate == pytest.approx(math.ceil(20 * held_out / 16) * 3 * 0.25 + 5)


def test_files_that_are_made_for_preparing_take_their_time(tmp_path):
    source = opened(volumes(tmp_path / "in", as_mr, number=2))

    @contextmanager
    def slowly(case):
        time.sleep(0.5)
        yield case

    values = {"spatial_dims": 3, "image_size": [8, 8, 8], "prepare.fractions": (0.5, 0.0, 0.5)}
    _, seconds = prepare_some(replace(source, files_of=slowly), values, tmp_path / "trial")
    assert seconds >= 0.5


def test_the_length_is_what_the_hours_leave(tmp_path, measured):
    choices, times, _ = planned(tmp_path, Wish(hours=2.0))
    assert choices["max_images"] > 100_000
    assert 0.8 * 7200 < times.total <= 7200
    assert "2 hours" in choices.made["max_images"].reason


def test_few_hours_shorten_the_segmenter_too(tmp_path, measured):
    choices, times, _ = planned(tmp_path, Wish(hours=0.035))
    assert choices["evaluate.segmenter_images"] < 16_000
    assert times.total <= 126
    assert "expect noise" in choices.made["max_images"].reason


def test_too_few_hours_are_refused_with_what_is_needed(tmp_path, measured):
    with pytest.raises(ValueError, match=r"0\.01 hours \(--hours\) are too few: .*; give 0\.\d+ hours"):
        planned(tmp_path, Wish(hours=0.01))


def test_images_are_taken_as_they_are(tmp_path, measured):
    choices, _, _ = planned(tmp_path, Wish(images=64))
    assert (choices["max_images"], choices["tuning_images"]) == (48, 16)
    assert choices["images_per_epoch"] * math.ceil(48 / choices["images_per_epoch"]) == 48
    choices, _, _ = planned(tmp_path / "few", Wish(images=32))
    assert (choices["max_images"], choices["tuning_images"]) == (32, 0), "too few to be divided"


def test_without_tuning_or_validation_masks_the_plan_counts_neither(tmp_path, figures):
    source = opened(volumes(tmp_path, as_mr, number=2))
    found = take_fingerprint(source, progress=False)
    choices = decide(found, CPU, {"tuning_images": 0, "prepare.fractions": [0.5, 0.0, 0.5]})
    splits = planned_splits(source, prepare_arguments({key: made.value for key, made in choices.made.items()}))
    times = expected_times(found, splits, choices, figures)
    assert (choices["max_images"], times.guide, times.tune) == (22_400, 0, 0)
    assert times.generate == pytest.approx(1 * 20 * 0.25 + 5)


def test_a_batch_that_does_not_fit_into_memory_is_halved(tmp_path, monkeypatch, figures):
    from monai_segdiff.workflows.plan import make

    def measure(source, values, folder):
        if values["batch_size"] > 4:
            raise MemoryError
        return figures

    monkeypatch.setattr(make, "measure", measure)
    choices, _, _ = planned(tmp_path)
    assert choices["batch_size"] == 4
    with pytest.raises(MemoryError):
        planned(tmp_path / "more", edited={"batch_size": 8})


def test_what_was_measured_is_used_again_where_only_the_length_is_new(tmp_path, measured):
    source = opened(volumes(tmp_path, as_mr))
    found = take_fingerprint(source, progress=False)

    def again(edited, known):
        return plan_study(source, found, CPU, Wish(), edited, tmp_path / "trial", known)[2]

    known = again({}, None)
    again({"max_images": 7, "evaluate.segmenter_images": 3}, known)
    assert len(measured) == 1
    again({"batch_size": 3}, known)
    assert len(measured) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"hours": 1, "images": 1}, "exclude each other"), ({"hours": 0}, "above 0"), ({"images": 0}, "at least 1")],
)
def test_wishes_that_nobody_can_have(arguments, message):
    with pytest.raises(ValueError, match=message):
        Wish(**arguments)


def test_size_and_dimension_of_the_prepared_set_are_the_networks():
    values = {"spatial_dims": 2, "image_size": [8, 16], "prepare.percentiles": [1, 99], "generate.split": "test"}
    assert prepare_arguments(values) == {"spatial_dims": 2, "size": [8, 16], "percentiles": (1, 99)}


@pytest.mark.slow
def test_a_trial_takes_real_steps_of_the_planned_network(tmp_path):
    source = opened(volumes(tmp_path, as_mr, number=6))
    found = take_fingerprint(source, progress=False)
    edited = {"channels": [8, 8], "attention_levels": [False, False], "num_head_channels": 8}
    _, times, known = plan_study(source, found, CPU, Wish(images=32), edited, tmp_path / "trial")
    trial = Trial(**known["found"]["trial"])
    assert trial.batch_size == 16
    assert 0 < trial.network_seconds < trial.step_seconds * 20
    assert trial.peak_bytes > 2**27
    assert times.total > 0
    assert not (tmp_path / "trial").exists()
    with pytest.raises(ValueError, match="channels must be multiples"):
        plan_study(source, found, CPU, Wish(), {**edited, "channels": [9, 9]}, tmp_path / "trial")


def test_cases_of_the_trial_have_all_channels(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / "set" / part).mkdir(parents=True)
    for case in range(2):
        label = np.zeros((12, 12, 6), np.uint8)
        label[3:9, 3:9, 1:5] = 1
        save_nifti(tmp_path / "set" / "labelsTr" / f"p{case}.nii.gz", label, np.eye(4))
        for channel in range(2):
            values = label * (channel + 1) * 50 + rng.normal(0, 1, label.shape)
            file = tmp_path / "set" / "imagesTr" / f"p{case}_{channel:04d}.nii.gz"
            save_nifti(file, values.astype(np.float32), np.eye(4))
    description = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "box": 1}, "numTraining": 2}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({**description, "file_ending": ".nii.gz"}))
    source = Source.open(tmp_path / "set", Asked())
    values = {"spatial_dims": 3, "image_size": [8, 8, 8], "prepare.fractions": (0.5, 0.0, 0.5)}
    dataset, seconds = prepare_some(source, values, tmp_path / "trial")
    assert dataset.channels == ("T1", "T2")
    assert seconds > 0
