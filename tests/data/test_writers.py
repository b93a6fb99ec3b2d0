from __future__ import annotations

import errno
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_segdiff.data import load_image, write_like
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.data.readers.axes import to_canonical
from monai_segdiff.data.writers import check_writable
from monai_segdiff.files import atomic_file, atomic_folder

OBLIQUE = np.array([[-1.9, 0.3, 0.1, 10], [0.2, 0.1, 3.0, -20], [0.3, -1.9, 0.2, 30], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4), (6, 5, 1)])
def test_geometry_is_the_label_maps(tmp_path: Path, shape: tuple[int, ...]) -> None:
    reference = nib.Nifti1Image(np.zeros(shape, np.uint8), OBLIQUE)
    reference.set_qform(None, code=0)
    reference.set_sform(OBLIQUE, code=4)
    reference.header.set_xyzt_units("mm", "sec")
    reference.header["descrip"] = b"from the scanner"
    nib.save(reference, tmp_path / "label.nii.gz")
    turned = to_canonical(np.zeros(shape, np.uint8), reference.affine)[0].shape
    array = np.random.default_rng(0).normal(size=(1, *(n for n in turned if n > 1)))
    out = write_like(array, tmp_path / "label.nii.gz", tmp_path / "new" / "image.nii.gz")
    written = nib.load(out)
    assert np.array_equal(written.affine, nib.load(tmp_path / "label.nii.gz").affine)
    assert written.shape == shape
    assert written.get_data_dtype() == np.float32
    shown = to_canonical(np.asarray(written.dataobj), written.affine)[0]
    assert np.allclose(shown.reshape(array.shape[1:]), array[0], atol=1e-6)
    for field in ("qform_code", "sform_code", "xyzt_units", "pixdim", "descrip"):
        assert np.array_equal(written.header[field], reference.header[field]), field


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("bool", "uint8"), ("int64", "int32"), ("float64", "float32"), ("float16", "float32"), ("uint8", "uint8")],
)
def test_types_that_readers_lack_are_replaced(tmp_path: Path, dtype: str, stored: str) -> None:
    save_nifti(tmp_path / "label.nii", np.zeros((3, 3, 3), np.int16), np.eye(4))
    out = write_like(np.ones((3, 3, 3), dtype), tmp_path / "label.nii", tmp_path / "out.nii.gz")
    assert nib.load(out).get_data_dtype() == np.dtype(stored)


def test_scaling_of_the_label_file_does_not_touch_the_values(tmp_path: Path) -> None:
    reference = nib.Nifti1Image(np.zeros((3, 3, 3)), np.eye(4))
    reference.header.set_data_dtype(np.uint8)
    reference.header.set_slope_inter(0.5, 3)
    nib.save(reference, tmp_path / "label.nii.gz")
    array = np.arange(27, dtype=np.int16).reshape(3, 3, 3) - 13
    out = write_like(array, tmp_path / "label.nii.gz", tmp_path / "out.nii.gz")
    assert np.array_equal(np.asarray(nib.load(out).dataobj), array)


@pytest.mark.parametrize(("scale", "dtype"), [(1, np.uint8), (100, np.uint16)])
def test_pictures_come_back_as_they_are_read(tmp_path: Path, scale: int, dtype: type) -> None:
    Image.fromarray(np.zeros((4, 7), np.uint8)).save(tmp_path / "label.png")
    array = scale * np.arange(28, dtype=np.float32).reshape(1, 7, 4)
    out = write_like(array, tmp_path / "label.png", tmp_path / "out.png")
    assert np.array_equal(load_image(out).numpy(), array)
    assert np.array_equal(np.asarray(Image.open(out))[::-1, ::-1].T, array[0])
    assert np.asarray(Image.open(out)).dtype == dtype


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4)])
@pytest.mark.parametrize(("ending", "module"), [("nii.gz", "nibabel"), ("nrrd", "nrrd"), ("mha", "itk")])
@pytest.mark.parametrize("label", ["nii.gz", "nrrd"])
def test_channels_go_into_every_format_of_volumes(
    tmp_path: Path, shape: tuple[int, ...], ending: str, module: str, label: str
) -> None:
    pytest.importorskip(module)
    pytest.importorskip("nrrd")
    mask = save_nifti(tmp_path / "label.nii.gz", np.zeros(shape, np.uint8), OBLIQUE)
    if label == "nrrd":
        mask = write_like(np.asarray(load_image(mask)), mask, tmp_path / "label.nrrd")
    expected = load_image(mask)
    array = np.random.default_rng(0).normal(size=(3, *expected.shape[1:])).astype(np.float32)
    out = load_image(write_like(array, mask, tmp_path / f"out.{ending}", channels=3), 3)
    assert np.array_equal(out.numpy(), array)
    columns = [*range(len(shape)), -1]  # NRRD does not say what is beside a slice
    assert np.allclose(out.affine[:3, columns], expected.affine[:3, columns], atol=1e-4)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    save_nifti(tmp_path / "label.nii.gz", np.zeros((3, 4, 5), np.uint8), np.eye(4))
    Image.fromarray(np.zeros((4, 7), np.uint8)).save(tmp_path / "label.png")
    with pytest.raises(ValueError, match=r"does not have the shape \(3, 4, 5\) of .*label\.nii\.gz"):
        write_like(np.zeros((5, 4, 3)), tmp_path / "label.nii.gz", tmp_path / "out.nii.gz")
    with pytest.raises(ValueError, match=r"out\.png cannot hold the volume that .*label\.nii\.gz is"):
        write_like(np.zeros((3, 4, 5)), tmp_path / "label.nii.gz", tmp_path / "out.png")
    with pytest.raises(ValueError, match=r"out\.tif cannot be written: choose one of"):
        write_like(np.zeros((3, 4, 5)), tmp_path / "label.nii.gz", tmp_path / "out.tif")
    with pytest.raises(ValueError, match=r"do not fit into .*out\.png"):
        write_like(np.full((7, 4), -1.0), tmp_path / "label.png", tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("value", "dtype", "reason"),
    [
        (np.nan, np.float32, "NaN, infinite or too large"),
        (np.inf, np.float32, "NaN, infinite or too large"),
        (1e39, np.float64, "NaN, infinite or too large"),
        (2**31, np.int64, "values from 0 to 2147483648 do not fit"),
        (2**63, np.uint64, "do not fit"),
    ],
)
@pytest.mark.parametrize("kind", ["nii", "png"])
def test_values_are_refused_rather_than_wrapped(
    tmp_path: Path, value: float, dtype: type, reason: str, kind: str
) -> None:
    array = np.zeros((4, 4), dtype)
    array[1, 2] = value
    save_nifti(tmp_path / "label.nii", np.zeros((4, 4), np.uint8), np.eye(4))
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "label.png")
    with pytest.raises(ValueError, match=reason if kind == "nii" else "do not fit into"):
        write_like(array, tmp_path / f"label.{kind}", tmp_path / f"out.{kind}")
    assert not (tmp_path / f"out.{kind}").exists()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-200.0, 300.0), (0.0, 1e5)])
def test_intensities_that_are_no_gray_levels_are_refused_for_pictures(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=r"mask\.png is a picture.*give the label maps as NIfTI"):
        check_writable("mask.png", None, (low, high))
    check_writable("mask.nii.gz", None, (low, high))
    check_writable("mask.png", None, (0.0, 255.0))
    with pytest.raises(ValueError, match=r"PNG is a picture, .* choose another format .* for mask\.nii\.gz"):
        check_writable("mask.nii.gz", ".png", (low, high))


def test_channels_that_are_no_colors_are_refused_for_pictures() -> None:
    with pytest.raises(ValueError, match=r"holds 1 channel or 3, and the images have 2: .*NIfTI"):
        check_writable("mask.png", None, (0.0, 255.0), 2)
    ranges = ((0.0, 255.0), (0.0, 255.0), (0.0, 256.0))
    with pytest.raises(ValueError, match=r"whose colors go from 0 to 255; .*from 0 to 256"):
        check_writable("mask.png", None, ranges, 3)
    check_writable("mask.png", None, (0.0, 255.0), 3)
    check_writable("mask.nii.gz", None, ranges, 3)


@pytest.mark.parametrize("kind", ["nii.gz", "png"])
def test_a_full_disk_leaves_the_old_file_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "png":
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "label.png")
    else:
        save_nifti(tmp_path / "label.nii.gz", np.zeros((4, 4), np.uint8), np.eye(4))
    out = write_like(np.ones((4, 4)), tmp_path / f"label.{kind}", tmp_path / f"out.{kind}")
    before = out.read_bytes()

    def full(*args: object, **_: object) -> None:
        Path(str(args[1])).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nibabel.save", full)
    monkeypatch.setattr("PIL.Image.Image.save", full)
    with pytest.raises(OSError, match=rf"cannot write .*out\.{kind}.*No space left.*free some space") as caught:
        write_like(np.zeros((4, 4)), tmp_path / f"label.{kind}", out)
    assert caught.value.errno == errno.ENOSPC
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"label.{kind}", f"out.{kind}"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write .*file/x/a\.json"), atomic_file(tmp_path / "file/x/a.json"):
        pytest.fail("the block must not be entered")
    with pytest.raises(OSError, match=r"cannot write .*file/data"), atomic_folder(tmp_path / "file/data"):
        pytest.fail("the block must not be entered")


def test_another_error_in_the_block_is_not_hidden(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/keep").touch()
    with pytest.raises(OSError, match="choose an empty folder"), atomic_folder(tmp_path / "data") as folder:
        (folder / "new").touch()
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["keep"]
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
