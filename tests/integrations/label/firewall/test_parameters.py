from __future__ import annotations

from typing import Any

import pytest

from monai_segdiff.integrations.label.errors import RequestError, check_name
from monai_segdiff.integrations.label.firewall.parameters import BatchParameters, ImageParameters, known_keys


def test_text_fields_of_viewers_are_understood() -> None:
    found = ImageParameters.read({"seed": "12", "num_steps": "", "drop_classes": "liver, spleen", "similarity": "0.5"})
    assert found == ImageParameters(seed=12, drop_classes=("liver", "spleen"), similarity=0.5)


def test_only_what_was_given_overrides_the_bundle() -> None:
    assert ImageParameters.read({}).overrides() == {}
    assert ImageParameters.read({"num_steps": 3, "guidance": 2}).overrides() == {"num_steps": 3, "guidance_weight": 2.0}


def test_covariates_may_come_as_text_or_by_name() -> None:
    told = {"age": "60", "sex": None}
    assert ImageParameters.read({"covariates": "age=60, sex="}).covariates == told
    assert BatchParameters.read({"covariates": {"age": 60, "sex": "F"}}).image.covariates == {"age": 60, "sex": "F"}
    assert ImageParameters.read({"covariates": ""}).told() is None


@pytest.mark.parametrize(
    "parameters",
    [
        {"covariates": "age"},
        {"covariates": "age=1, age=2"},
        {"covariates": ["age"]},
        {"covariates": {"age": [60]}},
        {"covariates": {"age": float("nan")}},
        {"seed": -1},
        {"seed": 2**31},
        {"seed": "9" * 400},
        {"seed": "--5"},
        {"seed": "²"},
        {"seed": "٣"},
        {"seed": True},
        {"seed": 1.5},
        {"num_steps": 0},
        {"guidance": float("nan")},
        {"guidance": "inf"},
        {"similarity": 1.01},
        {"similarity": [1]},
        {"drop_classes": [1]},
        {"drop_classes": {"liver": 1}},
    ],
)
def test_impossible_values_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=next(iter(parameters)).removesuffix("s")):
        known_keys("infer", parameters)


@pytest.mark.parametrize("name", ["label", "image", "model", "bundle_path", "file", "session", "images", "sed"])
def test_names_that_reach_further_are_refused(name: str) -> None:
    with pytest.raises(RequestError, match="unknown parameter"):
        known_keys("infer", {name: "x"})


def test_what_viewers_send_along_is_dropped() -> None:
    infer = {"device": "cuda", "label_tag": "final", "save_label": True, "result_extension": ".nrrd", "seed": 1}
    assert known_keys("infer", infer) == {"seed": 1}
    batch = {"multi_gpu": True, "gpus": "all", "max_workers": 1, "number": 2, "images": ["a", "b"]}
    assert known_keys("batch", batch) == {"number": 2, "images": ["a", "b"]}
    assert known_keys("train", {"images": 10, "held_out": 0.5}) == {"images": 10, "held_out": 0.5}
    assert known_keys("sample", {"client_id": "slicer"}) == {"client_id": "slicer"}
    assert known_keys("sample", None) == {}


def test_studies_of_a_batch_are_plain_names() -> None:
    assert BatchParameters.read({"images": ["a", "b"]}).images == ("a", "b")
    for images in (["../a"], "unlabeled", 3, [1], ["\ud800"]):
        with pytest.raises(RequestError):
            BatchParameters.read({"images": images})


@pytest.mark.parametrize("name", ["p001", "1.2.840.113", "Ünï cøde (3)", "a" * 200])
def test_plain_names_stay(name: str) -> None:
    assert check_name(name, "image") == name


@pytest.mark.parametrize(
    "name", ["", " ", "a ", ".", "..", ".a", "a/b", "a\\b", "/a", "a\0", "a\n", "a" * 201, "\ud800", None, 3]
)
def test_other_names_are_refused(name: object) -> None:
    with pytest.raises(RequestError, match="image"):
        check_name(name, "image")
