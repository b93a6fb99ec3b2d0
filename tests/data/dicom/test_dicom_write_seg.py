"""What a segmentation takes from the series that it lies on: its place, and nothing of a patient."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom._dicom_dict import DicomDictionary

from monai_segdiff.data import (
    SyntheticInfo,
    read_dicom_seg,
    read_dicom_series,
    write_dicom_pair,
    write_dicom_seg,
    write_dicom_series,
)

hd = pytest.importorskip("highdicom")

PLANTED = "LTD_DOE_4711"
LABELS = np.zeros((6, 5, 4), dtype=np.uint8)
LABELS[1:4, 1:3, 1:3] = 1
AFFINE = np.diag([-2.0, -2, 3, 1])
# Groups of attributes that say whose an image is, when, where and by whom it was made.
TELLING = (0x0008, 0x0010, 0x0012, 0x0032, 0x0038, 0x0040)
TEXTS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
OTHERS = {"AS": "099Y", "DA": "20071231", "TM": "235958", "DT": "20071231235958"}
KEPT = {"Modality", "SpecificCharacterSet", "SyntheticData"}


def plant(dataset: pydicom.Dataset) -> set[str]:
    """Put a telling value in every attribute of these groups that can hold one, and return their names."""
    planted = set()
    for tag, (kind, _, _, _, keyword) in DicomDictionary.items():
        if tag >> 16 not in TELLING or not keyword or keyword in KEPT:
            continue
        if kind == "SQ":
            value = [pydicom.Dataset()]
            value[0].CodeMeaning = value[0].TextValue = PLANTED
        elif kind in TEXTS or kind in OTHERS:
            value = OTHERS.get(kind, PLANTED)
        else:
            continue
        setattr(dataset, keyword, value)
        planted.add(keyword)
    dataset.private_block(0x0011, PLANTED, create=True).add_new(1, "LO", PLANTED)
    return planted


def test_nothing_of_patient_study_or_scanner_comes_from_the_series(tmp_path):
    files = write_dicom_series(100.0 * LABELS, AFFINE, tmp_path / "ct", "CT")
    for file in files:
        dataset = pydicom.dcmread(file)
        planted = plant(dataset)
        dataset.save_as(file)
    assert {
        "PatientName",
        "AccessionNumber",
        "PatientAge",
        "StudyDate",
        "InstitutionName",
        "OtherPatientIDs",
    } <= planted
    assert len(planted) > 500
    seg = write_dicom_seg(LABELS, AFFINE, {"liver": 1}, files, tmp_path / "seg.dcm")
    content = seg.read_bytes()
    for value in (PLANTED, "20071231", "235958", "099Y"):
        assert value.encode() in files[0].read_bytes()
        assert value.encode() not in content
    written, first = pydicom.dcmread(seg), pydicom.dcmread(files[0])
    assert (written.StudyInstanceUID, written.FrameOfReferenceUID) == (
        first.StudyInstanceUID,
        first.FrameOfReferenceUID,
    )
    assert f"{written.StudyDate}{written.AccessionNumber}{written.ReferringPhysicianName}" == ""
    purposes = [item.PurposeOfReferenceCodeSequence[0].CodeValue for item in written.ContributingEquipmentSequence]
    assert "109100" in purposes
    assert "109101" not in purposes, "it was synthesized; no equipment acquired it"


def test_a_series_that_is_not_synthetic_is_refused(tmp_path):
    files = write_dicom_series(100.0 * LABELS, AFFINE, tmp_path / "ct", "CT")
    dataset = pydicom.dcmread(files[2])
    del dataset.SyntheticData
    dataset.save_as(files[2])
    message = rf"{re.escape(str(files[2]))} does not say that it is synthetic \(Synthetic Data, 0008,001C\)"
    with pytest.raises(ValueError, match=message):
        write_dicom_seg(LABELS, AFFINE, {"liver": 1}, files, tmp_path / "seg.dcm")
    assert not (tmp_path / "seg.dcm").exists()


@pytest.mark.parametrize("modality", ["CT", "MR", "CR", "DX"])
def test_series_and_segmentation_agree_on_their_study(tmp_path, modality):
    shape = LABELS.shape if modality in ("CT", "MR") else LABELS.shape[:2]
    labels = LABELS[..., 1].reshape(shape) if len(shape) == 2 else LABELS
    info = SyntheticInfo(patient_id="SYN1")
    files, seg = write_dicom_pair(100.0 * labels, labels, AFFINE, {"a": 1}, tmp_path / "s", modality, info=info)
    image, segmentation = pydicom.dcmread(files[0]), pydicom.dcmread(seg)
    study = {"StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyDescription", "StudyID"}
    study |= {"StudyInstanceUID"}
    first, second = (
        {e.keyword: str(e.value) for e in dataset if e.tag.group == 0x0010 or e.keyword in study}
        for dataset in (image, segmentation)
    )
    assert first == second
    assert study < set(first)
    assert first["PatientID"] == "SYN1"


def test_names_that_dicom_cannot_hold_are_refused(tmp_path):
    files = write_dicom_series(100.0 * LABELS, AFFINE, tmp_path / "ct", "CT")
    longest = "é" * 64
    seg = write_dicom_seg(LABELS, AFFINE, {longest: 1}, files, tmp_path / "seg.dcm")
    assert read_dicom_seg(seg)[1] == {longest: 1}
    for name, message in (("x" * 65, "65 letters, of which DICOM holds 64"), ("a\\b", "no backslash"), (" a", "space")):
        with pytest.raises(ValueError, match=rf"cannot write .*other\.dcm: the class .*{message}"):
            write_dicom_seg(LABELS, AFFINE, {name: 1}, files, tmp_path / "other.dcm")


def test_messages_name_the_file_that_was_asked_for(tmp_path):
    target = tmp_path / "study"
    other = LABELS.copy()
    other[0, 0, 0] = 7
    with pytest.raises(ValueError, match=r"ids \[7\]") as unknown:
        write_dicom_pair(100.0 * LABELS, other, AFFINE, {"liver": 1}, target, "CT")
    with pytest.raises(ValueError, match="resample it") as size:
        write_dicom_pair(100.0 * LABELS, LABELS[:, :, :3], AFFINE, {"liver": 1}, target, "CT")
    with pytest.raises(ValueError, match="NaN") as infinite:
        write_dicom_series(np.full((4, 4, 4), np.nan), AFFINE, target, "MR")
    for error in (unknown, size, infinite):
        assert str(target) in str(error.value)
        assert ".tmp-" not in str(error.value)
    series = write_dicom_series(100.0 * LABELS, AFFINE, tmp_path / "ct", "CT")
    with pytest.raises(
        ValueError, match=rf"cannot write {re.escape(str(Path(tmp_path / 's.dcm')))}: the label map holds"
    ):
        write_dicom_seg(other, AFFINE, {"liver": 1}, series, tmp_path / "s.dcm")
    assert [path.name for path in tmp_path.iterdir()] == ["ct"]
    assert read_dicom_series(series).shape == (1, *LABELS.shape)
