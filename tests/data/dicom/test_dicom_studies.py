"""`prepare` from folders of DICOM studies."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from test_dicom_rtstruct import square, write_structures

from monai_segdiff.__main__ import main
from monai_segdiff.data import (
    SyntheticInfo,
    prepare_dataset,
    read_dataset,
    read_dicom_series,
    write_dicom_pair,
    write_dicom_series,
)
from monai_segdiff.data.dicom.studies import find_studies, holds_dicom

pytest.importorskip("highdicom")

CLASSES = {"Liver": 1, "Left Kidney": 2, "Right Kidney": 3}
AFFINE = np.array([[2.0, 0, 0, -16], [0, 2, 0, -20], [0, 0, 3, 50], [0, 0, 0, 1]])


def write_study(folder: Path, patient: str | None = None, value: float = 0.0) -> np.ndarray:
    """Write a CT with its segmentation and return the labels, in RAS."""
    labels = np.zeros((16, 20, 5), dtype=np.uint8)
    labels[2:8, 3:9, 1:4], labels[9:12, 3:6, 1:4], labels[9:12, 12:16, 1:4] = 1, 2, 3
    info = SyntheticInfo(patient_id=patient or folder.name)
    write_dicom_pair(100.0 * labels + value, labels, AFFINE, CLASSES, folder, "CT", info=info)
    return labels


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    for number in range(4):
        write_study(tmp_path / "studies" / f"case {number}", patient=f"P{number // 2}", value=number)
    return tmp_path / "studies"


def test_studies_become_a_data_set_split_by_patient(studies, tmp_path):
    dataset = prepare_dataset(
        studies, tmp_path / "out", size=16, spacing=2.0, fractions=(0.5, 0.0, 0.5), progress=False
    )
    assert dataset.classes == {"Left Kidney": 1, "Liver": 2, "Right Kidney": 3}
    assert {split: len(cases) for split, cases in dataset.splits.items() if cases} == {"training": 6, "test": 6}
    by_split = {split: {case.patient for case in cases} for split, cases in dataset.splits.items() if cases}
    assert sorted(map(sorted, by_split.values())) == [["case_0"], ["case_2"]], "two studies of a patient stay together"
    assert "P0" not in (tmp_path / "out/dataset.json").read_text(), "patient ids of the files stay in the files"
    again = prepare_dataset(studies, tmp_path / "out", size=16, spacing=2.0, fractions=(0.5, 0.0, 0.5), progress=False)
    assert again.settings == dataset.settings


def test_channels_of_series_are_refused(studies, tmp_path):
    with pytest.raises(ValueError, match=r"studies holds DICOM series of one channel each"):
        prepare_dataset(studies, tmp_path / "out", channels=("T1", "T2"), size=16, progress=False)


def test_image_and_labels_are_those_of_nifti_files(studies, tmp_path):
    labels = write_study(tmp_path / "one" / "a")
    nib.save(nib.Nifti1Image((100.0 * labels).astype(np.float32), AFFINE), tmp_path / "image.nii.gz")
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "label.nii.gz")
    options = {"spatial_dims": 3, "size": 16, "spacing": 2.0, "progress": False}
    kept = {"fractions": (1.0, 0.0, 0.0), "intensity_range": (0, 300)}
    twin = [{"image": tmp_path / "image.nii.gz", "label": tmp_path / "label.nii.gz", "patient": "a"}]
    a = prepare_dataset(tmp_path / "one", tmp_path / "a", CLASSES, **options, **kept)
    b = prepare_dataset(twin, tmp_path / "b", CLASSES, **options, **kept)
    for part in ("image", "label"):
        x, y = (nib.load(getattr(dataset.splits["training"][0], part)) for dataset in (a, b))
        assert np.allclose(x.get_fdata(), y.get_fdata(), atol=1e-3)
        assert np.allclose(x.affine, y.affine, atol=1e-3)


def test_the_command_joins_segments_to_classes(studies, tmp_path):
    common = [str(studies), str(tmp_path / "out"), "--size", "16", "--fractions", "0.5", "0", "0.5"]
    assert main(["prepare", *common, "--segments", "liver=Liver", "kidneys=Left Kidney,Right Kidney"]) == 0
    dataset = read_dataset(tmp_path / "out")
    assert dataset.classes == {"liver": 1, "kidneys": 2}
    values = {int(v) for case in dataset.splits["training"] for v in np.unique(nib.load(case.label).dataobj)}
    assert values == {0, 1, 2}


def test_segments_that_no_class_has_are_named(studies, tmp_path, capsys):
    command = ["prepare", str(studies), str(tmp_path / "out"), "--size", "16", "--fractions", "0.5", "0", "0.5"]
    assert main([*command, "--segments", "liver=Liver"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "case 0/seg/seg.dcm has unknown segments 'Left Kidney', 'Right Kidney'" in error
    assert main([*command, "--segments", "liver=Liver", "--drop-other-labels"]) == 0
    assert read_dataset(tmp_path / "out").classes == {"liver": 1}


def test_a_segment_that_occurs_nowhere_is_an_error(studies, tmp_path, capsys):
    command = ["prepare", str(studies), str(tmp_path / "out"), "--size", "16", "--fractions", "0.5", "0", "0.5"]
    assert main([*command, "--segments", "liver=Livre", "--drop-other-labels"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "no segment is named 'Livre'" in error
    assert "'Left Kidney', 'Liver', 'Right Kidney'" in error


def _without(keyword: str, folder: Path) -> None:
    for file in folder.rglob("*.dcm"):
        dataset = pydicom.dcmread(file)
        setattr(dataset, keyword, "")
        dataset.save_as(file)


def test_two_series_of_a_folder_are_one_patients(tmp_path):
    """Also where the files do not say whose they are, or only some of them."""
    for name in ("john", "mary"):
        for series in ("first", "second"):
            write_study(tmp_path / name / series, patient=name)
    _without("PatientID", tmp_path / "john")
    _without("PatientID", tmp_path / "mary" / "first")
    found = find_studies(tmp_path)
    assert [study.name for study in found] == ["john_1", "john_2", "mary_1", "mary_2"]
    assert [study.patient for study in found] == ["john", "john", "mary_1", "mary_1"]


def test_structure_sets_and_several_series_of_a_study(tmp_path):
    for number in range(2):
        folder = tmp_path / "studies" / f"p{number}"
        info = SyntheticInfo(patient_id=f"P{number}")
        files = write_dicom_series(
            np.arange(16.0 * 16 * 5).reshape(16, 16, 5) + number, AFFINE, folder / "ct", "CT", info=info
        )
        write_dicom_series(np.ones((16, 16, 5)), AFFINE, folder / "mr", "MR")  # nothing was drawn on it
        image = read_dicom_series(files)
        regions = {"GTV": [(index, square(3.5, 9.5)) for index in range(1, 4)]}
        write_structures(folder / "rt.dcm", image, regions)
    found = find_studies(tmp_path / "studies")
    assert [(study.name, len(study.images), study.labels[0].name) for study in found] == [
        ("p0", 5, "rt.dcm"),
        ("p1", 5, "rt.dcm"),
    ]
    dataset = prepare_dataset(
        tmp_path / "studies", tmp_path / "out", size=16, spacing=2.0, fractions=(0.5, 0, 0.5), progress=False
    )
    assert dataset.classes == {"GTV": 1}
    assert [int((nib.load(c.label).get_fdata() == 1).sum()) for c in dataset.splits["training"]] == [36, 36, 36]


def test_radiographs_lie_as_pictures_do(tmp_path):
    image = np.arange(16 * 16, dtype=np.float32).reshape(16, 16)
    labels = (image > 100).astype(np.uint8)
    for number in range(2):
        write_dicom_pair(
            image + number, labels, np.diag([2.0, 2, 1, 1]), {"a": 1}, tmp_path / "xrays" / f"x{number}", "DX",
            info=SyntheticInfo(patient_id=f"P{number}"),
        )  # fmt: skip
    dataset = prepare_dataset(tmp_path / "xrays", tmp_path / "out", size=16, fractions=(0.5, 0, 0.5), progress=False)
    for cases in dataset.splits.values():
        for case in cases:
            assert np.array_equal(nib.load(case.label).get_fdata(), labels), "to the right and up, as it was"


def test_findings_of_a_table_reach_the_data_set_and_make_another_one(tmp_path):
    image = np.arange(16 * 16, dtype=np.float32).reshape(16, 16)
    for number in range(4):
        write_dicom_pair(
            image + number, image > 100, np.diag([2.0, 2, 1, 1]), {"a": 1}, tmp_path / "xrays" / f"x{number}", "DX",
            info=SyntheticInfo(patient_id=f"P{number}"),
        )  # fmt: skip
    table = tmp_path / "findings.csv"
    table.write_text("id,Edema,Pneumonia\nx0,1,0\nx1,0,1\nx2,0,0\nx3,,\n")
    options = {
        "size": 16, "fractions": (0.5, 0, 0.5), "findings": ["Edema", "Pneumonia"], "findings_table": table,
        "progress": False,
    }  # fmt: skip

    def found() -> dict[str, tuple[str, ...] | None]:
        dataset = prepare_dataset(tmp_path / "xrays", tmp_path / "out", **options)
        return {case.patient: case.findings for cases in dataset.splits.values() for case in cases}

    assert found() == {"x0": ("Edema",), "x1": ("Pneumonia",), "x2": (), "x3": None}
    assert found() == {"x0": ("Edema",), "x1": ("Pneumonia",), "x2": (), "x3": None}, "the same again"
    table.write_text("id,Edema,Pneumonia\nx0,0,1\nx1,0,1\nx2,0,0\nx3,,\n")
    with pytest.raises(FileExistsError, match="out"):
        found()


def _no_images(folder: Path) -> None:
    shutil.rmtree(folder / "image")


def _no_labels(folder: Path) -> None:
    shutil.rmtree(folder / "seg")


def _another_study(folder: Path) -> None:
    shutil.copy(folder.parent / "case 1/seg/seg.dcm", folder / "seg/seg.dcm")


def _no_series_uid(folder: Path) -> None:
    dataset = pydicom.dcmread(folder / "seg/seg.dcm")
    del dataset.ReferencedSeriesSequence[0].SeriesInstanceUID
    dataset.save_as(folder / "seg/seg.dcm")


def _cut_short(folder: Path) -> None:
    file = folder / "image/IM0002.dcm"
    file.write_bytes(file.read_bytes()[:-30])


def _missing_slice(folder: Path) -> None:
    (folder / "image/IM0003.dcm").unlink()


def _two_scans(folder: Path) -> None:
    for file in sorted((folder / "image").iterdir()):
        dataset = pydicom.dcmread(file)
        dataset.SOPInstanceUID += ".1"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(folder / "image" / f"again_{file.name}")


def _no_segments(folder: Path) -> None:
    dataset = pydicom.dcmread(folder / "seg/seg.dcm")
    dataset.SegmentSequence = []
    dataset.save_as(folder / "seg/seg.dcm")


def _named(name: str, folder: Path) -> None:
    dataset = pydicom.dcmread(folder / "seg/seg.dcm")
    dataset.SegmentSequence[0].SegmentLabel = name
    dataset.save_as(folder / "seg/seg.dcm")


def _lost(keyword: str, file: str, folder: Path) -> None:
    dataset = pydicom.dcmread(folder / file)
    delattr(dataset, keyword)
    dataset.save_as(folder / file)


def _link_to_nothing(folder: Path) -> None:
    (folder / "image/IM0002.dcm").unlink()
    (folder / "image/IM0002.dcm").symlink_to(folder / "archive")


def _no_file(folder: Path) -> None:
    (folder / "image/IM0002.dcm").unlink()
    os.mkfifo(folder / "image/IM0002.dcm")


def _of_another_series(folder: Path) -> None:
    file = folder / "image/IM0002.dcm"
    dataset = pydicom.dcmread(file)
    dataset.SeriesInstanceUID += ".1"
    dataset.save_as(file)


def _no_modality(folder: Path) -> None:
    file = folder / "image/IM0002.dcm"
    file.write_bytes(file.read_bytes().replace(b"CS\x02\x00CT", b"CS\x02\x00cT"))


BROKEN = {
    "a slice of no modality": (_no_modality, r"IM0002\.dcm gives the Modality 'cT', which is no code"),
    "a link to nothing": (_link_to_nothing, r"case 0/image/IM0002\.dcm"),
    "a pipe": (_no_file, r"case 0/image/IM0002\.dcm is no file but a folder, a pipe or a device"),
    "a slice of another series": (_of_another_series, r"are 6 mm apart.*beside it: IM0002\.dcm\)"),
    "labels that do not say what they are": (partial(_lost, "Modality", "seg/seg.dcm"), r"seg\.dcm says no Modality"),
    "a slice that does not say what it is": (
        partial(_lost, "Modality", "image/IM0002.dcm"),
        r"case 0/image/IM0002\.dcm says no Modality, .*; copy it again",
    ),
    "a slice of no series": (
        partial(_lost, "SeriesInstanceUID", "image/IM0001.dcm"),
        r"case 0/image/IM0001\.dcm has no SeriesInstanceUID, but other images",
    ),
    "no segments": (_no_segments, r"case 0/seg/seg\.dcm has no segments"),
    "the background": (
        partial(_named, "Background"),
        r"case 0/seg/seg\.dcm: segment 'Background': this name is that of",
    ),
    "no plain text": (partial(_named, "a\x07b"), r"case 0/seg/seg\.dcm: segment 'a\\x07b' .* cannot be printed"),
    "no images": (_no_images, r"case 0 holds no CT, MR, CR or DX images"),
    "no labels": (_no_labels, r"case 0 holds images, but no segmentation \(SEG\)"),
    "another study's labels": (_another_study, r"case 0/seg/seg\.dcm refers to the series .* not among those beside"),
    "no reference": (_no_series_uid, r"case 0/seg/seg\.dcm cannot be read as a DICOM segmentation"),
    "cut short": (_cut_short, r"case 0/image/IM0002\.dcm cannot be decoded"),
    "missing slice": (_missing_slice, r"case 0/image/IM000\d\.dcm and .*are 6 mm apart"),
    "two scans": (_two_scans, r"case 0/.* lie at the same position"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_unsound_studies_are_named(kind, studies, tmp_path):
    spoil, message = BROKEN[kind]
    spoil(studies / "case 0")
    with pytest.raises(ValueError, match=message):
        prepare_dataset(studies, tmp_path / "out", size=16, fractions=(0.5, 0.0, 0.5), progress=False)
    assert not (tmp_path / "out").exists()


def test_other_folders_are_no_studies(make_pair, tmp_path):
    make_pair("p1")
    assert not holds_dicom(tmp_path / "source")
    assert not holds_dicom(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"segments \(--segments\) has no effect on .*source.*leave it out"):
        prepare_dataset(tmp_path / "source", tmp_path / "out", {"a": 1}, segments={"a": "A"}, progress=False)


@pytest.mark.data
def test_a_real_study_with_overlaps(segdiff_data, tmp_path):
    source = tmp_path / "studies" / "patient"
    shutil.copytree(segdiff_data / "dicom_io/dcmqi/ct-3slice", source / "ct")
    shutil.copy(segdiff_data / "dicom_io/dcmqi/partial_overlaps.dcm", source)
    common = {"size": 64, "fractions": (1.0, 0.0, 0.0), "min_foreground": 0.001, "progress": False}
    with pytest.raises(ValueError, match=r"partial_overlaps\.dcm: segments overlap"):
        prepare_dataset(tmp_path / "studies", tmp_path / "out", **common)
    dataset = prepare_dataset(tmp_path / "studies", tmp_path / "out", precedence=["GREEN", "ORANGE"], **common)
    assert sorted(dataset.classes) == ["DARK_BLUE", "GREEN", "LIGHT_BLUE", "ORANGE", "PURPLE"]
    found = {int(v) for case in dataset.splits["training"] for v in np.unique(nib.load(case.label).dataobj)}
    assert found == {0, 1, 2, 3, 4, 5}
