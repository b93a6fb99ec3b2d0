from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_segdiff.data import Case, load_image, load_label_map, pair_folders, prepare_dataset
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


def as_form(root: Path, cases: list[Case], form: str) -> Path:
    """The cases as a data set whose channels are files of their own: as nnU-Net, BraTS or folders have them."""
    for case in cases:
        label = {"nnU-Net": f"labelsTr/{case.id}", "BraTS": f"{case.id}/{case.id}_seg", "folders": f"labels/{case.id}"}
        copies = {label[form]: case.label}
        for number, name in enumerate(NAMES):
            image = {
                "nnU-Net": f"imagesTr/{case.id}_{number:04d}",
                "BraTS": f"{case.id}/{case.id}_{name.lower()}",
                "folders": f"images/{case.id}_{number:04d}",
            }
            copies[image[form]] = case.channel_files[number]
        for target, file in copies.items():
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file), root / f"{target}.nii.gz")
    if form == "nnU-Net":
        names = {str(number): name for number, name in enumerate(NAMES)}
        about = {"channel_names": names, "labels": {"background": 0, "box": 1}, "file_ending": ".nii.gz"}
        (root / "dataset.json").write_text(json.dumps(about))
    return root


@pytest.mark.parametrize(
    ("form", "names", "levels"),
    [
        ("nnU-Net", ("T1", "T2", "FLAIR"), (100, 1100, 2100)),
        ("BraTS", ("flair", "t1", "t2"), (2100, 100, 1100)),
        ("folders", ("channel 0", "channel 1", "channel 2"), (100, 1100, 2100)),
    ],
)
def test_every_form_gives_all_channels(
    tmp_path: Path, cases: list[Case], form: str, names: tuple[str, ...], levels: tuple[int, ...]
) -> None:
    root = as_form(tmp_path / "set", cases, form)
    made = prepare_dataset(root, tmp_path / "out", {"box": 1}, size=8, fractions=FRACTIONS, progress=False)
    assert made.channels == names
    for case in made.splits["training"]:
        image = load_image(str(case.image), 3)
        assert [abs(float(layer.median()) - level) < 60 for layer, level in zip(image, levels, strict=True)] == [
            True
        ] * 3
    kept = prepare_dataset(
        root, tmp_path / "kept", {"box": 1}, channels=names[1:2], size=8, fractions=FRACTIONS, progress=False
    )
    assert (kept.channels, len(load_image(str(kept.splits["training"][0].image)))) == (names[1:2], 1)


def test_channels_that_have_numbers_only_can_be_named(tmp_path: Path, cases: list[Case]) -> None:
    root = as_form(tmp_path / "set", cases, "folders")
    made = prepare_dataset(root, tmp_path / "out", {"box": 1}, channels=NAMES, size=8, fractions=FRACTIONS)
    assert made.channels == NAMES
    with pytest.raises(ValueError, match=r"has 3 files, .*where the data set names 2 channels, T1, T2"):
        prepare_dataset(root, tmp_path / "two", {"box": 1}, channels=NAMES[:2], size=8)


def test_a_crop_in_processes_fills_each_channel_with_its_own_lowest_value(tmp_path: Path, cases: list[Case]) -> None:
    made = [
        prepare_dataset(
            cases,
            tmp_path / str(workers),
            {"box": 1},
            channels=NAMES,
            spatial_dims=3,
            size=16,
            spacing=2,
            crop="labels",
            fractions=FRACTIONS,
            workers=workers,
        )
        for workers in (1, 2)
    ]
    assert made[0].classes == {"box": 1, "outside_view": 2}
    assert made[0].intensity_range == made[1].intensity_range
    for one, two in zip(*(dataset.splits["training"] for dataset in made), strict=True):
        image = load_image(str(one.image), 3)
        assert np.array_equal(image, load_image(str(two.image), 3))
        outside = load_label_map(str(one.label))[0] == 2
        assert outside.any()
        for number, layer in enumerate(image):
            (level,) = np.unique(layer[outside])
            assert abs(level - (1000 * number + 65)) < 35


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
