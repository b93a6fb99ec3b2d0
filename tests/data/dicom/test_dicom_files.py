"""DICOM files found and opened: what is no part of a study, what is damaged, and what would fill the memory."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from monai_segdiff.data import dicom_files, read_dicom_series
from monai_segdiff.data.dicom.files import naming_dicom, read_dataset_of, read_headers
from monai_segdiff.data.dicom.studies import find_studies
from monai_segdiff.errors import UnreadableFileError

HU = (np.arange(6 * 5 * 4).reshape(6, 5, 4) * 10 - 1000).astype(np.float32)


def deflate(file: Path) -> Path:
    """Store a file deflated."""
    dataset = pydicom.dcmread(file)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(file)
    return file


def test_hidden_files_and_tables_of_contents_are_no_part_of_a_study(tmp_path, write_series):
    files = write_series(tmp_path / "s", HU)
    (tmp_path / "s" / "._IM97.dcm").write_bytes(b"\x00\x05\x16\x07 Mac OS X")
    (tmp_path / "s" / ".cache").mkdir()
    (tmp_path / "s" / ".cache" / "IM1.dcm").write_bytes(files[0].read_bytes())
    (tmp_path / "s" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert dicom_files(tmp_path / "s") == sorted(files)
    assert read_dicom_series(tmp_path / "s").shape == (1, 6, 5, 4)


def test_a_disc_with_a_table_of_contents_holds_several_studies(tmp_path, write_series):
    for name in ("a", "b"):
        write_series(tmp_path / "disc" / name, HU)
    (tmp_path / "disc" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(ValueError, match=r"disc/a holds images, but no segmentation"):
        find_studies(tmp_path / "disc")


@pytest.mark.parametrize("content", [b"", b"hello", bytes(128) + b"DICM", bytes(128) + b"DICM" + b"\xff" * 90])
def test_a_file_that_only_has_the_name_is_refused(content, tmp_path, write_series):
    write_series(tmp_path / "s", HU)
    file = tmp_path / "s" / "IM50.dcm"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"IM50\.dcm|holds no CT images") as caught:
        read_dicom_series(file)
    assert "\n" not in str(caught.value)
    assert "force" not in str(caught.value), "that is Python's word for it"


def test_an_element_that_the_file_ends_in_is_no_shorter_one(tmp_path, write_series):
    """pydicom takes what is there, and contours or references would be fewer than were written."""
    (file,) = write_series(tmp_path / "s", HU[:, :, :1])
    dataset = pydicom.dcmread(file)
    del dataset.PixelData
    item = pydicom.Dataset()
    item.CodeMeaning = "x" * 40
    dataset.add_new(0x00400555, "SQ", [item] * 5)
    dataset.save_as(file)
    file.write_bytes(file.read_bytes()[:-60])
    with pytest.raises(
        ValueError, match=r"IM100 cannot be read as DICOM \(it ends in the midst of AcquisitionContextSe"
    ):
        read_dataset_of(file)


def test_deflated_files_are_read(tmp_path, write_series):
    files = write_series(tmp_path / "s", HU)
    expected = read_dicom_series(tmp_path / "s")
    for file in files:
        deflate(file)
    assert np.array_equal(read_dicom_series(tmp_path / "s").numpy(), expected.numpy())


def test_what_inflates_beyond_measure_is_refused(tmp_path, write_series):
    (file,) = write_series(tmp_path / "s", HU[:, :, :1])
    meta = pydicom.dcmread(deflate(file)).file_meta
    compress = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    with open(file, "wb") as stream:
        stream.write(bytes(128) + b"DICM")
        pydicom.filewriter.write_file_meta_info(stream, meta)
        stream.write(b"".join(compress.compress(bytes(2**20)) for _ in range(200)) + compress.flush())
    assert file.stat().st_size < 2**18
    for read in (read_dataset_of, lambda file: read_headers([file])):
        with pytest.raises(ValueError, match=r"IM100 cannot be read as DICOM \(its \d+ bytes inflate to more than 128"):
            read(file)


def test_lengths_that_no_file_has_take_no_memory(tmp_path, write_series):
    (file,) = write_series(tmp_path / "s", HU[:, :, :1], PatientComments="abcd")
    content = file.read_bytes()
    at = content.index(b"LT\x04\x00abcd")
    file.write_bytes(content[:at] + b"OB\x00\x00" + (0xFFFFFFF0).to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(ValueError, match=r"IM100 cannot be read as DICOM \(it ends in the midst of PatientComments"):
        read_dataset_of(file)


def test_sequences_nested_very_deeply_are_refused(tmp_path, write_series):
    (file,) = write_series(tmp_path / "s", HU[:, :, :1])
    meta = pydicom.dcmread(file).file_meta
    with open(file, "wb") as stream:
        stream.write(bytes(128) + b"DICM")
        pydicom.filewriter.write_file_meta_info(stream, meta)
        stream.write(b"\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000)
    for read in (read_dataset_of, lambda file: read_headers([file], ["Modality"])):
        with pytest.raises(ValueError, match=r"IM100 cannot be read as DICOM \(.+\); copy it again$"):
            read(file)


def test_big_endian_files_hold_the_same_values(tmp_path, write_series):
    files = write_series(tmp_path / "s", HU)
    expected = read_dicom_series(tmp_path / "s")
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        dataset["PixelData"].VR = "OW"
        pydicom.dcmwrite(file, dataset)
    assert np.array_equal(read_dicom_series(tmp_path / "s").numpy(), expected.numpy())


def test_whatever_is_raised_names_what_was_read(tmp_path):
    for error in (KeyError("Rows"), RecursionError(), MemoryError(), ZeroDivisionError("by zero"), ValueError("bad")):
        message = r"^x\.dcm cannot be read as DICOM \(.+\); export it again$"
        with pytest.raises(UnreadableFileError, match=message), naming_dicom("x.dcm"):
            raise error
    with pytest.raises(ValueError, match=r"^x\.dcm has no rows$"), naming_dicom("x.dcm"):
        raise ValueError("x.dcm has no rows")
    with pytest.raises(ImportError, match="an extra"), naming_dicom("x.dcm"):
        raise ImportError("an extra")
