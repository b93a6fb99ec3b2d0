"""Sizes that DICOM headers claim and their files cannot fill."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from monai_segdiff.__main__ import main
from monai_segdiff.data import read_dicom_seg, read_dicom_series, write_dicom_pair
from monai_segdiff.data.dicom.files import read_headers
from monai_segdiff.data.dicom.sizes import SIZES, check_claimed_sizes

pytest.importorskip("highdicom")

HU = (np.arange(6 * 5 * 4).reshape(6, 5, 4) * 10 - 1000).astype(np.float32)
LABELS = np.zeros((9, 8, 6), dtype=np.uint8)
LABELS[2:5, 1:4, 1:5] = 1
AFFINE = np.diag([-2.0, -2.0, 5.0, 1.0])


def change(file: Path, **attributes) -> None:
    dataset = pydicom.dcmread(file)
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.save_as(file)


def compress(file: Path, **attributes) -> None:
    dataset = pydicom.dcmread(file)
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(file)
    change(file, **attributes)


def refused(folder: Path, message: str) -> None:
    """Refused by name, before memory is taken."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            read_dicom_series(folder)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_pixels_that_are_not_there(tmp_path, write_series):
    files = write_series(tmp_path / "s", HU)
    for file in files:
        change(file, Rows=65535, Columns=65535)
    refused(tmp_path / "s", r"IM\d+ cannot be decoded: it has \d+ bytes, but speaks of 65535 x 65535 pixels")
    for file in files[1:]:
        change(file, Rows=5, Columns=6)
    refused(tmp_path / "s", r"IM100 cannot be decoded: it has \d+ bytes, but speaks of 65535 x 65535 pixels")


def test_compressed_pixels_that_no_file_of_the_size_holds(tmp_path, write_series):
    for file in write_series(tmp_path / "s", HU):
        compress(file)
    assert np.array_equal(read_dicom_series(tmp_path / "s").numpy()[0], HU)
    for file in (tmp_path / "s").iterdir():
        change(file, Rows=8192, Columns=8192)
    refused(
        tmp_path / "s", r"IM\d+ and 3 others \(.*/s\) cannot be decoded: of \d+ bytes in all they speak of 536870912"
    )


def test_empty_slices_compress_well(tmp_path, write_series):
    (file,) = write_series(tmp_path / "s", np.full((1024, 1024, 1), -1024, dtype=np.float32))
    compress(file)
    assert file.stat().st_size < 2**16
    assert read_dicom_series(file).unique().tolist() == [-1024]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"Rows": 0}, r"IM\d+ has Rows 0, which is no size"),
        ({"Rows": None}, r"IM\d+ has no Rows"),
        ({"Columns": [5, 6]}, r"IM\d+ has Columns .*5, 6.*, not one number"),
    ],
)
def test_sizes_that_are_none(attributes, message, tmp_path, write_series):
    for file in write_series(tmp_path / "s", HU):
        change(file, **attributes)
    with pytest.raises(ValueError, match=message):
        read_dicom_series(tmp_path / "s")


def test_more_pixels_than_are_told_of_are_no_smaller_image(tmp_path, write_series):
    for file in write_series(tmp_path / "s", HU):
        change(file, Rows=4)
    with pytest.raises(ValueError, match=r"IM\d+ cannot be decoded: it holds 12 bytes more than its 4 x 6 pixels"):
        read_dicom_series(tmp_path / "s")


@pytest.mark.parametrize("slices", [70_000, 10_000_000])
def test_a_segmentation_that_spreads_over_a_grid_beyond_memory(tmp_path, slices):
    _, file = write_dicom_pair(100.0 * LABELS, LABELS, AFFINE, {"liver": 1}, tmp_path / "s", "CT")
    dataset = pydicom.dcmread(file)
    position = dataset.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0]
    position.ImagePositionPatient = [*position.ImagePositionPatient[:2], 5 * slices]
    dataset.save_as(file)
    with pytest.raises(ValueError, match=r"seg\.dcm has \d+ bytes, but lies on a grid of \d+ x 8 x 9 voxels"):
        read_dicom_seg(file)


def test_headers_alone_tell(tmp_path, write_series):
    files = write_series(tmp_path / "s", HU)
    check_claimed_sizes(read_headers(files, SIZES), "s")
    change(files[0], BitsAllocated=64, Rows=2000, Columns=2000)
    with pytest.raises(ValueError, match=r"IM100 cannot be decoded: .* 2000 x 2000 pixels, which are 32000000"):
        check_claimed_sizes(read_headers(files, SIZES), "s")


def test_prepare_names_the_file(tmp_path, capsys):
    files, _ = write_dicom_pair(100.0 * LABELS, LABELS, AFFINE, {"liver": 1}, tmp_path / "in" / "s", "CT")
    for file in files:
        change(file, Rows=65535, Columns=65535)
    assert (
        main(["prepare", str(tmp_path / "in"), str(tmp_path / "out"), "--size", "32", "--fractions", "1", "0", "0"])
        == 2
    )
    assert "IM0001.dcm cannot be decoded" in capsys.readouterr().err.splitlines()[-1]
