from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.transforms import LoadImage

from monai_segdiff.data.dicom.series import is_dicom, read_ct_series, read_dicom_series

HU = (np.arange(6 * 5 * 4).reshape(6, 5, 4) * 10 - 1000).astype(np.float32)  # columns, rows, slices; even numbers


def read(folder: Path):
    return read_ct_series([file for file in folder.rglob("*") if file.is_file() and is_dicom(file)], folder)


def edit(file: Path, **attributes) -> None:
    dataset = pydicom.dcmread(file)
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.save_as(file)


def test_voxels_are_hu_and_lie_where_the_slices_say(tmp_path, write_series):
    write_series(tmp_path / "s", HU, InstanceNumber=1)  # instance numbers say nothing about the order
    volume = read(tmp_path / "s")
    assert volume.dtype == torch.float32
    assert torch.equal(volume.as_tensor()[0], torch.from_numpy(HU))
    # the patient coordinates of DICOM are LPS: both horizontal axes change their sign
    expected = [[-0.6, 0, 0, 10], [0, -0.8, 0, 20], [0, 0, 1.5, 30], [0, 0, 0, 1]]
    assert np.allclose(volume.affine, expected)
    assert volume.meta["filename_or_obj"] == str(tmp_path / "s")


def test_slices_from_head_to_feet_and_oblique_ones_keep_their_world(tmp_path, write_series):
    turn = np.array([[0.8, 0.6, 0], [-0.48, 0.64, 0.6], [0.36, -0.48, 0.8]])  # rows: row, column, normal directions
    write_series(tmp_path / "s", HU, orientation=turn[:2].ravel(), step=-2.0 * turn[2])
    volume = read(tmp_path / "s")
    index = np.array([3, 2, 1])
    world = np.array([-10.0, -20.0, 30.0]) + 3 * 0.6 * turn[0] + 2 * 0.8 * turn[1] - 1 * 2.0 * turn[2]
    inverse = np.linalg.inv(np.asarray(volume.affine)) @ [-world[0], -world[1], world[2], 1]
    at = tuple(np.round(inverse[:3]).astype(int))
    assert np.allclose(inverse[:3], at, atol=1e-5)
    assert volume[0][at] == HU[tuple(index)]


def test_monai_agrees_where_instance_numbers_follow_the_slices(tmp_path, write_series):
    for number, file in enumerate(write_series(tmp_path / "s", HU)):
        edit(file, InstanceNumber=number + 1)
    ours = read(tmp_path / "s")
    theirs = LoadImage(reader="PydicomReader", image_only=True, ensure_channel_first=True)(tmp_path / "s")
    assert torch.equal(ours.as_tensor(), theirs.as_tensor())
    assert np.allclose(ours.affine, theirs.affine, atol=1e-5)


def test_localizers_and_objects_that_are_no_images_are_passed_over(tmp_path, write_series):
    write_series(tmp_path / "s" / "scan", HU)
    write_series(tmp_path / "s" / "scout", HU[:, :, :1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(tmp_path / "s" / "seg", HU[:, :, :2], Modality="SEG")
    assert torch.equal(read(tmp_path / "s").as_tensor()[0], torch.from_numpy(HU))


def test_files_without_series_uid_count_as_one_series(tmp_path, write_series):
    write_series(tmp_path / "s", HU, SeriesInstanceUID="")
    assert read(tmp_path / "s").shape == (1, 6, 5, 4)


def test_several_series_are_named(tmp_path, write_series):
    write_series(tmp_path / "s", HU, SeriesInstanceUID="1.2.3", SeriesDescription="bone kernel")
    for file in write_series(tmp_path / "other", HU, SeriesInstanceUID="1.2.4", SeriesDescription="soft kernel"):
        file.rename(tmp_path / "s" / f"other_{file.name}")
    with pytest.raises(
        ValueError, match=r"2 CT series: 1\.2\.\d \(\w+ kernel, 4 files.*1\.2\.\d \(\w+ kernel.*keep the one"
    ):
        read(tmp_path / "s")


def test_how_slices_are_shown_says_nothing_about_their_unit(tmp_path, write_series):
    for modality in ("CT", "MR"):
        write_series(tmp_path / modality, HU, Modality=modality, PhotometricInterpretation="MONOCHROME1")
        assert torch.equal(read_dicom_series(tmp_path / modality).as_tensor()[0], torch.from_numpy(HU))


@pytest.mark.parametrize("signed", [0, 1])
def test_radiographs_shown_white_where_low_are_turned_around(tmp_path, write_series, signed):
    shown = {"PhotometricInterpretation": "MONOCHROME1", "PixelRepresentation": signed, "Modality": "CR"}
    write_series(tmp_path / "s", HU[:, :, :1], **shown, RescaleSlope=3.0, RescaleIntercept=7.0)
    stored = (HU[:, :, 0] + 1024) / 2
    lowest, highest = (-(2**15), 2**15 - 1) if signed else (0, 2**16 - 1)
    # The same range of rescaled values, from its other end.
    expected = (3 * lowest + 7) + (3 * highest + 7) - (3 * stored + 7)
    assert np.allclose(read_dicom_series(tmp_path / "s").numpy()[0], expected)


def test_real_world_values_are_those_of_the_stored_ones(tmp_path, write_series):
    mapping = pydicom.Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.5, 7.0
    for shown in ("MONOCHROME1", "MONOCHROME2"):
        folder = tmp_path / shown
        write_series(
            folder,
            HU[:, :, :1],
            Modality="DX",
            PhotometricInterpretation=shown,
            RealWorldValueMappingSequence=[mapping],
        )
        assert np.allclose(read_dicom_series(folder).numpy()[0], 0.5 * (HU[:, :, 0] + 1024) / 2 + 7)


def _beside_the_others(files: list[Path]) -> None:
    position = list(pydicom.dcmread(files[1]).ImagePositionPatient)
    edit(files[1], ImagePositionPatient=[position[0] + 40, *position[1:]])


def _short_orientation(files: list[Path]) -> None:
    for file in files:
        edit(file, ImageOrientationPatient=[1, 0, 0, 0, 1])


def _same_place(files: list[Path]) -> None:
    edit(files[2], ImagePositionPatient=list(pydicom.dcmread(files[1]).ImagePositionPatient))


BROKEN: dict[str, tuple[Callable[[list[Path]], object], str]] = {
    "missing slice": (lambda files: files[1].unlink(), r"are 3 mm apart where the other slices are 1\.5 mm"),
    "same place": (_same_place, r"IM99 and .*IM98 lie at the same position|IM98 and .*IM99 lie at the same position"),
    "another size": (lambda files: edit(files[3], PixelSpacing=[1.0, 1.0]), r"IM97 has PixelSpacing"),
    "no position": (lambda files: edit(files[3], ImagePositionPatient=None), r"IM97 has no ImagePositionPatient"),
    "short position": (lambda files: edit(files[3], ImagePositionPatient=[1, 2]), r"IM97 has ImagePositionPatient \[1"),
    "short orientation": (_short_orientation, r"IM\d+ has ImageOrientationPatient \[1.*not 6 numbers"),
    "no size": (lambda files: edit(files[3], PixelSpacing=[0, 0]), r"IM97 has PixelSpacing \[0.*no size"),
    "beside the others": (_beside_the_others, r"IM99 does not lie in a row with the other slices \(off by 40 mm\)"),
    "no HU": (lambda files: edit(files[3], RescaleSlope=None), r"IM97 has no RescaleSlope"),
    "not CT": (lambda files: [edit(file, Modality="MR") for file in files], r"no CT images, but 4 MR"),
    "multi-frame": (lambda files: edit(files[0], NumberOfFrames=2), r"IM100 is a multi-frame object"),
    "one slice": (lambda files: [file.unlink() for file in files[1:]], r"IM100 is a single slice"),
    "torn": (lambda files: files[0].write_bytes(files[0].read_bytes()[:-20]), r"IM100 cannot be decoded"),
    "no DICOM": (lambda files: files[0].with_suffix(".dcm").write_text("hello"), r"IM100\.dcm cannot be read as DICOM"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_doubtful_series_are_refused_by_file(kind, tmp_path, write_series):
    spoil, message = BROKEN[kind]
    three_apart = np.repeat(HU, 2, axis=2)[:, :, :6] if kind == "missing slice" else HU
    spoil(write_series(tmp_path / "s", three_apart))
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path / "s")
    assert str(tmp_path / "s") in str(caught.value)


def test_a_decoder_that_is_missing_is_named(tmp_path, write_series):
    files = write_series(tmp_path / "s", HU)
    dataset = pydicom.dcmread(files[0])
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"  # JPEG lossless
    dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
    dataset.save_as(files[0])
    with pytest.raises(ValueError, match=r"IM100 cannot be decoded .*pip install pylibjpeg-libjpeg"):
        read(tmp_path / "s")


def test_without_pydicom_the_extra_is_named(tmp_path, write_series, monkeypatch):
    write_series(tmp_path / "s", HU)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'monai-segdiff[dicom]'")):
        read(tmp_path / "s")


@pytest.mark.data
def test_compressed_scan_with_blank_uids(segdiff_data):
    folder = segdiff_data / "ct/totalseg_dicom/dicom"
    ours = read(folder)
    theirs = LoadImage(reader="PydicomReader", image_only=True, ensure_channel_first=True)(folder)
    # its instance numbers run from head to feet, ours from feet to head
    assert torch.equal(ours.as_tensor(), theirs.as_tensor().flip(-1))
    assert np.allclose(np.diag(ours.affine), [-0.9765625, -0.9765625, 2, 1])
    assert float(ours.affine[2, 3]) == -804.5
    assert float(ours.min()) == -1024


@pytest.mark.data
def test_a_folder_with_structure_sets(segdiff_data):
    assert read(segdiff_data / "dicom_io/rt-utils").shape == (1, 512, 512, 2)
