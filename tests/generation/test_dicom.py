"""`generate` with DICOM on both ends."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from monai_segdiff.__main__ import main
from monai_segdiff.data import read_dicom_seg, read_dicom_series, write_dicom_pair
from monai_segdiff.generation import DicomOutput, collect_masks, default_modality, generate_dataset

highdicom = pytest.importorskip("highdicom")

KILLED = """
import os, signal, sys
from monai_segdiff.__main__ import main
from monai_segdiff.data.dicom import write_seg as dicom_write_seg
write, calls = dicom_write_seg.write_dicom_seg, []
def kill(*args, **kwargs):
    calls.append(args)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(*args, **kwargs)
dicom_write_seg.write_dicom_seg = kill
main(sys.argv[1:])
"""


@pytest.fixture
def masks(trained_bundle, tmp_path: Path) -> Path:
    """A folder of two label maps with several classes."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for file in sorted((trained_bundle.phantoms / "labelsTr").iterdir())[:2]:
        shutil.copy(file, folder)
    return folder


def generate(bundle, masks: Path, output: Path, *more: str) -> int:
    return main(["generate", "--bundle", str(bundle.root), "--masks", str(masks), "--output", str(output), *more])


def samples(output: Path) -> list[dict]:
    return json.loads((output / "manifest.json").read_text())["samples"]


def error_of(capsys) -> str:
    return capsys.readouterr().err.rstrip().splitlines()[-1]


def uids(folder: Path) -> list[str]:
    return [pydicom.dcmread(file).SOPInstanceUID for file in sorted(folder.rglob("*.dcm"))]


def all_uids(folder: Path) -> set[str]:
    """UIDs of studies, series, frames of reference and objects."""
    found = [pydicom.dcmread(file) for file in folder.rglob("*.dcm")]
    assert found
    keywords = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
    return {str(dataset[keyword].value) for dataset in found for keyword in keywords}


def patient_ids(folder: Path) -> list[str]:
    return [str(pydicom.dcmread(file).PatientID) for file in sorted(folder.rglob("seg.dcm"))]


def test_each_pair_is_a_study_beside_the_data_set(trained_bundle, masks, tmp_path):
    output = tmp_path / "s"
    assert generate(trained_bundle, masks, output, "--format", "dicom", "--per-mask", "2") == 0
    records = samples(output)
    assert len(records) == 4
    for record in records:
        image = read_dicom_series(output / record["dicom_series"])
        labels, classes = read_dicom_seg(output / record["dicom_seg"], like=image)
        nifti = nib.load(output / record["image"])
        first = pydicom.dcmread(image.meta["files"][0])
        assert first.Modality == "CT"
        assert first.SyntheticData == "YES"
        assert record["patient"] not in str(first), "names of source patients are nobody's business"
        # The series lies with rows to the left and columns to posterior, the data set to the right and anterior.
        expected = np.asarray(nifti.dataobj)[::-1, ::-1]
        assert np.abs(image.numpy()[0] - expected).max() <= float(first.RescaleSlope) / 2 + 1e-4
        own = np.asarray(nib.load(output / record["label"]).dataobj)[::-1, ::-1]
        ids = {index + 1: name for index, name in enumerate(classes)}
        names = json.loads((output / "dataset.json").read_text())["labels"]
        for index, name in ids.items():
            wanted = [int(i) for i, found in names.items() if found == name]
            assert np.array_equal(labels.numpy()[0] == index, np.isin(own, wanted)), name
        corner = np.asarray(nifti.affine) @ [*(np.array(nifti.shape) - 1), *[0] * (3 - nifti.ndim), 1]
        assert np.abs(np.asarray(image.affine)[:3, 3] - corner[:3]).max() < 1e-3
    assert len({pydicom.dcmread(output / record["dicom_seg"]).StudyInstanceUID for record in records}) == 4
    assert len({pydicom.dcmread(output / record["dicom_seg"]).PatientID for record in records}) == len(
        {record["patient"] for record in records}
    )


def test_dicom_goes_in_and_refers_to_where_it_came_from(trained_bundle, masks, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert generate(trained_bundle, masks, first, "--format", "dicom") == 0
    segs = tmp_path / "segs"
    segs.mkdir()
    for record in samples(first):
        name = Path(record["image"]).name.removesuffix(".nii.gz")
        shutil.copy(first / record["dicom_seg"], segs / f"{name}.dcm")
    assert generate(trained_bundle, segs, second, "--format", "dicom") == 0
    for before, after in zip(samples(first), samples(second), strict=True):
        a, b = (nib.load(root / record["label"]) for root, record in ((first, before), (second, after)))
        assert np.array_equal(np.asarray(a.dataobj), np.asarray(b.dataobj))
        assert np.allclose(a.affine, b.affine, atol=1e-3)
        source = pydicom.dcmread(segs / f"{after['mask']}.dcm")
        image = pydicom.dcmread(next((second / after["dicom_series"]).iterdir()))
        assert [item.ReferencedSOPInstanceUID for item in image.SourceImageSequence] == [source.SOPInstanceUID]
        assert image.StudyInstanceUID != source.StudyInstanceUID
    # one file, and the same images as of the folder's first
    assert generate(trained_bundle, next(iter(sorted(segs.iterdir()))), tmp_path / "one") == 0
    assert "dicom_seg" not in samples(tmp_path / "one")[0]
    x, y = (nib.load(root / samples(root)[0]["image"]).get_fdata() for root in (second, tmp_path / "one"))
    assert np.allclose(x, y, atol=1e-2)


@pytest.mark.slow
def test_killed_between_series_and_segmentation_it_goes_on(trained_bundle, masks, tmp_path):
    whole, output = tmp_path / "whole", tmp_path / "s"
    assert generate(trained_bundle, masks, whole, "--format", "dicom", "--batch-size", "1") == 0
    arguments = [f"--bundle={trained_bundle.root}", f"--masks={masks}", f"--output={output}", "--format=dicom"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "generate", *arguments, "--batch-size=1"], capture_output=True, timeout=900
    )
    assert done.returncode == -signal.SIGKILL
    assert len(list((output / "dicom").glob(".tmp-*/image/IM*.dcm"))) == 1, "the series was written, its labels not"
    assert len(list((output / "dicom").glob("*/seg/seg.dcm"))) == 1
    assert generate(trained_bundle, masks, output, "--format", "dicom", "--batch-size", "1") == 0
    assert not list((output / "dicom").glob(".tmp-*"))
    assert uids(output) == uids(whole), "the same sample is the same object, however often the run was stopped"
    (output / samples(output)[0]["dicom_seg"]).unlink()
    assert generate(trained_bundle, masks, output, "--format", "dicom") == 0
    assert uids(output) == uids(whole)


def test_other_images_are_other_objects(trained_bundle, masks, tmp_path):
    """What differs in anything that shapes an image, or in whose it is, shares no UID."""
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for file in masks.iterdir():
        shutil.copy(file, renamed / f"x{file.name}")
    images = trained_bundle.phantoms / "imagesTr"
    runs: dict[str, set[str]] = {}
    for name, given, more in (
        ("plain", masks, []),
        ("renamed", renamed, []),
        ("twice", masks, ["--per-mask=2"]),
        ("dropped", masks, ["--drop-class", "liver"]),
        ("like", masks, [f"--like={images}", "--similarity=0.5"]),
        ("more like", masks, [f"--like={images}", "--similarity=0.9"]),
    ):
        assert generate(trained_bundle, given, tmp_path / "out" / name, "--format", "dicom", *more) == 0
        runs[name] = all_uids(tmp_path / "out" / name)
    for one, other in itertools.combinations(runs, 2):
        assert not runs[one] & runs[other], f"{one} and {other}"


def test_an_image_of_other_pixels_is_another_object(load, masks, tmp_path):
    """The same run on another processor, say, whose last digits differ."""
    cases, generator = collect_masks(masks), load()
    sample = generator.sample

    def nearly(*args, **kwargs):
        return sample(*args, **kwargs) + 3.0

    for name in ("one", "same", "other"):
        if name == "other":
            generator.sample = nearly
        generate_dataset(generator, cases, tmp_path / name, dicom=DicomOutput("CT"), progress=False)
    assert all_uids(tmp_path / "one") == all_uids(tmp_path / "same")
    assert not all_uids(tmp_path / "one") & all_uids(tmp_path / "other")


def test_names_of_classes_that_dicom_cannot_hold_are_refused_before_anything_is_made(load):
    generator = load()
    generator.classes = {"x" * 65: 1}
    with pytest.raises(ValueError, match="65 letters, of which DICOM holds 64"):
        DicomOutput("CT").header(generator)


def test_a_patients_name_does_not_make_the_id(load, masks, tmp_path):
    cases = collect_masks(masks)
    names = {"own": ["p1", "p2"], "others": ["Doe^John", "Roe^Jane"], "one": ["Doe^John"] * 2}
    for name, patients in names.items():
        given = [replace(case, patient=patient) for case, patient in zip(cases, patients, strict=True)]
        generate_dataset(load(), given, tmp_path / name, per_mask=2, dicom=DicomOutput("CT"), progress=False)
    ids = {name: patient_ids(tmp_path / name) for name in names}
    assert ids["own"] == ids["others"], "it is a number, which tells nothing of the name"
    assert [int(one.split("-")[1]) for one in ids["own"]] == [1, 1, 2, 2]
    assert [int(one.split("-")[1]) for one in ids["one"]] == [1, 1, 1, 1], "a patient has one, whatever the masks"
    assert not all_uids(tmp_path / "own") & all_uids(tmp_path / "others"), "whose it is makes it another object"


def test_modality_is_the_bundles_or_the_users(trained_bundle, masks, tmp_path, capsys):
    assert [default_modality(name) for name in ("ct_organ", "breast_mri", "knee_drr", "chest_xray")] == [
        "CT",
        "MR",
        "DX",
        "DX",
    ]
    assert generate(trained_bundle, masks, tmp_path / "mr", "--format", "dicom", "--modality", "MR") == 0
    assert pydicom.dcmread(next((tmp_path / "mr" / "dicom").rglob("IM0001.dcm"))).Modality == "MR"
    assert generate(trained_bundle, masks, tmp_path / "s", "--modality", "MR") == 2
    assert "--modality needs --format dicom: give it, too" in error_of(capsys)


def test_another_format_is_another_data_set(trained_bundle, masks, tmp_path, capsys):
    assert generate(trained_bundle, masks, tmp_path / "s") == 0
    assert generate(trained_bundle, masks, tmp_path / "s", "--format", "dicom") == 2
    assert "another dicom" in error_of(capsys)
    assert generate(trained_bundle, masks, tmp_path / "s", "--format", "dicom", "--overwrite") == 0
    assert generate(trained_bundle, masks, tmp_path / "s", "--overwrite") == 0
    assert not (tmp_path / "s" / "dicom").exists()


def test_segmentations_that_do_not_fit_are_named(trained_bundle, masks, tmp_path, capsys, write_label_seg):
    other = write_label_seg(tmp_path / "other.dcm", {"antenna": 1})
    assert generate(trained_bundle, other, tmp_path / "s") == 2
    error = error_of(capsys)
    assert str(other) in error
    assert "unknown segments 'antenna'" in error
    images = other.parent / "series"
    assert generate(trained_bundle, images, tmp_path / "s") == 2
    assert f"{images} holds no DICOM segmentation" in error_of(capsys)
    sound = write_label_seg(tmp_path / "sound.dcm", {"liver": 1})
    assert generate(trained_bundle, sound, sound.parent, "--format", "dicom") == 2
    assert "lies in" in error_of(capsys)


def test_segments_are_given_classes_as_for_prepare(trained_bundle, tmp_path, capsys):
    labels = np.zeros((16, 16), dtype=np.uint8)
    labels[2:6, 2:9], labels[8:12, 2:5], labels[8:12, 7:10], labels[13:15, 2:6] = 1, 2, 3, 4
    affine = np.diag([2.0, 2.0, 2.5, 1.0])
    names = {"Leber": 1, "Left Kidney": 2, "Right Kidney": 3, "antenna": 4}
    _, seg = write_dicom_pair(100.0 * labels, labels, affine, names, tmp_path / "scan", "CT")
    assert generate(trained_bundle, seg, tmp_path / "s") == 2
    error = error_of(capsys)
    for option in ("--segments", "--drop-other-labels"):
        assert option in error
    segments = ["--segments", "liver=Leber", "kidneys=Left Kidney,Right Kidney"]
    assert generate(trained_bundle, seg, tmp_path / "s", *segments, "--drop-other-labels") == 0
    written = np.asarray(nib.load(tmp_path / "s" / samples(tmp_path / "s")[0]["label"]).dataobj)
    classes = json.loads((tmp_path / "s" / "dataset.json").read_text())["labels"]
    ids = {name: int(index) for index, name in classes.items()}
    assert {int(value): int((written == value).sum()) for value in np.unique(written) if value} == {
        ids["liver"]: 28,
        ids["kidneys"]: 24,
    }


def test_segments_that_overlap_are_decided_by_precedence(trained_bundle, tmp_path, capsys):
    labels = np.zeros((16, 16), dtype=np.uint8)
    labels[2:10, 2:10] = 1
    affine = np.diag([2.0, 2.0, 2.5, 1.0])
    files, seg = write_dicom_pair(100.0 * labels, labels, affine, {"liver": 1, "spleen": 2}, tmp_path / "scan", "CT")
    both = pydicom.dcmread(seg)
    frames = np.stack([labels.T, np.roll(labels.T, 4, axis=1)])
    images = [pydicom.dcmread(file) for file in files]
    again = highdicom.seg.Segmentation(
        images, frames.transpose(1, 2, 0)[None], "BINARY",
        [highdicom.seg.SegmentDescription.from_dataset(item) for item in both.SegmentSequence],
        both.SeriesInstanceUID, 2, both.SOPInstanceUID, 1, "m", "m", "1", "1",
    )  # fmt: skip
    again.save_as(tmp_path / "overlap.dcm")
    assert generate(trained_bundle, tmp_path / "overlap.dcm", tmp_path / "s") == 2
    assert "--precedence" in error_of(capsys)
    order = ["--precedence", "spleen", "liver"]
    assert generate(trained_bundle, tmp_path / "overlap.dcm", tmp_path / "s", *order) == 0
    written = np.asarray(nib.load(tmp_path / "s" / samples(tmp_path / "s")[0]["label"]).dataobj)
    assert sorted(int((written == value).sum()) for value in np.unique(written) if value) == [32, 64]
    assert generate(trained_bundle, trained_bundle.phantoms, tmp_path / "t", *order) == 2
    assert "--segments, --precedence and --drop-other-labels need masks in DICOM" in error_of(capsys)


def test_nothing_of_a_patient_reaches_what_is_written(trained_bundle, tmp_path, write_label_seg):
    """But for the file's own name and the UIDs that the objects refer to."""
    seg = write_label_seg(tmp_path / "scan.dcm", {"liver": 1})
    dataset = pydicom.dcmread(seg)
    dataset.PatientName, dataset.PatientID, dataset.OtherPatientIDs = "Doe^John", "PID4711", ["OPID4712"]
    dataset.PatientComments, dataset.StudyDescription, dataset.AccessionNumber = "CMT4713", "DSC4714", "ACC4715"
    dataset.ReferringPhysicianName, dataset.InstitutionName, dataset.StudyDate = "Roe^Jane", "INST4716", "20071231"
    dataset.OtherPatientNames = "Doe^Johnny"
    dataset.private_block(0x0011, "PRIV4717", create=True).add_new(1, "LO", "PRV4718")
    dataset.save_as(seg)
    told = [b"Doe", b"John", b"Roe", b"20071231", b"PID4711", b"OPID4712", b"CMT4713", b"DSC4714", b"ACC4715"]
    told += [b"INST4716", b"PRIV4717", b"PRV4718"]
    assert all(value in seg.read_bytes() for value in told)
    output = tmp_path / "s"
    assert generate(trained_bundle, seg, output, "--format", "dicom", "--per-mask", "2") == 0
    files = [file for file in output.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} == {".dcm", ".json", ".gz", ""}
    for file in files:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        if file.suffix == ".dcm":  # but for digits in UIDs and weights' hashes
            elements = [e for e in pydicom.dcmread(file).iterall() if e.VR not in ("UI", "OB", "OW")]
            content = "\n".join(str(e.value) for e in elements).encode()
        else:
            content = re.sub(rb"[0-9a-f]{64}", b"", content)
        for value in told:
            assert value not in content, f"{value!r} in {file}"
    assert dataset.SOPInstanceUID in {
        item.ReferencedSOPInstanceUID for item in pydicom.dcmread(next(output.rglob("IM0001.dcm"))).SourceImageSequence
    }


@pytest.mark.slow
def test_a_run_of_dicom_masks_that_was_killed_goes_on(trained_bundle, tmp_path, write_label_seg):
    """The label maps are made of the segmentations anew, and are the same."""
    seg = write_label_seg(tmp_path / "scan.dcm", {"Liver": 1}, shape=(16, 16, 4))
    whole, output = tmp_path / "whole", tmp_path / "s"
    assert generate(trained_bundle, seg, whole, "--format", "dicom", "--batch-size", "1") == 0
    arguments = [f"--bundle={trained_bundle.root}", f"--masks={seg}", f"--output={output}", "--format=dicom"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "generate", *arguments, "--batch-size=1"], capture_output=True, timeout=900
    )
    assert done.returncode == -signal.SIGKILL
    assert len(list((output / "dicom").glob("*/seg/seg.dcm"))) == 1
    assert generate(trained_bundle, seg, output, "--format", "dicom", "--batch-size", "1") == 0
    assert uids(output) == uids(whole)


def test_slices_of_a_volume_are_masks_of_a_slice_generator(trained_bundle, tmp_path, write_label_seg):
    seg = write_label_seg(tmp_path / "scan.dcm", {"Liver": 1}, shape=(16, 16, 4))
    assert generate(trained_bundle, seg, tmp_path / "s", "--format", "dicom") == 0
    records = samples(tmp_path / "s")
    assert [record["mask"] for record in records] == ["scan_slice000", "scan_slice001"], "those of the segmentation"
    assert {record["patient"] for record in records} == {"scan"}
    for record in records:
        for kind in ("image", "label"):
            assert sum(n > 1 for n in nib.load(tmp_path / "s" / record[kind]).shape) == 2, "a slice, and no volume"
    heights = [float(read_dicom_series(tmp_path / "s" / r["dicom_series"]).affine[2, 3]) for r in records]
    assert heights == pytest.approx([102.5, 105.0])
