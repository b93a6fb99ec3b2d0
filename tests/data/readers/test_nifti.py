from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_segdiff.data import load_image, load_label_map
from monai_segdiff.data.nifti import save_nifti

RNG = np.random.default_rng(0)
PERMUTED = np.array([[0, -2.0, 0, 5], [0, 0, 3.0, 6], [-1.5, 0, 0, 7], [0, 0, 0, 1]])
OBLIQUE = np.array([[-1.9, 0.3, 0.1, 10], [0.2, 0.1, 3.0, -20], [0.3, -1.9, 0.2, 30], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1.0, -2, 3, 1]), PERMUTED, OBLIQUE])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_axes_run_right_anterior_superior_as_nibabel_orders_them(
    tmp_path: Path, affine: np.ndarray, suffix: str
) -> None:
    file = save_nifti(tmp_path / f"a.{suffix}", RNG.normal(size=(4, 5, 6)).astype(np.float32), affine)
    expected = nib.as_closest_canonical(nib.load(file))
    found = load_image(file)
    assert np.array_equal(found[0], expected.dataobj)
    assert np.allclose(found.affine, expected.affine)
    assert found.meta["filename_or_obj"] == str(file)


@pytest.mark.parametrize("affine", [np.diag([-1.0, -2, 3, 1]), PERMUTED, OBLIQUE])
def test_a_slice_lies_as_in_the_volume_of_that_slice(tmp_path: Path, affine: np.ndarray) -> None:
    plane = RNG.integers(0, 9, (4, 5)).astype(np.uint8)
    flat = load_label_map(save_nifti(tmp_path / "flat.nii.gz", plane, affine))
    volume = load_label_map(save_nifti(tmp_path / "volume.nii.gz", plane[..., None], affine))
    assert flat.ndim == 3
    assert torch.equal(flat.as_tensor().flatten(), volume.as_tensor().flatten())
    steps = np.asarray(flat.affine)[:3, :2]
    assert (steps[np.abs(steps).argmax(0), [0, 1]] > 0).all()


@pytest.mark.parametrize("kind", ["i2", "u2", "i4", "u4", "f4", "f8", "u8", "f2"])
def test_either_byte_order_is_the_same_image(tmp_path: Path, kind: str) -> None:
    values = RNG.integers(0, 100, (3, 4, 5))
    for order in "<>":
        stored = values.astype(order + ("f4" if kind == "f2" else kind))
        image = nib.Nifti1Image(stored, np.eye(4), nib.Nifti1Header(endianness=order), dtype=stored.dtype)
        nib.save(image, tmp_path / "a.nii.gz")
        assert np.array_equal(load_image(tmp_path / "a.nii.gz")[0].numpy(), values)


def test_a_scale_factor_makes_no_other_id(tmp_path: Path) -> None:
    file = save_nifti(tmp_path / "a.nii", (np.arange(27) % 4 * 100).astype(np.int16).reshape(3, 3, 3), np.eye(4))
    content = bytearray(file.read_bytes())
    content[112:120] = struct.pack("<ff", 0.01, 0.0)
    file.write_bytes(content)
    assert nib.load(file).get_fdata().max() != 3.0
    found = load_label_map(file)
    assert found.dtype == torch.uint8
    assert np.array_equal(found[0].numpy().ravel(), np.arange(27) % 4)
    assert load_image(file).max() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0, 255], torch.uint8), ([0, 256], torch.int32), ([-1, 3], torch.int32), ([2.0**40], torch.int64)],
)
def test_ids_have_the_smallest_type(tmp_path: Path, values: list, dtype: torch.dtype) -> None:
    file = save_nifti(tmp_path / "a.nii", np.resize(np.asarray(values, np.float64), (2, 3)), np.eye(4))
    found = load_label_map(file)
    assert found.dtype == dtype
    assert sorted(set(found.flatten().tolist())) == sorted(values)


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 1.002])
def test_what_is_no_id_is_refused(tmp_path: Path, value: float) -> None:
    file = save_nifti(tmp_path / "a.nii", np.full((2, 3), value, np.float32), np.eye(4))
    with pytest.raises(ValueError, match=r"a\.nii cannot be read as a label map .*no whole numbers.*; resample label"):
        load_label_map(file)


def sound(file: Path) -> bytes:
    return gzip.decompress(save_nifti(file, RNG.normal(size=(8, 9, 10)).astype(np.float32), np.eye(4)).read_bytes())


def packed(raw: bytes, level: int = 6) -> bytes:
    return gzip.compress(raw, level, mtime=0)


def field(offset: int, form: str, value: float) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        changed = bytearray(raw)
        struct.pack_into(form, changed, offset, value)
        return packed(bytes(changed))

    return change


def flipped(raw: bytes) -> bytes:
    """A voxel's bit flipped where nothing is packed, under the checksum of before."""
    stored = bytearray(packed(raw, 0))
    stored[-2000] ^= 16
    return bytes(stored)


DAMAGE = {
    "a flipped bit": (flipped, "CRC"),
    "no checksum": (lambda raw: packed(raw)[:-8], "end-of-stream"),
    "cut short": (lambda raw: packed(raw)[:-100], "end-of-stream"),
    "fewer voxels": (lambda raw: packed(raw[:-4]), "cut short"),
    "empty": (lambda raw: b"", "empty"),
    "text": (lambda raw: b"<html>404</html>", "gzip"),
    "packed text": (lambda raw: packed(b"<html>404</html>"), "does not begin with a NIfTI header"),
    "size 0": (field(42, "<h", 0), "size"),
    "negative size": (field(42, "<h", -3), "size"),
    "no axes": (field(40, "<h", 0), "does not begin|size|header"),
    "9 axes": (field(40, "<h", 9), ""),
    "unknown type": (field(70, "<h", 999), "data code 999"),
    "bits for numbers": (field(70, "<h", 1), "data code 1|bin"),
    "voxels far off": (field(108, "<f", 1e9), "begin at byte"),
    "voxels nowhere": (field(108, "<f", float("nan")), ""),
    "two files": (lambda raw: packed(raw[:344] + b"ni1\0" + raw[348:]), "another file"),
    "a voxel size of NaN": (lambda raw: field(280, "<f", float("nan"))(raw), "affine holds NaN"),
    "all in one plane": (lambda raw: packed(raw[:280] + bytes(16) + raw[296:]), "one plane"),
    "more than it holds": (field(42, "<h", 30000), "asks for .* of voxels"),
    "more than is packed": (lambda raw: packed(raw + bytes(3 * 2**20)), "unpacks to more"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_with_the_file(tmp_path: Path, name: str) -> None:
    change, message = DAMAGE[name]
    raw = sound(tmp_path / "scan.nii.gz")
    (tmp_path / "scan.nii.gz").write_bytes(change(raw))
    with pytest.raises(
        ValueError, match=rf"scan\.nii\.gz cannot be read as an image \(.*({message}).*\); \w+"
    ) as caught:
        load_image(tmp_path / "scan.nii.gz")
    assert "\n" not in str(caught.value)


def test_a_header_takes_no_memory_for_what_is_not_there(tmp_path: Path) -> None:
    raw = bytearray(sound(tmp_path / "a.nii.gz"))
    struct.pack_into("<4h", raw, 40, 3, 32000, 32000, 900)
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(ValueError, match=r"asks for 3.43e\+03 GB of voxels, and the file holds 2.81 KB"):
        load_image(tmp_path / "a.nii")


def test_zeros_that_unpack_without_end_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    raw = bytearray(sound(tmp_path / "a.nii.gz")[:352])
    struct.pack_into("<4h", raw, 40, 3, 1024, 1024, 160)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    blocks = [packer.compress(bytes(raw)), *(packer.compress(bytes(2**22)) for _ in range(8)), packer.flush()]
    # A file of this size says that it holds 640 MB; it need not hold them to be refused.
    (tmp_path / "a.nii.gz").write_bytes(b"".join(blocks) + bytes(10**6))
    with pytest.raises(ValueError, match=r"asks for 640 MB of voxels, .* compressed \d+ times: unpack it first"):
        load_image(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(("shape", "size"), [((4, 5, 1, 1), (4, 5, 1)), ((4, 5, 6, 1, 1), (4, 5, 6))])
def test_axes_of_one_are_no_channels(tmp_path: Path, shape: tuple, size: tuple) -> None:
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)), tmp_path / "a.nii")
    assert load_image(tmp_path / "a.nii").shape == (1, *size)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5, 6, 2), np.uint8), "2 channels or time points"),
        (np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colors"),
        (np.zeros((4, 5, 6), np.complex64), "complex"),
        (np.zeros(4, np.uint8), "size 4"),
    ],
)
def test_what_is_no_image_of_one_channel_is_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ValueError, match=rf"a\.nii cannot be read as an image .*{message}"):
        load_image(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.npy", "a.dcm", "a.hdr", "a", "a.tar.gz"])
def test_formats_are_those_that_are_listed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(ValueError, match=r"its name ends in none of \.nii\.gz, .*convert it to NIfTI"):
        load_image(tmp_path / name)
