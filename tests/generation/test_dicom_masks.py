"""Masks to generate for, from DICOM segmentations."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from monai_segdiff.generation import holds_dicom_masks, open_dicom_masks

pytest.importorskip("highdicom")

GENERATOR = SimpleNamespace(classes={"liver": 1, "spleen": [2, 3]}, image_size=(16, 16))


@pytest.fixture
def seg(write_label_seg, tmp_path):
    return write_label_seg(tmp_path / "made" / "seg.dcm", {"Liver": 1, "Spleen": 2})


def names_of(path, **options) -> list[str]:
    with open_dicom_masks(path, GENERATOR, progress=False, **options) as (cases, sources):
        assert sorted(sources) == sorted(case.id for case in cases)
        return [case.id for case in cases]


def test_files_named_by_uid_keep_the_whole_of_it(seg, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("1.2.840.7", "1.2.840.8", "a.DCM", "b.seg.dcm"):
        shutil.copy(seg, tmp_path / "in" / name)
    assert holds_dicom_masks(tmp_path / "in")
    assert names_of(tmp_path / "in") == ["1.2.840.7", "1.2.840.8", "a", "b.seg"]


def test_a_very_long_name_is_cut_to_one_that_files_can_have(seg, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(seg, tmp_path / "in" / f"{'x' * 240}.dcm")
    shutil.copy(seg, tmp_path / "in" / "._y.dcm")
    (name,) = names_of(tmp_path / "in")
    assert name.startswith("xxx")
    assert len(name) < 200, "what is made of it gets more letters, and file systems take 255"


def test_files_of_one_name_are_named_by_their_folders(seg, tmp_path):
    for folder in ("x", "y"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        shutil.copy(seg, tmp_path / "in" / folder / "seg.dcm")
    assert names_of(tmp_path / "in") == ["x_seg", "y_seg"]
    shutil.copy(seg, tmp_path / "in" / "x_seg.dcm")
    with pytest.raises(ValueError, match=r"in/x/seg\.dcm and .*|in/x_seg\.dcm and .*both give a mask named 'x_seg'"):
        names_of(tmp_path / "in")


def test_segments_are_named_left_out_and_ordered_by_the_user(write_label_seg, tmp_path):
    seg = write_label_seg(tmp_path / "seg.dcm", {"LiverNet": 1, "Couch": 2})
    with pytest.raises(ValueError, match="unknown segments 'LiverNet', 'Couch'"):
        names_of(seg)
    with open_dicom_masks(
        seg, GENERATOR, segments={"spleen": ["LiverNet"]}, drop_others=True, precedence=["liver"], progress=False
    ) as (cases, _):
        labels = np.asarray(nib.load(cases[0].label).dataobj)
    assert np.unique(labels).tolist() == [0, 2]
    with pytest.raises(ValueError, match="no segment is named 'LiverNte'"):
        names_of(seg, segments={"spleen": ["LiverNte"]})


def test_reading_shows_a_progress_bar(seg, capsys):
    with open_dicom_masks(seg, GENERATOR):
        pass
    assert "reading segmentations" in capsys.readouterr().err
