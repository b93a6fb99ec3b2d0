"""Covariates of cases: from a table, the voxel size, or the source's own; what training images have of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_segdiff.__main__ import main
from monai_segdiff.data import Case, SegmentationDataset, content_digest, prepare_dataset, read_dataset, write_dataset
from monai_segdiff.data.preparation.covariates import define_covariates, with_covariates


def case(name: str, patient: str = "p", **covariates: Any) -> Case:
    return Case(name, Path(f"/d/{name}.png"), Path("/m.png"), patient, covariates=tuple(covariates.items()))


def table(folder: Path, *lines: str) -> Path:
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


def told(cases: Sequence[Case]) -> list[dict[str, Any]]:
    return [dict(case.covariates) for case in cases]


def test_numbers_and_categories_of_a_table_and_blank_cells_are_unknown(tmp_path: Path) -> None:
    file = table(tmp_path, "id,age,sex", "a,60,F", "b,,M", "c,41.5,")
    found = with_covariates([case(name) for name in "cab"], ["sex", "age"], file)
    assert told(found) == [{"age": 41.5}, {"sex": "F", "age": 60.0}, {"sex": "M"}]
    assert list(dict(found[1].covariates)) == ["sex", "age"]


def test_one_line_serves_all_cases_of_a_patient(tmp_path: Path) -> None:
    file = table(tmp_path, "Subject_ID;age", "p1;60", "p2;70")
    found = with_covariates([case("a", "p1"), case("b", "p2"), case("c", "p1")], ["age"], file)
    assert told(found) == [{"age": 60.0}, {"age": 70.0}, {"age": 60.0}]


@pytest.mark.parametrize(
    ("lines", "names", "message"),
    [
        (["id,age", "a,60", "b,old"], ["age"], r"line 3, column 'age': 'old' is no number, as others"),
        (["id,age", "a,60", "b,nan"], ["age"], r"line 3, column 'age': 'nan' is no number"),
        (["id,sex", "a,F", "b,f"], ["sex"], "holds 'F' and 'f', which differ by case or blanks only"),
        (["id,age", "a,60"], ["age"], "says nothing of case 'b' by its column id .*where its covariates are unknown"),
        (["id,age", "a,60", "b,1"], ["sex"], "nothing says the covariate 'sex' .*it can be id, age, spacing"),
        (["id,age", "a,60", "b,1"], ["age", "age"], "named once each, got 'age' twice"),
        (["name,age", "a,60", "b,1"], ["age"], "none of the columns id, path, dicom_id, study_id, patient,"),
    ],
)
def test_what_a_table_lacks_is_named(tmp_path: Path, lines: list[str], names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_covariates([case("a"), case("b")], names, table(tmp_path, *lines))


def test_definitions_are_those_of_the_training_images() -> None:
    splits = {
        "training": [case("a", age=30.0, sex="F"), case("b", age=50.0, sex="M"), case("c", age=70.0), case("d")],
        "test": [case("e", age=95.0, sex="X")],
    }
    definitions, kept, remarks = define_covariates(["age", "sex"], splits)
    assert definitions["sex"] == {"values": ["F", "M"]}
    assert definitions["age"] == {"min": 30.0, "max": 70.0, "mean": 50.0, "std": pytest.approx(np.sqrt(800 / 3))}
    assert told(kept["test"]) == [{"age": 95.0}]
    assert remarks == ["the covariate 'sex' is 'X' in 1 held-out images and in none for training; it is unknown there"]


def test_what_does_not_vary_is_left_out_in_words() -> None:
    splits = {"training": [case("a", age=30.0, site="A"), case("b", age=40.0, site="A")]}
    definitions, kept, remarks = define_covariates(["age", "site", "dose"], splits)
    assert list(definitions) == ["age"]
    assert told(kept["training"]) == [{"age": 30.0}, {"age": 40.0}]
    assert [remark.split(", as ")[1] for remark in remarks] == [
        "it is 'A' in all training images of which it is known",
        "nothing says it",
    ]


def test_too_many_values_are_no_category() -> None:
    with pytest.raises(ValueError, match=r"'site' has 65 values, such as n0, n1, .* 64 at most"):
        define_covariates(["site"], {"training": [case(f"c{n}", site=f"n{n}") for n in range(65)]})


def volumes(make_pair: Callable, number: int = 4) -> list[dict[str, Any]]:
    return [make_pair(f"v{n}", affine=np.diag([1 + n, 1 + n, 3, 1.0])) for n in range(number)]


def prepare(source: Any, output: Path, **options: Any) -> SegmentationDataset:
    kept = {"size": 8, "fractions": (0.5, 0.0, 0.5), "progress": False, "classes": {"box": 1}, **options}
    return prepare_dataset(source, output, **kept)


def test_the_spacing_is_measured_in_the_plane_of_the_slices(tmp_path: Path, make_pair: Callable) -> None:
    dataset = prepare(volumes(make_pair), tmp_path / "out", covariates=["spacing"])
    found = {case.patient: dict(case.covariates) for cases in dataset.splits.values() for case in cases}
    assert found == {f"v{n}": {"spacing": 1.0 + n} for n in range(4)}
    solid = prepare(volumes(make_pair), tmp_path / "solid", covariates=["spacing"], spatial_dims=3)
    (first,) = (case for cases in solid.splits.values() for case in cases if case.patient == "v1")
    assert dict(first.covariates)["spacing"] == pytest.approx(12 ** (1 / 3), abs=1e-4)


def test_a_prepared_set_says_them_and_hands_them_on(tmp_path: Path, make_pair: Callable) -> None:
    file = table(tmp_path, "patient,age,sex", *(f"v{n},{60 + n},{'FM'[n % 2]}" for n in range(6)))
    first = prepare(volumes(make_pair, 6), tmp_path / "out", covariates=["age", "sex"], covariates_table=file)
    assert {key for split in first.splits.values() for one in split for key in dict(one.covariates)} == {"age", "sex"}
    read = read_dataset(tmp_path / "out")
    assert (read.covariates, read.splits) == (first.covariates, first.splits)
    assert read.items("training", covariates=True)[0]["covariates"] == dict(read.splits["training"][0].covariates)
    assert "covariates" not in read.items("training")[0]
    again = prepare(tmp_path / "out", tmp_path / "again", classes=None)
    assert list(again.covariates) == ["age", "sex"]
    one = prepare(tmp_path / "out", tmp_path / "one", classes=None, covariates=["sex"])
    assert {name for split in one.splits.values() for case in split for name in dict(case.covariates)} == {"sex"}


def test_a_changed_table_is_another_source_and_other_data(tmp_path: Path, make_pair: Callable) -> None:
    source = volumes(make_pair)
    digests = []
    for change in (0, 1):
        file = table(tmp_path, "patient,age", *(f"v{n},{60 + n + change}" for n in range(4)))
        dataset = prepare(source, tmp_path / f"out{change}", covariates=["age"], covariates_table=file)
        digests.append((dataset.settings["source"], content_digest(dataset, progress=False)))
    assert digests[0][0] != digests[1][0]
    assert {key for key in digests[0][1] if digests[0][1][key] != digests[1][1][key]} == {"set of training covariates"}


def test_without_covariates_a_data_set_is_as_it_was(tmp_path: Path, make_pair: Callable) -> None:
    dataset = prepare(volumes(make_pair), tmp_path / "out")
    assert "covariates" not in (tmp_path / "out" / "dataset.json").read_text()
    assert not any("covariates" in key for key in content_digest(dataset, progress=False))


def test_the_command_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = SegmentationDataset(tmp_path, "x", {"box": 1}, {"training": [Case("a", tmp_path / "a.png", None, "p")]})
    write_dataset(tmp_path, dataset)
    table(tmp_path, "id,age")
    arguments = ["prepare", str(tmp_path), str(tmp_path / "out"), "--covariates-table", str(tmp_path / "table.csv")]
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    content = json.loads((tmp_path / "dataset.json").read_text())
    content["training"][0]["label"] = "b.png"
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    assert main(arguments) == 2
    assert "must name the columns of" in capsys.readouterr().err
