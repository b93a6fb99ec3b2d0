from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from monai_segdiff.data import read_dicom_series, write_dicom_pair

LABELS = np.zeros((8, 9, 4), np.uint8)
LABELS[2:5, 2:5, 1:3] = 1
COLORS = ("red", "green", "blue")


def test_each_channel_is_a_series_of_one_study(tmp_path: Path) -> None:
    image = np.stack([np.arange(288).reshape(8, 9, 4) + 1000 * k for k in range(2)]).astype(np.float32)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    files, seg = write_dicom_pair(image, LABELS, affine, {"x": 1}, tmp_path / "a", "MR", channels=("T1", "T2"))
    series = [read_dicom_series(tmp_path / "a" / "image" / f"channel_{k}") for k in (1, 2)]
    assert [(float(one.min()), float(one.max())) for one in series] == [(0, 287), (1000, 1287)]
    headers = [pydicom.dcmread(one.meta["files"][0]) for one in series]
    assert [header.SeriesDescription.rpartition(" ")[2] for header in headers] == ["T1", "T2"]
    assert len({header.SeriesInstanceUID for header in headers}) == 2
    for shared in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert len({header[shared].value for header in headers}) == 1
    assert pydicom.dcmread(seg).ReferencedSeriesSequence[0].SeriesInstanceUID == headers[0].SeriesInstanceUID
    assert len(files) == 8


@pytest.mark.parametrize(
    ("modality", "kind"), [("ES", "VL Endoscopic Image Storage"), ("MR", "Secondary Capture Image Storage")]
)
def test_colors_are_one_object(tmp_path: Path, modality: str, kind: str) -> None:
    image = np.stack([np.full((8, 9), value) for value in (10, 100, 200)]).astype(np.float32)
    image[:, 0, 0] = 0  # the patient's left and front, or foot
    args = (image, LABELS[..., 1], np.eye(4), {"x": 1}, tmp_path / "a", modality)
    (file,), seg = write_dicom_pair(*args, channels=COLORS)
    picture = pydicom.dcmread(file)
    assert picture.SOPClassUID.name == kind
    assert picture.Modality == modality
    assert picture.SyntheticData == "YES"
    assert picture.pixel_array.shape == (9, 8, 3)
    assert picture.pixel_array[0, 0].tolist() == [10, 100, 200]
    assert picture.pixel_array[-1, -1].tolist() == [0, 0, 0]
    assert pydicom.dcmread(seg).Modality == "SEG"
    with pytest.raises(ValueError, match="colors go from 0 to 255"):
        write_dicom_pair(image * 2, *args[1:4], tmp_path / "b", modality, channels=COLORS)
