from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from monai_segdiff.data import Case, SegmentationDataset, check_dataset, load_image, read_dataset, write_dataset
from monai_segdiff.data.channels import load_case_image, load_channels
from monai_segdiff.data.description.channel_names import COLORS
from monai_segdiff.data.nifti import as_stored, save_nifti

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def volume(value: float, shape: tuple[int, ...] = (4, 5, 6)) -> np.ndarray:
    """Values that tell places and channels apart."""
    return (value * 1000 + np.arange(np.prod(shape)).reshape(shape)).astype(np.float32)


def case_of(folder: Path, *names: str) -> Case:
    for number, name in enumerate(names):
        save_nifti(folder / f"{name}.nii.gz", volume(number), AFFINE)
    files = tuple(folder / f"{name}.nii.gz" for name in names)
    return Case("p1", files[0], None, "p1", channel_files=files)


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (4, 5, 6, 1, 3)])
def test_channels_of_nifti_lie_behind_space(tmp_path: Path, shape: tuple[int, ...]) -> None:
    stacked = np.stack([volume(k) for k in range(3)], axis=-1).reshape(shape)
    nib.save(nib.Nifti1Image(stacked, AFFINE), tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match="3 channels or time points"):
        load_image(tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match="it has 3 channels, and 2 are wanted"):
        load_image(tmp_path / "a.nii.gz", 2)
    for channels in (3, None):
        loaded = load_image(tmp_path / "a.nii.gz", channels)
        assert loaded.shape == (3, 4, 5, 6)
        for k in range(3):
            assert np.array_equal(loaded[k].numpy(), volume(k))
    one = np.stack([volume(k, (4, 5)) for k in range(2)])
    save_nifti(tmp_path / "b.nii.gz", as_stored(one), AFFINE)
    assert nib.load(tmp_path / "b.nii.gz").shape == (4, 5, 1, 2)
    assert np.array_equal(load_image(tmp_path / "b.nii.gz", 2).numpy(), one)


def test_axes_are_turned_in_every_channel(tmp_path: Path) -> None:
    stacked = np.stack([volume(k) for k in range(2)], axis=-1)
    nib.save(nib.Nifti1Image(stacked, np.diag([-1.0, 1.0, 1.0, 1.0])), tmp_path / "a.nii")
    assert np.array_equal(load_image(tmp_path / "a.nii", 2)[1].numpy(), volume(1)[::-1])


def test_time_points_of_channels_are_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 2, 3), np.float32), AFFINE), tmp_path / "a.nii")
    with pytest.raises(ValueError, match="channels and time points"):
        load_image(tmp_path / "a.nii", None)


def test_colors_of_nifti_and_pictures(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(colors).save(tmp_path / "a.png")
    shown = colors.transpose(2, 1, 0)[:, ::-1, ::-1]  # left is the patient's right, and rows run down
    for channels in (3, None):
        assert np.array_equal(load_image(tmp_path / "a.png", channels).numpy(), shown)
    gray = np.asarray(Image.fromarray(colors).convert("L"))
    assert np.array_equal(load_image(tmp_path / "a.png")[0].numpy(), gray.T[::-1, ::-1])
    Image.fromarray(gray).save(tmp_path / "gray.png")
    assert load_image(tmp_path / "gray.png", None).shape == (1, 5, 4)
    assert np.array_equal(load_image(tmp_path / "gray.png", 3)[2].numpy(), gray.T[::-1, ::-1])
    with pytest.raises(ValueError, match="it has 3 channels, and 2 are wanted"):
        load_image(tmp_path / "a.png", 2)
    packed = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    packed["G"] = 7
    nib.save(nib.Nifti1Image(packed, AFFINE), tmp_path / "rgb.nii")
    assert load_image(tmp_path / "rgb.nii", 3).amax((1, 2, 3)).tolist() == [0, 7, 0]
    with pytest.raises(ValueError, match="it holds colors"):
        load_image(tmp_path / "rgb.nii")


def test_channels_of_metaimage_and_nrrd(tmp_path: Path) -> None:
    itk = pytest.importorskip("itk")
    stacked = np.stack([volume(k) for k in range(2)], axis=-1)
    image = itk.image_from_array(np.ascontiguousarray(stacked.transpose(2, 1, 0, 3)), is_vector=True)
    for name in ("a.mha", "a.nrrd"):
        itk.imwrite(image, tmp_path / name)
        loaded = load_image(tmp_path / name, 2).numpy()
        for k in range(2):  # LPS of the file, RAS of what is loaded
            assert np.array_equal(loaded[k], volume(k)[::-1, ::-1]), name
        with pytest.raises(ValueError, match="2 channels"):
            load_image(tmp_path / name)


def test_a_file_each_is_one_image_in_their_order(tmp_path: Path) -> None:
    case = case_of(tmp_path, "b", "a")
    loaded = load_case_image(case, ("T1", "T2"))
    assert loaded.shape == (2, 4, 5, 6)
    assert np.array_equal(loaded.numpy(), np.stack([volume(0), volume(1)]))
    assert np.array_equal(np.asarray(loaded.affine), AFFINE)


def test_a_missing_channel_is_named(tmp_path: Path) -> None:
    case = case_of(tmp_path, "a", "b")
    (tmp_path / "b.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"case 'p1' lacks its channel 'FLAIR', as there is no .*b\.nii\.gz"):
        load_case_image(case, ("T1", "FLAIR"))
    with pytest.raises(ValueError, match=r"case 'p1' has 1 channels in .*a\.nii\.gz.*2 channels.*missing 'FLAIR'"):
        load_channels([tmp_path / "a.nii.gz"], ("T1", "FLAIR"), "p1")
    whole = case_of(tmp_path, "a", "b")
    with pytest.raises(ValueError, match=r"has 2 files, a\.nii\.gz, b\.nii\.gz, .*add the missing 'T2'"):
        load_case_image(whole, ("T1", "FLAIR", "T2"))
    with pytest.raises(ValueError, match="2 channels, a file each, and nothing names them"):
        load_case_image(whole)


def test_channels_on_different_grids_name_both_files(tmp_path: Path) -> None:
    case = case_of(tmp_path, "a", "b")
    moved = AFFINE.copy()
    moved[0, 3] = 0.5
    save_nifti(tmp_path / "b.nii.gz", volume(1), moved)
    with pytest.raises(ValueError, match=r"'T2' \(.*b\.nii\.gz\) and channel 'T1' \(.*a\.nii\.gz\) lie up to 0\.5 mm"):
        load_case_image(case, ("T1", "T2"))
    save_nifti(tmp_path / "b.nii.gz", volume(1, (4, 5, 7)), AFFINE)
    with pytest.raises(ValueError, match=r"b\.nii\.gz.*a\.nii\.gz.*differ in size, 4x5x7 and 4x5x6"):
        load_case_image(case, ("T1", "T2"))


def test_a_description_keeps_channels_and_their_files(tmp_path: Path) -> None:
    case = case_of(tmp_path, "a", "b")
    save_nifti(tmp_path / "l.nii.gz", np.ones((4, 5, 6), np.uint8), AFFINE)
    labeled = Case("l", case.image, tmp_path / "l.nii.gz", "p1", channel_files=case.channel_files)
    written = SegmentationDataset(
        tmp_path, "set", {"x": 1}, {"training": [labeled]}, ((0.0, 1.0), (0.0, 2.0)), 3, channels=("T1", "T2")
    )
    write_dataset(tmp_path, written)
    found = read_dataset(tmp_path)
    assert found.channels == ("T1", "T2")
    assert found.intensity_range == ((0.0, 1.0), (0.0, 2.0))
    assert found.splits["training"] == [labeled]
    assert found.items("training")[0]["image"] == [str(file) for file in case.channel_files]
    assert not [issue for issue in check_dataset(tmp_path) if issue.severity == "error"]
    (tmp_path / "b.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"case 'l' lacks its channel 'T2'"):
        read_dataset(tmp_path)
    (issue,) = [issue for issue in check_dataset(tmp_path) if issue.severity == "error"]
    assert "lacks its channel 'T2'" in issue.message


def test_a_channel_that_is_constant_is_an_issue(tmp_path: Path) -> None:
    case = case_of(tmp_path, "a", "b")
    save_nifti(tmp_path / "b.nii.gz", np.ones((4, 5, 6), np.float32), AFFINE)
    save_nifti(tmp_path / "l.nii.gz", np.ones((4, 5, 6), np.uint8), AFFINE)
    labeled = Case("l", case.image, tmp_path / "l.nii.gz", "p1", channel_files=case.channel_files)
    dataset = SegmentationDataset(tmp_path, "set", {"x": 1}, {"training": [labeled]}, channels=("T1", "T2"))
    write_dataset(tmp_path, dataset)
    found = [issue.message for issue in check_dataset(tmp_path) if issue.severity == "error"]
    assert found == ["channel 'T2' of the image is constant (1)"]


def test_a_color_that_is_constant_is_none(tmp_path: Path) -> None:
    colors = np.zeros((4, 5, 3), np.uint8)
    colors[..., 0] = np.arange(5)
    Image.fromarray(colors).save(tmp_path / "a.png")
    Image.fromarray(np.ones((4, 5), np.uint8)).save(tmp_path / "l.png")
    case = Case("l", tmp_path / "a.png", tmp_path / "l.png", "p1")
    write_dataset(tmp_path, SegmentationDataset(tmp_path, "s", {"x": 1}, {"training": [case]}, channels=COLORS))
    assert not [issue for issue in check_dataset(tmp_path) if issue.severity == "error"]


def test_the_type_holds_every_channel(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii.gz", np.full((2, 2, 2), 2**24 + 1, np.int32), AFFINE)
    save_nifti(tmp_path / "b.nii.gz", np.full((2, 2, 2), 0.5, np.float64), AFFINE)
    loaded = load_channels([tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"], ("a", "b"))
    assert loaded.dtype == torch.float64
    assert loaded.amax((1, 2, 3)).tolist() == [2**24 + 1, 0.5]
