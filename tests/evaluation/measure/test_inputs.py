from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_segdiff.data import Case, SegmentationDataset
from monai_segdiff.data.layout import write_dataset
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.evaluation.measure.inputs import Inputs, read_inputs
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


def test_what_lies_outside_the_field_of_view_is_no_class_of_the_evaluation(tmp_path: Path) -> None:
    for name in ("real", "synthetic"):
        files = [tmp_path / name / f"{part}.nii.gz" for part in ("image", "label")]
        save_nifti(files[0], np.full((4, 4), 0.5, np.float32), np.eye(4))
        save_nifti(files[1], np.tile(np.array([0, 1, 2, 2], np.uint8), (4, 1)), np.eye(4))
        classes: dict[str, int | list[int]] = {"liver": 1, "outside_view": 2}
        splits = {"test": [Case("a", files[0], files[1], "a")]}
        write_dataset(tmp_path / name, SegmentationDataset(tmp_path / name, name, classes, splits, (0.0, 1.0), 2))
    found = read_inputs(tmp_path / "real", tmp_path / "synthetic")
    assert found.classes == ["liver"]
    for reader, cases in ((found.real_reader, found.held_out), (found.synthetic_reader, found.generated)):
        pair = reader(cases[0])
        assert pair.mask[0, 0].tolist() == [0, 1, 0, 0]
        assert pair.image[0, 0].tolist() == [0, 0, -1, -1]
    assert "no anatomy" in found.describe()["Outside the field of view"]
