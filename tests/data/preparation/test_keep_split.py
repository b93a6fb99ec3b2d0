from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_segdiff.data import Choices, prepare_dataset

BOX: dict[str, Any] = {"classes": {"box": 1}, "size": 8, "progress": False}


@pytest.fixture
def source(tmp_path: Path, make_pair: Callable) -> Path:
    entries = []
    for n in range(4):
        make_pair(f"p{n}")
        files = {"image": f"imagesTr/p{n}.nii.gz", "label": f"labelsTr/p{n}.nii.gz"}
        entries.append({**files, "fold": n % 2, "patient": f"P{n}"})
    (tmp_path / "source" / "datalist.json").write_text(json.dumps({"training": entries[:3], "testing": entries[3:]}))
    return tmp_path / "source"


def patients(dataset: Any) -> dict[str, set[str]]:
    return {split: {case.patient for case in cases} for split, cases in dataset.splits.items()}


@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        (0, {"training": {"P1"}, "validation": {"P0", "P2"}, "test": {"P3"}}),
        (1, {"training": {"P0", "P2"}, "validation": {"P1"}, "test": {"P3"}}),
    ],
)
def test_a_fold_is_held_out_as_it_was_asked(source: Path, tmp_path: Path, fold: int, expected: Any) -> None:
    dataset = prepare_dataset(source, tmp_path / "out", choices=Choices(fold=fold), **BOX)
    assert patients(dataset) == expected
    assert dataset.split_kind == "by patient"
    with pytest.raises(FileExistsError):
        prepare_dataset(source, tmp_path / "out", choices=Choices(fold=1 - fold), **BOX)


def test_the_split_is_kept_if_that_is_asked_for(source: Path, tmp_path: Path) -> None:
    kept = prepare_dataset(source, tmp_path / "kept", keep_split=True, **BOX)
    assert patients(kept) == {"training": {"P1"}, "validation": {"P0", "P2"}, "test": {"P3"}}
    drawn = prepare_dataset(source, tmp_path / "drawn", fractions=(1, 0, 0), **BOX)
    assert patients(drawn) == {"training": {"P0", "P1", "P2", "P3"}}


def test_a_patient_on_both_sides_is_an_error(source: Path, tmp_path: Path) -> None:
    content = json.loads((source / "datalist.json").read_text())
    content["testing"][0]["patient"] = "P1"
    (source / "datalist.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"patient 'P1' is in training and in test.*\(--keep-split, --fold\)"):
        prepare_dataset(source, tmp_path / "out", keep_split=True, **BOX)


def test_what_has_no_split_keeps_none(make_pair: Callable, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a list of cases has no split"):
        prepare_dataset([make_pair("p1")], tmp_path / "out", keep_split=True, **BOX)
