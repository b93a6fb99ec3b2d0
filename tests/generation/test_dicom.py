"""`generate` with DICOM on both ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from monai_segdiff.__main__ import main
from monai_segdiff.data import read_dicom_seg, read_dicom_series
from monai_segdiff.generation import default_modality

pytest.importorskip("highdicom")

KILLED = """
import os, signal, sys
from monai_segdiff.__main__ import main
from monai_segdiff.data import dicom_write_seg
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


def test_killed_between_series_and_segmentation_it_goes_on(trained_bundle, masks, tmp_path):
    whole, output = tmp_path / "whole", tmp_path / "s"
    assert generate(trained_bundle, masks, whole, "--format", "dicom", "--batch-size", "1") == 0
    arguments = [f"--bundle={trained_bundle.root}", f"--masks={masks}", f"--output={output}", "--format=dicom"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "generate", *arguments, "--batch-size=1"], capture_output=True, timeout=300
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
    assert "give --format dicom, too" in error_of(capsys)


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
    large = write_label_seg(tmp_path / "large.dcm", {"liver": 1}, shape=(20, 16))
    assert generate(trained_bundle, large, tmp_path / "s") == 2
    error = error_of(capsys)
    assert f"{large} has size (20, 16) where 2D of size (16, 16)" in error
    images = large.parent / "series"
    assert generate(trained_bundle, images, tmp_path / "s") == 2
    assert f"{images} holds no DICOM segmentation" in error_of(capsys)
    assert generate(trained_bundle, large, large.parent, "--format", "dicom") == 2
    assert "lies in" in error_of(capsys)


def test_slices_of_a_volume_are_masks_of_a_slice_generator(trained_bundle, tmp_path, write_label_seg):
    seg = write_label_seg(tmp_path / "scan.dcm", {"Liver": 1}, shape=(16, 16, 4))
    assert generate(trained_bundle, seg, tmp_path / "s", "--format", "dicom") == 0
    records = samples(tmp_path / "s")
    assert [record["mask"] for record in records] == ["scan_slice000", "scan_slice001"], "those of the segmentation"
    assert {record["patient"] for record in records} == {"scan"}
    heights = [float(read_dicom_series(tmp_path / "s" / r["dicom_series"]).affine[2, 3]) for r in records]
    assert heights == pytest.approx([102.5, 105.0])
