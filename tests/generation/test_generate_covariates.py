"""Images follow the covariates that the network is told: here the age is the image's intensity."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from monai_segdiff.__main__ import main
from monai_segdiff.data import read_dataset
from monai_segdiff.data.description.records import read_manifest
from monai_segdiff.errors import root_cause
from monai_segdiff.generation import (
    Covariates,
    Edit,
    TrainedGenerator,
    collect_edits,
    collect_masks,
    edit_dataset,
    generate_dataset,
    load_generator,
)
from monai_segdiff.transforms import EncodeCovariates


@pytest.fixture(scope="module")
def make_trained(
    tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Any], aging: Path
) -> Callable[..., TrainedGenerator]:
    def make(**settings: Any) -> TrainedGenerator:
        tiny = make_bundle(tmp_path_factory.mktemp("bundle"), dataset_dir=str(aging))
        tiny.run(**settings)
        return load_generator(tiny.root, overrides={"amp_dtype": "float32"})

    return make


@pytest.fixture(scope="module")
def barely(aging_bundle: Any) -> TrainedGenerator:
    """After four iterations."""
    return load_generator(aging_bundle.root, overrides={"amp_dtype": "float32"})


class Exact:
    """A sampler whose images are, in the network's range, a tenth of the age's standard score."""

    evaluations = 1

    def __call__(self, inputs: torch.Tensor, network: Any, indices: Any) -> torch.Tensor:
        return inputs[:, FIRST : FIRST + 1] / 10


FIRST = 2  # channels of the class and its known flag, then those of the age


@pytest.fixture
def exact(barely: TrainedGenerator) -> TrainedGenerator:
    return replace(barely, inferer=Exact())  # type: ignore[arg-type]


def brightness(folder: Path) -> list[float]:
    """Mean of each image."""
    files = [folder / record["image"] for record in read_manifest(folder)["samples"]]
    return [float(nib.load(file).get_fdata().mean()) for file in files]


def of(age: float, generator: TrainedGenerator) -> float:
    """What Exact makes of an age, in intensities from 0 to 100."""
    definition = generator.covariates["age"]
    return 50 + 50 * (age - definition["mean"]) / definition["std"] / 10


def test_the_card_says_what_the_training_images_have(barely: TrainedGenerator, aging: Path) -> None:
    dataset = read_dataset(aging)
    assert barely.covariates == dataset.covariates
    ages = [dict(case.covariates)["age"] for case in dataset.splits["training"] if "age" in dict(case.covariates)]
    assert barely.covariates["age"] == {
        "min": min(ages),
        "max": max(ages),
        "mean": pytest.approx(np.mean(ages)),
        "std": pytest.approx(np.std(ages)),
    }
    assert barely.covariates["sex"] == {"values": ["F", "M"]}


def test_what_is_asked_for_reaches_the_network(exact: TrainedGenerator, aging: Path, tmp_path: Path) -> None:
    masks = collect_masks(aging)
    dataset = generate_dataset(exact, masks, tmp_path / "a", covariates={"age": 60, "sex": "F"}, progress=False)
    assert brightness(tmp_path / "a") == pytest.approx([of(60, exact)] * len(masks), abs=1e-3)
    manifest = read_manifest(tmp_path / "a")
    assert manifest["covariates"] == {"given": {"age": 60.0, "sex": "F"}, "of_masks": [], "unknown": []}
    assert all(record["covariates"] == {"age": 60.0, "sex": "F"} for record in manifest["samples"])
    assert dataset.covariates == exact.covariates
    assert {case.covariates for case in dataset.splits["training"]} == {(("age", 60.0), ("sex", "F"))}


def test_the_masks_own_are_taken_where_none_is_asked_for(exact: TrainedGenerator, aging: Path, tmp_path: Path) -> None:
    masks = collect_masks(aging, "training")
    generate_dataset(exact, masks, tmp_path / "a", covariates={"sex": "M"}, progress=False)
    ages = [dict(mask.covariates).get("age") for mask in masks]
    assert None in ages
    mean = exact.covariates["age"]["mean"]
    assert brightness(tmp_path / "a") == pytest.approx([of(age or mean, exact) for age in ages], abs=1e-3)
    manifest = read_manifest(tmp_path / "a")
    assert manifest["covariates"] == {"given": {"sex": "M"}, "of_masks": ["age"], "unknown": []}
    assert [record["covariates"].get("age") for record in manifest["samples"]] == ages


def test_masks_of_which_nothing_is_said_give_what_is_unknown(
    exact: TrainedGenerator, aging: Path, tmp_path: Path
) -> None:
    masks = [replace(mask, covariates=()) for mask in collect_masks(aging)[:2]]
    generate_dataset(exact, masks, tmp_path / "a", progress=False)
    manifest = read_manifest(tmp_path / "a")
    assert manifest["covariates"] == {"given": {}, "of_masks": [], "unknown": ["age", "sex"]}
    assert not any("covariates" in record for record in manifest["samples"])
    condition = exact.condition(masks[0].label)
    assert condition[FIRST:, 0, 0].tolist() == [0, -1, -1, -1, -1]
    generate_dataset(exact, collect_masks(aging)[:2], tmp_path / "b", covariates={"age": None}, progress=False)
    assert brightness(tmp_path / "b") == brightness(tmp_path / "a")


def test_other_values_are_another_run(exact: TrainedGenerator, aging: Path, tmp_path: Path) -> None:
    masks = collect_masks(aging)[:2]
    generate_dataset(exact, masks, tmp_path, covariates={"age": 60}, progress=False)
    generate_dataset(exact, masks, tmp_path, covariates={"age": "60"}, progress=False)
    with pytest.raises(ValueError, match="covariates"):
        generate_dataset(exact, masks, tmp_path, covariates={"age": 61}, progress=False)
    turned = {"F": "M", "M": "F"}
    others = [replace(mask, covariates=(("sex", turned[dict(mask.covariates)["sex"]]),)) for mask in masks]
    with pytest.raises(ValueError, match="masks"):
        generate_dataset(exact, others, tmp_path, covariates={"age": 60}, progress=False)


def test_numbers_outside_the_training_range_warn_with_both(
    exact: TrainedGenerator, aging: Path, tmp_path: Path
) -> None:
    low, high = (exact.covariates["age"][end] for end in ("min", "max"))
    with pytest.warns(UserWarning, match=f"age is 120, and the training images have {low:g} to {high:g}"):
        Covariates({"age": 120}).header(exact)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Covariates({"age": high}).header(exact)
    old = [replace(mask, covariates=(("age", 99.0), ("sex", "X"))) for mask in collect_masks(aging)[:2]]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Covariates({}).header(exact, old)
    first, second = (str(one.message) for one in caught if one.category is UserWarning)
    assert first.startswith(
        f"age of 2 masks is outside {low:g} to {high:g}, which the training images have, such as 99"
    )
    assert "sex of 2 masks is 'X', which ct_organ does not know; it is unknown there" in second


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight": 3}, r"\(--covariate\): 'weight' is no covariate; known are age, sex"),
        ({"weight": None}, "'weight' is no covariate; known are age, sex"),
        ({"sex": "X"}, "'sex' is 'X', which is none of F, M"),
        ({"age": "old"}, "'age' must be a number, got 'old'"),
    ],
)
def test_what_is_not_known_lists_what_is(barely: TrainedGenerator, values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Covariates(values).header(barely)


def test_a_generator_without_covariates_refuses_them_and_is_as_before(
    barely: TrainedGenerator, aging: Path, tmp_path: Path
) -> None:
    plain = replace(barely, covariates={})
    with pytest.raises(ValueError, match="ct_organ was trained without covariates"):
        generate_dataset(plain, collect_masks(aging), tmp_path, covariates={"age": 60}, progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--covariate", "age"], "--covariate takes NAME=VALUE, such as age=60, got 'age'"),
        (["--covariate", "age=1", "--covariate", "age=2"], "--covariate names 'age' twice"),
    ],
)
def test_the_command_says_how_it_is_given(
    aging: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    command = ["generate", "--bundle", "ct_organ", "--masks", str(aging), "--output", str(tmp_path / "out"), *arguments]
    assert main(command) == 2
    assert message in capsys.readouterr().err


def test_the_command_generates(barely: TrainedGenerator, aging: Path, tmp_path: Path) -> None:
    bundle = barely.weights.parents[1]
    command = ["generate", "--bundle", str(bundle), "--masks", str(aging), "--output", str(tmp_path / "out")]
    assert main([*command, "--covariate", "age=60", "--covariate", "sex=F", "--device", "cpu"]) == 0
    samples = json.loads((tmp_path / "out" / "manifest.json").read_text())["samples"]
    assert all(record["covariates"] == {"age": 60.0, "sex": "F"} for record in samples)


@pytest.fixture
def edits(aging: Path, tmp_path: Path) -> list[Edit]:
    """Two images of which a corner is to be no block any more."""
    for case in collect_masks(aging, "training")[:2]:
        mask = nib.load(case.label)
        array = np.asarray(mask.dataobj).copy()
        array[4:6, 4:6] = 0
        (tmp_path / "edited").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(array, mask.affine, mask.header), tmp_path / "edited" / case.label.name)
    return collect_edits(aging, tmp_path / "edited", split="training")


def told_to_network(generator: TrainedGenerator, monkeypatch: pytest.MonkeyPatch) -> set[tuple[float, ...]]:
    """The covariate channels of all conditions that the network is called with."""
    seen: set[tuple[float, ...]] = set()
    real = type(generator).condition

    def condition(self: TrainedGenerator, *args: Any, **kw: Any) -> torch.Tensor:
        made = real(self, *args, **kw)
        seen.add(tuple(round(value, 4) for value in made[FIRST:, 0, 0].tolist()))
        return made

    monkeypatch.setattr(TrainedGenerator, "condition", condition)
    return seen


def channels(generator: TrainedGenerator, **values: Any) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in EncodeCovariates(generator.covariates)(values).tolist())


def test_edits_are_told_the_same_under_both_masks(
    barely: TrainedGenerator, edits: list[Edit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = told_to_network(barely, monkeypatch)
    dataset = edit_dataset(barely, edits, tmp_path / "a", covariates={"age": 60, "sex": "F"}, progress=False)
    assert seen == {channels(barely, age=60, sex="F")}
    manifest = read_manifest(tmp_path / "a")
    assert manifest["covariates"] == {"given": {"age": 60.0, "sex": "F"}, "of_masks": [], "unknown": []}
    assert {case.covariates for case in dataset.splits["training"]} == {(("age", 60.0), ("sex", "F"))}
    with pytest.raises(ValueError, match="covariates"):
        edit_dataset(barely, edits, tmp_path / "a", covariates={"age": 61, "sex": "F"}, progress=False)


def test_edits_that_are_told_nothing_take_what_the_data_say(
    barely: TrainedGenerator, edits: list[Edit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = told_to_network(barely, monkeypatch)
    edit_dataset(barely, edits, tmp_path / "a", progress=False)
    assert seen == {channels(barely, **dict(edit.covariates)) for edit in edits}
    assert [record["covariates"] for record in read_manifest(tmp_path / "a")["samples"]] == [
        dict(edit.covariates) for edit in edits
    ]


def test_edits_check_and_warn_as_generate_does(barely: TrainedGenerator, edits: list[Edit], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'weight' is no covariate; known are age, sex"):
        edit_dataset(barely, edits, tmp_path / "a", covariates={"weight": 1}, progress=False)
    with pytest.warns(UserWarning, match="age is 120, and the training images have"):
        edit_dataset(barely, edits, tmp_path / "b", covariates={"age": 120}, progress=False)
    with pytest.raises(ValueError, match="was trained without covariates"):
        edit_dataset(replace(barely, covariates={}), edits, tmp_path / "c", covariates={"age": 60}, progress=False)


def test_the_command_edits(barely: TrainedGenerator, edits: list[Edit], aging: Path, tmp_path: Path) -> None:
    command = ["edit", "--bundle", str(barely.weights.parents[1]), "--images", str(aging), "--split", "training"]
    command += ["--edited", str(tmp_path / "edited"), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*command, "--covariate", "age=60", "--covariate", "sex="]) == 0
    assert all(record["covariates"] == {"age": 60.0} for record in read_manifest(tmp_path / "out")["samples"])


def test_the_plain_configuration_tells_the_same(barely: TrainedGenerator, aging: Path) -> None:
    def told(**values: Any) -> list[list[float]]:
        parser = ConfigParser()
        parser.read_config(str(barely.weights.parents[1] / "configs" / "inference.yaml"))
        parser.update({"bundle_root": str(barely.weights.parents[1]), "dataset_dir": str(aging), **values})
        return [item["image"][FIRST:, 0, 0].tolist() for item in parser.get_parsed_content("dataset")]

    masks = collect_masks(aging)
    for values, known in (
        ({}, [dict(mask.covariates) for mask in masks]),
        ({"age": 60, "sex": "F"}, [{"age": 60, "sex": "F"}] * len(masks)),
        ({"age": None}, [{"sex": dict(mask.covariates)["sex"]} for mask in masks]),
    ):
        found = told(covariate_values=values) if values else told()
        assert found == [pytest.approx(EncodeCovariates(barely.covariates)(one).tolist()) for one in known]
    with pytest.warns(UserWarning, match="age is 120, and the training images have"):
        told(covariate_values={"age": 120})
    for wrong, message in (({"weight": 1}, "'weight' is no covariate; known are age, sex"), ("age", "must map names")):
        with pytest.raises(RuntimeError) as error:
            told(covariate_values=wrong)
        assert message in str(root_cause(error.value))


@pytest.mark.slow
def test_a_trained_network_makes_images_as_bright_as_the_age_that_is_asked_for(
    make_trained: Callable[..., TrainedGenerator], aging: Path, tmp_path: Path
) -> None:
    trained = make_trained(
        batch_size=16,
        images_per_epoch=4800,
        max_images=4800,
        num_steps=12,
        learning_rate=0.004,
        cooldown=0.5,
        ema_momentum=0.03,
        covariate_drop_prob=0.1,
        norm_num_groups=1,  # one that normalizes few channels takes much of a constant one away
        **{"parameterization#p_mean": 0.0, "parameterization#p_std": 1.6},  # more of the levels that decide a mean
    )
    masks = collect_masks(aging)
    for age in (30, 50, 70):
        generate_dataset(trained, masks, tmp_path / str(age), covariates={"age": age}, progress=False)
        mean = np.mean(brightness(tmp_path / str(age)))
        assert mean == pytest.approx(age, abs=6)
