"""Covariates in `dataset.json`: written, read, and checked as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monai_segdiff.data import read_dataset, write_dataset

AGE = {"min": 20.0, "max": 80.0, "mean": 50.0, "std": 10.0}
BOTH = {"age": AGE, "$sex": {"values": ["F", "@M"]}}


def describe(root: Path, definitions: Any = BOTH, **entry: Any) -> Path:
    for name in ("a.png", "b.png"):
        (root / name).touch()
    top = {} if definitions is None else {"covariates": definitions}
    content = {"labels": {"1": "x"}, **top, "training": [{"image": "a.png", "label": "b.png", **entry}]}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    dataset = read_dataset(describe(tmp_path, covariates={"$sex": "@M", "age": 60}))
    assert dataset.splits["training"][0].covariates == (("age", 60.0), ("$sex", "@M"))
    write_dataset(tmp_path, dataset)
    again = read_dataset(tmp_path)
    assert (again.covariates, list(again.covariates)) == (BOTH, ["age", "$sex"])
    assert again.splits == dataset.splits


def test_a_case_of_which_nothing_is_said(tmp_path: Path) -> None:
    dataset = read_dataset(describe(tmp_path))
    assert dataset.splits["training"][0].covariates == ()
    assert dataset.items("training", covariates=True)[0]["covariates"] == {}


@pytest.mark.parametrize(
    ("definitions", "entry", "message"),
    [
        ({"age": 3}, {}, "'covariates': 'age' must have min, max, mean, std"),
        (BOTH, {"weight": 3}, "entry 1 of 'training': its covariates: 'weight' is no covariate; known are age, .sex"),
        (BOTH, {"age": "60"}, "entry 1 of 'training': its covariates: 'age' must be a number, got '60'"),
        (BOTH, {"$sex": "X"}, "'.sex' is 'X', which is none of F, @M"),
        (BOTH, {"$sex": ["F"]}, "'.sex' is .*, which is none of F, @M"),
        (BOTH, [], "its covariates must map names to values"),
        (None, {"age": 60}, "'age' is no covariate; known are none"),
    ],
)
def test_unsound_entries_are_named(tmp_path: Path, definitions: Any, entry: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_dataset(describe(tmp_path, definitions, covariates=entry))
    assert "dataset.json" in str(error.value)
