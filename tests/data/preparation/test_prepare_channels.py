from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_segdiff.data import Case, load_image, pair_folders, prepare_dataset
from monai_segdiff.data.nifti import save_nifti

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
FRACTIONS = (0.5, 0.25, 0.25)
NAMES = ("T1", "T2", "FLAIR")


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Four patients, a file for each of three channels, whose values lie around 100, 1100 and 2100."""
    found = []
    for patient in range(4):
        label = np.zeros((12, 10, 6), np.uint8)
        label[3:8, 3:7, 1:5] = 1
        files = []
        for number, name in enumerate(NAMES):
            noise = np.random.default_rng(10 * patient + number).normal(0, 10, label.shape)
            file = tmp_path / "source" / f"p{patient}_{name}.nii.gz"
            save_nifti(file, (1000 * number + 100 + 50.0 * label + noise).astype(np.float32), AFFINE)
            files.append(file)
        save_nifti(tmp_path / "source" / f"p{patient}.nii.gz", label, AFFINE)
        labels = tmp_path / "source" / f"p{patient}.nii.gz"
        found.append(Case(f"p{patient}", files[0], labels, f"p{patient}", channel_files=tuple(files)))
    return found


@pytest.mark.parametrize("dims", [2, 3])
def test_each_case_is_one_file_of_all_channels(tmp_path: Path, cases: list[Case], dims: int) -> None:
    made = prepare_dataset(
        cases, tmp_path / "out", {"box": 1}, channels=NAMES, spatial_dims=dims, size=8, fractions=FRACTIONS
    )
    assert made.channels == NAMES
    assert made.intensity_range is not None
    lows = [low for low, _ in made.intensity_range]  # type: ignore[misc]
    assert lows == sorted(lows)
    for members in made.splits.values():
        for case in members:
            assert case.channel_files == ()
            assert nib.load(case.image).shape == ((8, 8, 1, 3) if dims == 2 else (8, 8, 8, 3))
            image = load_image(str(case.image), 3)
            for number in range(3):
                assert abs(float(image[number].median()) - (1000 * number + 100)) < 60


def test_channels_that_are_kept_come_in_their_order(tmp_path: Path, cases: list[Case]) -> None:
    stacked = []
    for case in cases:
        file = tmp_path / "4d" / "imagesTr" / f"{case.id}.nii.gz"
        layers = [np.asarray(nib.load(one).dataobj) for one in case.channel_files]
        save_nifti(file, np.stack(layers, axis=-1), AFFINE)
        save_nifti(tmp_path / "4d" / "labelsTr" / file.name, np.asarray(nib.load(case.label).dataobj), AFFINE)
        stacked.append(file)
    names = ", ".join(f'"{i}": "{name}"' for i, name in enumerate(NAMES))
    (tmp_path / "4d" / "dataset.json").write_text(f'{{"labels": {{"1": "box"}}, "modality": {{{names}}}}}')
    made = prepare_dataset(tmp_path / "4d", tmp_path / "out", channels=["FLAIR", "T1"], size=8, fractions=FRACTIONS)
    assert made.channels == ("FLAIR", "T1")
    image = load_image(str(made.splits["training"][0].image), 2)
    assert image[0].median() > 2000 > 200 > image[1].median()
    whole = prepare_dataset(tmp_path / "4d", tmp_path / "all", size=8, fractions=FRACTIONS)
    assert whole.channels == NAMES
    with pytest.raises(ValueError, match="name 'PD', and the source has T1, T2, FLAIR"):
        prepare_dataset(tmp_path / "4d", tmp_path / "none", channels=["PD"], size=8)


def test_a_missing_channel_is_named(tmp_path: Path, cases: list[Case]) -> None:
    with pytest.raises(ValueError, match=r"case 'p0' has 3 channels, p0_T1\.nii\.gz the first, and nothing names them"):
        prepare_dataset(cases, tmp_path / "out", {"box": 1}, size=8)
    cases[2].channel_files[1].unlink()
    with pytest.raises(FileNotFoundError, match=r"case 'p2' lacks its channel 'T2', as there is no .*p2_T2\.nii\.gz"):
        prepare_dataset(cases, tmp_path / "out", {"box": 1}, channels=NAMES, size=8)


def test_percentiles_and_ranges_are_those_of_each_channel(tmp_path: Path, cases: list[Case]) -> None:
    made = prepare_dataset(
        cases, tmp_path / "a", {"box": 1}, channels=NAMES, size=8, percentiles=(1, 99), fractions=FRACTIONS
    )
    assert made.intensity_range == (0.0, 1.0)
    image = load_image(str(made.splits["training"][0].image), 3)
    assert image.amin((1, 2)).ge(0).all()
    assert image.amax((1, 2)).gt(0.5).all()
    given = ((0, 200), (1000, 1200), (2000, 2200))
    made = prepare_dataset(
        cases, tmp_path / "b", {"box": 1}, channels=NAMES, size=(20, 20), intensity_range=given, fractions=FRACTIONS
    )
    assert made.intensity_range == tuple((float(low), float(high)) for low, high in given)
    corner = load_image(str(made.splits["training"][0].image), 3)[:, 0, 0]
    again = prepare_dataset(
        cases, tmp_path / "b", {"box": 1}, channels=NAMES, size=(20, 20), intensity_range=given, fractions=FRACTIONS
    )
    assert again.splits == made.splits
    assert (corner.numpy() >= 0).all()
    with pytest.raises(ValueError, match="2 pairs, and there are 3 channels"):
        prepare_dataset(cases, tmp_path / "c", {"box": 1}, channels=NAMES, size=8, intensity_range=given[:2])


def test_pictures_are_in_colors_only_if_asked(tmp_path: Path) -> None:
    for patient in range(4):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        levels = np.random.default_rng(patient).integers(0, 80, (16, 16, 1)) + np.array([0, 80, 160])
        Image.fromarray(levels.astype(np.uint8)).save(tmp_path / "images" / f"p{patient}.png")
        mask = np.zeros((16, 16), np.uint8)
        mask[4:12, 4:12] = 1
        Image.fromarray(mask).save(tmp_path / "masks" / f"p{patient}.png")
    pairs = pair_folders(tmp_path / "images", tmp_path / "masks")
    gray = prepare_dataset(pairs, tmp_path / "gray", {"box": 1}, size=8, fractions=FRACTIONS)
    assert gray.channels == ()
    assert nib.load(gray.splits["training"][0].image).shape == (8, 8)
    colors = ["red", "green", "blue"]
    made = prepare_dataset(pairs, tmp_path / "rgb", {"box": 1}, channels=colors, size=8, fractions=FRACTIONS)
    means = load_image(str(made.splits["training"][0].image), 3).mean((1, 2)).tolist()
    assert means[0] < 80 < means[1] < 160 < means[2]
