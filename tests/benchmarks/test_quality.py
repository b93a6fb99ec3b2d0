from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from PIL import Image

from benchmarks import recipes, samplers
from benchmarks.bundles import TIME_LIMIT, ComputeTimeLimit, train_bundle
from benchmarks.quality import Judge, Sampled, sample, spread_over_patients
from monai_segdiff.bundle import copy_bundle
from monai_segdiff.data import Case, SegmentationDataset, make_ct_phantoms
from monai_segdiff.generation import collect_masks, load_generator
from monai_segdiff.inferers import SamplingInferer

TINY = {
    "image_size": [16, 16],
    "channels": [8, 16],
    "num_res_blocks": 1,
    "attention_levels": [False, False],
    "num_head_channels": 8,
    "norm_num_groups": 8,
    "batch_size": 4,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SegmentationDataset:
    folder = tmp_path_factory.mktemp("data") / "phantoms"
    return make_ct_phantoms(folder, 12, 16, slices_per_patient=3, fractions=(0.5, 0.1, 0.4), progress=False)


@pytest.fixture(scope="module")
def bundle(dataset: SegmentationDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_bundle("ct_organ", tmp_path_factory.mktemp("bundle") / "ct_organ")
    overrides = {**TINY, **recipes.recipes()["one_hot_epsilon"], "dataset_dir": str(dataset.root)}
    facts = train_bundle(folder, [TIME_LIMIT], {**overrides, "limit_seconds": 1, "seed": 0})
    assert 1.0 <= facts.seconds < 120
    assert facts.images == 4 * facts.iterations > 0
    return folder


@pytest.fixture(scope="module")
def judge(dataset: SegmentationDataset, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return Judge(dataset, 400, tmp_path_factory.mktemp("segmenters"))


def test_the_first_masks_belong_to_as_many_patients_as_possible() -> None:
    masks = [Case(f"{patient}{i}", None, None, patient) for patient in "abc" for i in range(3)]
    order = [case.id for case in spread_over_patients(masks)]
    assert order == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


def test_recipes_differ_in_what_their_labels_name() -> None:
    found = recipes.recipes()
    assert found.keys() == recipes.LABELS.keys()
    assert found["default"] == {}
    assert found["published"]["encoding"] == "ordinal"
    assert "background" in found["published"].values()  # what removed classes are filled with
    assert not found["published"].keys() & {"image_size", "channels", "batch_size", "learning_rate"}
    assert found["one_hot_epsilon"]["num_steps"] == 50
    assert set(found["one_hot_epsilon"]) < set(found["published"])


def test_training_that_is_ended_by_time_leaves_its_weights(bundle: Path) -> None:
    generator = load_generator(bundle)
    assert type(generator.inferer.parameterization).__name__ == "EpsilonVP"
    weights = torch.cat([value.flatten() for value in generator.network.state_dict().values()])
    assert torch.isfinite(weights).all()


def test_images_and_their_times_are_kept_for_the_next_run(
    bundle: Path, dataset: SegmentationDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load_generator(bundle, overrides={"sampler": "ddim", "num_steps": 2, "device": "cpu"})
    masks = collect_masks(dataset.root, "test")[:3]
    first = sample(generator, masks, tmp_path / "images", batch_size=2)
    assert first.evaluations == 2
    assert first.seconds > 0
    assert len(first.cases) == 3
    monkeypatch.setattr(SamplingInferer, "__call__", lambda *_, **__: pytest.fail("sampled again"))
    assert sample(generator, masks, tmp_path / "images", batch_size=2) == first


def test_time_that_others_take_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, computed = Engine(lambda engine, batch: None), iter([10.0, 10.0, 12.0, 15.0, 16.0])
    monkeypatch.setattr(time, "process_time", lambda: next(computed))
    engine.add_event_handler(Events.ITERATION_COMPLETED, ComputeTimeLimit(5))
    assert engine.run(range(100)).iteration == 3


def test_real_images_in_the_place_of_generated_ones_are_judged_as_real(
    judge: Judge, dataset: SegmentationDataset
) -> None:
    cases = dataset.splits["validation"] + dataset.splits["test"]
    cells = judge.cells(Sampled(cases, 0.5, 7), judge.measure(cases, "real"))
    assert cells["images"] == len(cases)
    assert cells["evaluations"] == 7
    assert cells["dice"] == judge.ceiling
    # an unbiased distance of a set to itself is not above 0
    assert cells["kid"].value <= 0  # type: ignore[union-attr]


def test_differences_pair_the_first_images_and_refuse_other_masks(judge: Judge, dataset: SegmentationDataset) -> None:
    cases = spread_over_patients(dataset.splits["test"])
    whole, part = judge.measure(cases, "whole"), judge.measure(cases[:6], "part")
    cells = judge.differences(whole, part)
    assert cells["pairs"] == 6
    assert cells["dice_difference"].value == 0  # type: ignore[union-attr]
    assert cells["kid_difference"].value == pytest.approx(0, abs=1e-12)  # type: ignore[union-attr]
    worse = replace(whole, dice=whole.dice - 0.25)
    assert judge.differences(worse, part)["dice_difference"].value == pytest.approx(-0.25)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="same masks"):
        judge.differences(judge.measure(cases[1:], "other"), part)


@pytest.mark.slow
def test_samplers_are_compared_from_the_command_line(
    bundle: Path, dataset: SegmentationDataset, tmp_path: Path
) -> None:
    arguments = f"--bundle {bundle} --vp-bundle {bundle} --dataset {dataset.root} --reference-steps 20 --steps 3 "
    arguments += "--masks 8 --reference-masks 4 --few-masks-from 20 --segmenter-images 100 --device cpu "
    arguments += f"--work {tmp_path / 'work'} --output {tmp_path / 'samplers'}"
    samplers.main(arguments.split())
    page = (tmp_path / "samplers.md").read_text()
    assert page.count("| ddpm, 20 steps | 20 |") == 2
    assert "| heun, 18 steps | 35 |" in page
    assert "| DiffusionInferer, DDIMScheduler, 50 steps | 50 |" in page
    assert Image.open(tmp_path / "samplers_denoiser.png").width > 4 * 96
    samplers.main(arguments.split())  # everything is there: the same page again
    assert (tmp_path / "samplers.md").read_text() == page
