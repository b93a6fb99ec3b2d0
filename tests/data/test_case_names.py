from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.data import Case
from monai_segdiff.data.case_names import distinct_cases, written_name


def case(label: str, patient: str | None = None, name: str | None = None) -> Case:
    stem = name or Path(label).stem
    return Case(stem, Path(label), Path(label), patient or stem, patient_known=patient is not None)


def test_names_that_differ_stay() -> None:
    cases = [case("x/a.png"), case("x/b.png", "P")]
    assert distinct_cases(cases) == cases


def test_files_named_alike_are_told_apart_by_patient_or_by_folder() -> None:
    known = [case("d0/scan.png", "P0"), case("d1/scan.png", "P1")]
    assert [c.id for c in distinct_cases(known)] == ["P0_scan", "P1_scan"]
    visits = [case("v0/scan.png", "P0"), case("v1/scan.png", "P0")]
    assert [c.id for c in distinct_cases(visits)] == ["P0_v0_scan", "P0_v1_scan"]
    unknown = distinct_cases([case("d0/scan.png"), case("d1/scan.png")])
    assert [(c.id, c.patient, c.patient_known) for c in unknown] == [
        ("d0_scan", "d0_scan", False),
        ("d1_scan", "d1_scan", False),
    ]


@pytest.mark.parametrize(
    "cases",
    [
        [case("d/a.png"), case("d/a.png")],
        [case("d/a.png", "P", name="a b"), case("d/c.png", "P", name="a_b")],
        [case("d/a.png", "P", name="x/y"), case("d/c.png", "P", name="x\\y")],
        [case("d/a.png", "P", name="Scan"), case("d/c.png", "P", name="scan")],
    ],
)
def test_names_that_would_be_one_file_are_refused_with_the_files(cases: list[Case]) -> None:
    with pytest.raises(ValueError, match="occur more than once") as error:
        distinct_cases(cases)
    assert all(str(case.label) in str(error.value) for case in cases)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("p1_slice003", "p1_slice003"),
        ("../../etc/x", "etc_x"),
        ("C:\\a b", "C__a_b"),
        (".hidden", "hidden"),
        ("Müller-1", "Müller-1"),
        ("患者一", "患者一"),
        ("a\nb\0c", "a_b_c"),
        ("..", "case"),
    ],
)
def test_names_of_files_hold_no_path(name: str, file: str) -> None:
    assert written_name(name) == file
