from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.data import Case, SegmentationDataset
from monai_segdiff.evaluation.measure.inputs import Inputs
from monai_segdiff.evaluation.pairs import PairReader


def inputs(training: list[Case], held_out: list[Case], kind: str | None = None) -> Inputs:
    real = SegmentationDataset(Path("x"), "x", {"liver": 1}, {"training": training, "test": held_out}, split_kind=kind)
    reader = PairReader({"liver": 1}, (0.0, 1.0), 2)
    return Inputs(real, real, training, held_out, [], reader, reader)


def case(name: str, patient: str, known: bool = True) -> Case:
    return Case(name, None, None, patient, patient_known=known)


@pytest.mark.parametrize(
    ("training", "held_out", "kind", "text", "limited"),
    [
        ([case("a", "A")], [case("b", "B")], "by patient", "Split by patient: 1 for training, 1 held out.", False),
        (
            [case("a", "a", False)],
            [case("b", "b", False)],
            "by file",
            "Split by file: 1 for training, 1 held out.",
            True,
        ),
        ([case("a", "A")], [case("b", "b", False)], None, "Split by file: 1 for training, 1 held out.", True),
        (
            [case("a", "A"), case("c", "C")],
            [case("b", "A")],
            None,
            "Split through patients: 1 of them, such as 'A'",
            True,
        ),
        ([case("a", "A")], [case("b", "A")], "within one patient", "Split within one patient", True),
    ],
)
def test_the_report_says_by_patient_only_where_patients_are_known(
    training: list[Case], held_out: list[Case], kind: str | None, text: str, limited: bool
) -> None:
    said, warned = inputs(training, held_out, kind).split()
    assert said.startswith(text)
    assert warned is limited
