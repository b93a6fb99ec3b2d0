"""Covariates as channels: closed forms, known flags, and a null condition that knows none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, set_track_meta
from monai.transforms import Compose

from monai_segdiff.inferers import ClassGuidance, MaskGuidance
from monai_segdiff.transforms import (
    EncodeCovariates,
    EncodeMask,
    EncodeMaskd,
    RandClassAblationd,
    RandCovariateAblation,
    RandCovariateAblationD,
    RandCovariateAblationd,
    RandCovariateAblationDict,
    check_covariates,
)

CLASSES = {"body": 1, "liver": 2}
AGE = {"min": 20.0, "max": 80.0, "mean": 50.0, "std": 10.0}
SEX = {"values": ["F", "M"]}
BOTH = {"age": AGE, "sex": SEX}
SHAPES = [(1, 6, 5), (1, 4, 3, 2)]
NULL = [0, -1, -1, -1, -1]


def label(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"age": 65, "sex": "M"}, [1.5, 1, -1, 1, 1]),
        ({"age": 20}, [-3, 1, -1, -1, -1]),
        ({"sex": "F"}, [0, -1, 1, -1, 1]),
        ({"age": 50}, [0, 1, -1, -1, -1]),
        ({}, NULL),
    ],
)
def test_numbers_are_standardized_and_categories_one_hot_with_known_flags(values: Any, expected: list[float]) -> None:
    encode = EncodeCovariates(BOTH)
    assert encode(values).tolist() == expected
    assert encode.out_channels == len(expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["one_hot", "bits", "ordinal"])
def test_covariates_are_constant_channels_behind_those_of_the_mask(shape: tuple[int, ...], mode: str) -> None:
    plain, told = EncodeMask(CLASSES, mode), EncodeMask(CLASSES, mode, covariates=BOTH)
    encoded = told(label(shape), None, {"age": 65, "sex": "M"})
    own = plain.out_channels
    assert torch.equal(encoded[:own], plain(label(shape)))
    assert told.out_channels == len(encoded) == own + 5
    for channel, value in zip(encoded[own:], [1.5, 1, -1, 1, 1], strict=True):
        assert torch.equal(channel, torch.full(shape[1:], float(value)))


def test_what_is_not_said_is_unknown() -> None:
    encoded = EncodeMask(CLASSES, covariates=BOTH)(label(SHAPES[0]))
    assert encoded[-5:, 0, 0].tolist() == NULL


@pytest.mark.parametrize("shape", SHAPES)
def test_guidance_pushes_away_from_no_class_and_no_covariate(shape: tuple[int, ...]) -> None:
    encoder = EncodeMask(CLASSES, covariates=BOTH)
    condition = encoder(label(shape), None, {"age": 65})[None]
    ((strength, null),) = MaskGuidance(3.0, encoder.null_condition, 0.1).pushes(condition)
    assert strength == 2
    assert torch.equal(null[0], encoder(torch.zeros(shape), [False, False]))
    assert null[0].flatten(1)[-5:, 0].tolist() == NULL


@pytest.mark.parametrize("shape", SHAPES)
def test_guidance_on_a_class_leaves_covariates_as_they_are(shape: tuple[int, ...]) -> None:
    encoder = EncodeMask(CLASSES, covariates=BOTH)
    told = {"age": 65, "sex": "F"}
    ((_, without),) = ClassGuidance({"liver": 2.0}, encoder, {"liver": "body"}).pushes(
        encoder(label(shape), None, told)[None]
    )
    expected = encoder(label(shape).clamp(max=1), [True, False], told)
    assert torch.equal(without[0], expected)


def test_without_covariates_the_encoding_is_as_before() -> None:
    plain, empty = EncodeMask(CLASSES), EncodeMask(CLASSES, covariates={})
    assert plain.out_channels == empty.out_channels == 4
    assert torch.equal(plain(label(SHAPES[0])), empty(label(SHAPES[0]), None, {}))
    item = EncodeMaskd("label", CLASSES)({"label": label(SHAPES[0]), "covariates": {"age": 60}})
    assert item["covariates"] == {"age": 60}


def test_the_encoding_takes_the_place_of_the_values_so_that_items_make_a_batch() -> None:
    encode = EncodeMaskd("label", CLASSES, covariates=BOTH)
    item = {"label": label(SHAPES[0]), "covariates": {"sex": "F"}}
    done = encode(item)
    assert done["covariates"].tolist() == [0, -1, 1, -1, 1]
    assert torch.equal(done["label"][-5:, 0, 0], done["covariates"])
    assert item["covariates"] == {"sex": "F"}
    assert encode({"label": label(SHAPES[0])})["covariates"].tolist() == NULL


@pytest.mark.parametrize("tracked", [True, False])
def test_metadata_go_through(tracked: bool) -> None:
    set_track_meta(tracked)
    try:
        encoded = EncodeMask(CLASSES, covariates=BOTH)(MetaTensor(label(SHAPES[0]), affine=2 * torch.eye(4)))
    finally:
        set_track_meta(True)
    assert isinstance(encoded, MetaTensor) == tracked


@pytest.mark.parametrize(
    ("definitions", "message"),
    [
        ([], "must map names"),
        ({"a=b": AGE}, "plain text without '='"),
        ({"": AGE}, "no name"),
        ({"age": {"min": 1}}, "must have min, max, mean, std"),
        ({"age": {**AGE, "std": 0}}, "std 0 be above 0"),
        ({"age": {**AGE, "min": 60}}, "must go up"),
        ({"age": {**AGE, "mean": float("nan")}}, "must be a number"),
        ({"age": {**AGE, "max": True}}, "must be a number"),
        ({"sex": {"values": ["F"]}}, "2 to 64"),
        ({"sex": {"values": ["F", "F"]}}, "each once"),
        ({"sex": {"values": "FM"}}, "list of plain text"),
        ({"sex": {"values": ["F", "M\n"]}}, "list of plain text"),
    ],
)
def test_what_is_no_definition_is_refused(definitions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_covariates(definitions)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight": 80}, "'weight' is no covariate; known are age, sex"),
        ({"sex": "X"}, "'sex' is 'X', which is none of F, M"),
        ({"age": "60"}, "'age' must be a number"),
        ({"age": float("inf")}, "'age' must be a number"),
        ({"age": True}, "'age' must be a number"),
    ],
)
def test_what_is_no_value_is_refused(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncodeCovariates(BOTH)(values)


def test_covariates_are_dropped_each_on_its_own_with_the_given_probability() -> None:
    ablate = RandCovariateAblation(["age", "sex"], drop_prob=0.3).set_random_state(0)
    kept = np.array([[name in ablate({"age": 60, "sex": "F"}) for name in BOTH] for _ in range(4000)])
    assert kept.mean(axis=0) == pytest.approx([0.7, 0.7], abs=0.03)  # 4 standard errors
    assert (kept[:, 0] & kept[:, 1]).mean() == pytest.approx(0.49, abs=0.032)


@pytest.mark.parametrize(("drop_prob", "prob", "left"), [(0.0, 1.0, 2), (1.0, 1.0, 0), (1.0, 0.0, 2)])
def test_the_ends_of_the_probabilities(drop_prob: float, prob: float, left: int) -> None:
    ablate = RandCovariateAblationd("covariates", ["age", "sex"], drop_prob, prob)
    assert len(ablate({"covariates": {"age": 60, "sex": "F"}})["covariates"]) == left


def test_a_draw_does_not_depend_on_what_is_known() -> None:
    first, second = (RandCovariateAblation(["age", "sex"], 0.5).set_random_state(3) for _ in range(2))
    for _ in range(20):
        both, one = first({"age": 60, "sex": "F"}), second({"sex": "F"})
        assert ("sex" in both) == ("sex" in one)


def test_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"drop_prob must be from 0 to 1, got 1\.5"):
        RandCovariateAblation(["age"], 1.5)


def test_where_the_mask_says_nothing_nothing_is_known() -> None:
    steps = Compose([
        RandClassAblationd("label", CLASSES, null_prob=0.5, full_prob=0.5),
        RandCovariateAblationd("covariates", ["age", "sex"], drop_prob=0.0),
        EncodeMaskd("label", CLASSES, covariates=BOTH),
    ]).set_random_state(1)  # fmt: skip
    encoder = EncodeMask(CLASSES, covariates=BOTH)
    null, told = encoder.null_condition((6, 5)), encoder(label(SHAPES[0]), None, {"age": 65, "sex": "F"})
    seen = [steps({"label": label(SHAPES[0]), "covariates": {"age": 65, "sex": "F"}})["label"] for _ in range(40)]
    assert {torch.equal(one, null) for one in seen} == {True, False}
    assert all(torch.equal(one, null) or torch.equal(one, told) for one in seen)


def test_class_ablation_draws_what_it_drew_without_covariates() -> None:
    ablate = {"keys": "label", "classes": CLASSES, "full_prob": 0.2, "null_prob": 0.2}
    before = Compose([RandClassAblationd(**ablate)]).set_random_state(5)
    after = Compose([RandClassAblationd(**ablate), RandCovariateAblationd("covariates", [], allow_missing_keys=True)])
    after.set_random_state(5)
    for _ in range(10):
        item = {"label": label(SHAPES[0])}
        assert torch.equal(before(item)["label_known"], after(item)["label_known"])


def test_missing_keys_and_aliases() -> None:
    assert RandCovariateAblationD is RandCovariateAblationDict is RandCovariateAblationd
    assert RandCovariateAblationd("covariates", ["age"], allow_missing_keys=True)({}) == {}
    with pytest.raises(KeyError):
        RandCovariateAblationd("covariates", ["age"])({})
