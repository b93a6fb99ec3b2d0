"""Ages, numbers and codes of DICOM images as covariates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from test_dicom_studies import write_study

from monai_segdiff.data import prepare_dataset, write_dicom_series
from monai_segdiff.data.dicom.tags import check_tags, read_tags


def tagged(folder: Path, **attributes: object) -> Path:
    """The first file of a series with attributes."""
    file = write_dicom_series(np.zeros((8, 8, 2), dtype=np.float32), np.eye(4), folder, "CT")[0]
    dataset = pydicom.dcmread(file)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(file)
    return Path(file)


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("PatientAge", "040Y", 40.0),
        ("PatientAge", "018M", 1.5),
        ("PatientAge", "007D", 0.0192),
        ("PatientSex", "F", "F"),
        ("KVP", "120", 120.0),
        ("ManufacturerModelName", "Scanner 3", "Scanner 3"),
        ("PatientWeight", "", None),
    ],
)
def test_ages_are_years_numbers_are_numbers_and_codes_text(
    tmp_path: Path, keyword: str, value: str, expected: float | str | None
) -> None:
    file = tagged(tmp_path, **{keyword: value})
    assert read_tags(file, [keyword]).get(keyword) == expected


def test_what_has_several_values_or_is_no_age_names_the_file(tmp_path: Path) -> None:
    file = tagged(tmp_path, WindowCenter=["40", "60"])
    with pytest.raises(ValueError, match=f"{file}: WindowCenter has 2 values"):
        read_tags(file, ["WindowCenter"])
    with pytest.warns(UserWarning, match="AS"):
        file = tagged(tmp_path / "other", PatientAge="40")
    with pytest.raises(ValueError, match="PatientAge is '40', which is no age such as 040Y"):
        read_tags(file, ["PatientAge"])


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "StudyDate", "SOPInstanceUID", "PixelData"])
def test_what_tells_whose_an_image_is_is_refused(keyword: str) -> None:
    with pytest.raises(ValueError, match=f"{keyword} cannot be one"):
        check_tags([keyword])


def test_what_is_no_keyword_is_refused() -> None:
    with pytest.raises(ValueError, match="'Age' is no keyword of a DICOM attribute, such as PatientAge"):
        check_tags(["Age"])


def test_a_folder_of_studies_gives_them(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    for number, (age, sex) in enumerate([("040Y", "F"), ("050Y", "M"), ("", "F"), ("070Y", "M")]):
        folder = tmp_path / "studies" / f"s{number}"
        write_study(folder)
        for file in folder.rglob("*.dcm"):
            dataset = pydicom.dcmread(file)
            dataset.PatientAge, dataset.PatientSex = age, sex
            dataset.save_as(file)
    dataset = prepare_dataset(
        tmp_path / "studies",
        tmp_path / "out",
        size=16,
        fractions=(1.0, 0.0, 0.0),
        covariates=["PatientAge", "PatientSex"],
        progress=False,
    )
    found = {case.patient: dict(case.covariates) for case in dataset.splits["training"]}
    assert found == {
        "s0": {"PatientAge": 40.0, "PatientSex": "F"},
        "s1": {"PatientAge": 50.0, "PatientSex": "M"},
        "s2": {"PatientSex": "F"},
        "s3": {"PatientAge": 70.0, "PatientSex": "M"},
    }
    assert (dataset.covariates["PatientAge"]["min"], dataset.covariates["PatientAge"]["max"]) == (40.0, 70.0)
    assert dataset.covariates["PatientSex"] == {"values": ["F", "M"]}
