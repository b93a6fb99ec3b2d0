from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.firewall.headers import check_file, check_size

LABELS = np.zeros((6, 4), np.uint8)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 1)])
def test_label_maps_of_the_size_pass(kind: type, ending: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    file = tmp_path / f"a{ending}"
    nib.save(kind(LABELS.reshape(shape), np.eye(4)), file)
    check_size(file, (6, 4))
    with pytest.raises(RequestError, match=r"6x4.*--spatial-dims 2 --size 4 6"):
        check_size(file, (4, 6))


def test_big_endian_files_pass(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Image(LABELS.astype(">i2"), np.eye(4), header), tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == b"\0\0\x01\x5c"
    check_size(tmp_path / "a.nii", (6, 4))


def test_pictures_have_their_width_first(tmp_path: Path) -> None:
    Image.fromarray(LABELS.T).save(tmp_path / "a.png")
    check_size(tmp_path / "a.png", (6, 4))


def test_a_volume_is_no_slice(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((6, 4, 3), np.uint8), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(RequestError, match="6x4x3"):
        check_size(tmp_path / "a.nii", (6, 4))
    check_size(tmp_path / "a.nii", (6, 4, 3))


def test_data_that_unpack_to_much_are_not_unpacked(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((30000, 30000, 30000))
    file = tmp_path / "bomb.nii.gz"
    with gzip.open(file, "wb") as stream:
        stream.write(header.binaryblock + bytes(2**24))
    with pytest.raises(RequestError, match="30000x30000x30000"):
        check_size(file, (6, 4))


def test_a_header_that_goes_on_for_long_is_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(LABELS, np.eye(4)), tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[108:112] = np.float32(2**30).tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(RequestError, match="cannot be read"):
        check_size(tmp_path / "a.nii", (6, 4))


@pytest.mark.parametrize(
    "content",
    [b"", b"x" * 50, b"x" * 5000, gzip.compress(b"x" * 100), gzip.compress(bytes(600))[:30]],
    ids=["empty", "short", "long", "compressed", "cut off"],  # gzip writes the time: names would differ
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".png"])
def test_what_is_none_is_refused(content: bytes, ending: str, tmp_path: Path) -> None:
    (tmp_path / f"a{ending}").write_bytes(content)
    with pytest.raises(RequestError, match="cannot be read"):
        check_size(tmp_path / f"a{ending}", (6, 4))


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="must be one of"):
        check_size(tmp_path / "a.pt", (6, 4))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".png"])
def test_whole_files_pass(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{ending}"
    if ending == ".png":
        Image.fromarray(LABELS).save(file)
    else:
        nib.save(nib.Nifti1Image(LABELS, np.eye(4)), file)
    check_file(file, "label map")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".png"])
def test_files_that_are_cut_short_are_refused(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{ending}"
    noise = np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)
    if ending == ".png":
        Image.fromarray(noise).save(file)
    else:
        nib.save(nib.Nifti1Image(noise, np.eye(4)), file)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(RequestError, match="image cannot be read"):
        check_file(file, "image")


@pytest.mark.parametrize("ending", [".nii.gz", ".png"])
def test_damage_that_the_files_own_checksum_shows_is_refused(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{ending}"
    noise = np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)
    if ending == ".png":
        Image.fromarray(noise).save(file)
    else:
        nib.save(nib.Nifti1Image(noise, np.eye(4)), file)
    content = bytearray(file.read_bytes())
    content[-6 if ending == ".nii.gz" else -14] ^= 1  # within the checksum; of a picture, of its pixels
    file.write_bytes(content)
    with pytest.raises(RequestError, match="image cannot be read"):
        check_file(file, "image")


def test_a_header_that_asks_for_more_than_is_there_is_refused(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((1000, 1000, 900))
    for name, opened in (("a.nii", open), ("a.nii.gz", gzip.open)):
        with opened(tmp_path / name, "wb") as stream:
            stream.write(header.binaryblock + bytes(2**12))
        with pytest.raises(RequestError, match="image cannot be read"):
            check_file(tmp_path / name, "image")


def test_a_stream_that_does_not_end_is_refused(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((6, 4))
    header["vox_offset"] = 352
    with gzip.open(tmp_path / "a.nii.gz", "wb") as stream:
        stream.write(header.binaryblock + bytes(2**23))
    with pytest.raises(RequestError, match="image cannot be read"):
        check_file(tmp_path / "a.nii.gz", "image")


def test_a_file_of_too_many_voxels_is_not_unpacked(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((2048, 2048, 2048))
    with gzip.open(tmp_path / "bomb.nii.gz", "wb") as stream:
        stream.write(header.binaryblock + bytes(2**20))
    with pytest.raises(RequestError, match=r"2048x2048x2048.*1 GB"):
        check_file(tmp_path / "bomb.nii.gz", "image")


def test_a_picture_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    Image.fromarray(LABELS).save(tmp_path / "bomb.png")
    content = bytearray((tmp_path / "bomb.png").read_bytes())
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(content)
    for check in (lambda file: check_file(file, "label map"), lambda file: check_size(file, (6, 4))):
        with pytest.raises(RequestError, match="cannot be read"):
            check(tmp_path / "bomb.png")
