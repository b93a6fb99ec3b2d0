from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion
from skimage.morphology import skeletonize

from monai_segdiff.data import (
    BREAST_PHANTOM_CLASSES,
    BREAST_PHANTOM_PARENTS,
    BREAST_PHANTOM_RANGE,
    BreastPhantom,
    check_dataset,
    make_breast_phantoms,
)
from monai_segdiff.transforms import ablate_classes

BREAST, FGT, VESSEL = BREAST_PHANTOM_CLASSES.values()


@pytest.fixture(scope="module")
def phantoms() -> list[BreastPhantom]:
    return [BreastPhantom(seed) for seed in range(24)]


@pytest.fixture(scope="module")
def slices(phantoms: list[BreastPhantom]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [p.render((48, 48), z) for p in phantoms for z in p.slice_positions(3)]


def test_the_same_seed_gives_the_same_patient_and_another_seed_another() -> None:
    first, again, other = (BreastPhantom(seed).render((64, 64)) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert np.mean(first[1] != other[1]) > 0.03


def test_every_slice_shows_breast_and_vessels_and_the_gland_is_from_almost_none_to_dense(slices: list) -> None:
    shares = np.array([[(label == i).sum() / (label > 0).sum() for i in (BREAST, FGT, VESSEL)] for _, label in slices])
    assert shares[:, 2].min() > 0.01
    assert np.mean(shares[:, 1] > 0) > 0.95
    assert np.percentile(shares[:, 1], 5) < 0.03
    assert np.percentile(shares[:, 1], 95) > 0.22
    assert min(np.mean(label > 0) for _, label in slices) > 0.12


def test_density_is_how_much_gland_there_is(phantoms: list[BreastPhantom]) -> None:
    share = []
    for phantom in phantoms:
        label = phantom.render((32, 32, 24))[1]
        share.append((label == FGT).sum() / (label > 0).sum())
    assert np.corrcoef([p.density for p in phantoms], share)[0, 1] > 0.9


@pytest.mark.parametrize("size", [48, 64])
def test_vessels_are_at_least_two_pixels_wide_on_average(phantoms: list[BreastPhantom], size: int) -> None:
    vessels = [p.render((size, size), z)[1] == VESSEL for p in phantoms for z in p.slice_positions(2)]
    assert sum(v.sum() for v in vessels) / sum(skeletonize(v).sum() for v in vessels) > 2


def test_a_removed_vessel_leaves_no_hole_in_the_gland(phantoms: list[BreastPhantom]) -> None:
    for phantom in phantoms[:8]:
        label = phantom.render((160, 160))[1]
        assert not (binary_dilation(label == VESSEL) & (label == FGT)).any()
        without = ablate_classes(label[None], BREAST_PHANTOM_CLASSES, ["breast", "fgt"], BREAST_PHANTOM_PARENTS)[0]
        assert np.array_equal(without == FGT, label == FGT)
        assert np.array_equal(without > 0, label > 0)


def test_tissues_differ_by_more_than_the_noise(slices: list) -> None:
    for image, label in slices:
        air, fat, vessel = (image[binary_erosion(label == i)] for i in (0, BREAST, VESSEL))
        assert image[:, -2:].mean() < 0.05, "in front of the breasts is air"
        if len(vessel) > 4:
            assert np.median(vessel) > np.median(fat) + 0.35
        assert len(air)
    pooled = [np.concatenate([image[label == i] for image, label in slices]) for i in (BREAST, FGT, VESSEL)]
    medians = [float(np.median(values)) for values in pooled]
    assert np.diff(medians).min() > 0.15, medians
    assert 0.15 < medians[0] < 0.35


def test_nearly_all_intensities_are_in_the_range(slices: list) -> None:
    pixels = np.concatenate([image.ravel() for image, _ in slices])
    assert pixels.min() >= BREAST_PHANTOM_RANGE[0]
    assert np.mean(pixels > BREAST_PHANTOM_RANGE[1]) < 0.002
    assert 0.8 < np.percentile(pixels, 99.5) < 1.0


def test_noise_is_rician() -> None:
    """In air, the magnitude of two Gaussians: mean sigma sqrt(pi / 2), standard deviation sigma sqrt(2 - pi / 2)."""
    for seed in range(4):
        phantom = BreastPhantom(seed)
        image = phantom.render((128, 128))[0]
        air = image[:, -3:]
        sigma = air.mean() / np.sqrt(np.pi / 2)
        assert 0.009 < sigma < 0.021
        assert air.std() == pytest.approx(sigma * np.sqrt(2 - np.pi / 2), rel=0.15)


def test_the_coil_shades_smoothly() -> None:
    image = BreastPhantom(3).render((64, 64))[0]
    phantom = BreastPhantom(3)
    phantom._shading_depth = (0.0, 0.0)
    phantom._noise = 0.0
    plain = phantom.render((64, 64))[0]
    inside = plain > 0.1
    gain = np.where(inside, image / np.maximum(plain, 1e-3), np.nan)
    assert 0.05 < np.nanstd(gain) < 0.3
    assert np.nanmean(gain[:, 45:]) > np.nanmean(gain[:, :15]), "brighter where the coil is"
    steps = np.abs(np.diff(gain, axis=0))
    assert np.nanmedian(steps) < 0.1


def test_the_sides_are_the_patients_and_the_breasts_in_front() -> None:
    for seed in range(5):
        phantom = BreastPhantom(seed)
        image, label = phantom.render((64, 64))
        affine = phantom.affine((64, 64))
        x, y = (affine[i, 3] + affine[i, i] * np.arange(64) for i in (0, 1))
        columns = np.flatnonzero((label > 0).any(axis=1))
        assert x[columns].min() < -100
        assert x[columns].max() > 100
        rows = np.flatnonzero((label > 0).any(axis=0))
        assert y[rows].mean() > y.mean()
        assert label[:, -1].max() == label[0].max() == label[-1].max() == 0, "nothing is cut off"
        chest = (label == 0) & (y[None] < 0) & (y[None] > -150)
        left, right = image[chest & (x[:, None] < -5)], image[chest & (x[:, None] > 5)]
        assert left.mean() > right.mean(), "the heart is on the left"


def test_a_slice_shows_the_same_anatomy_as_the_volume_around_it() -> None:
    phantom = BreastPhantom(2)
    volume = phantom.render((48, 48, 40))[1]
    affine = phantom.affine((48, 48, 40))
    for k in (12, 25):
        label = phantom.render((48, 48), affine[2, 3] + k * affine[2, 2])[1]
        assert np.array_equal(label, volume[:, :, k])


def test_resolution_does_not_change_the_anatomy() -> None:
    phantom = BreastPhantom(2)
    coarse, fine = phantom.render((64, 64))[1], phantom.render((256, 256))[1]
    for index in (BREAST, FGT, VESSEL):
        assert (fine == index).mean() == pytest.approx((coarse == index).mean(), rel=0.15)


def test_a_volume_holds_the_breasts_whole() -> None:
    label = BreastPhantom(6).render((32, 32, 32))[1]
    assert set(np.unique(label)) == {0, BREAST, FGT, VESSEL}
    assert label[..., 0].max() == label[..., -1].max() == 0


def test_wrong_shapes_and_ranges_are_refused() -> None:
    with pytest.raises(ValueError, match="shape must be"):
        BreastPhantom(0).render((64,))
    with pytest.raises(ValueError, match="low < high"):
        BreastPhantom(0).render((8, 8, 8), (10.0, 10.0))


def test_the_population_is_a_sound_data_set_split_by_patient(tmp_path: Path) -> None:
    arguments = {"patients": 10, "size": 32, "slices_per_patient": 2, "progress": False}
    dataset = make_breast_phantoms(tmp_path / "mr", **arguments)
    assert {split: len(cases) for split, cases in dataset.splits.items()} == {
        "training": 16,
        "validation": 2,
        "test": 2,
    }
    assert (dataset.split_kind, dataset.modality) == ("by patient", "MR")
    assert (dataset.classes, dataset.parents) == (BREAST_PHANTOM_CLASSES, BREAST_PHANTOM_PARENTS)
    assert dataset.intensity_range == BREAST_PHANTOM_RANGE
    assert [f for f in check_dataset(tmp_path / "mr") if f.severity == "error"] == []
    item = dataset.items("training")[0]
    image, label = nib.load(item["image"]), nib.load(item["label"])
    assert (image.get_data_dtype(), label.get_data_dtype()) == (np.float32, np.uint8)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    with pytest.raises(FileExistsError, match="other settings"):
        make_breast_phantoms(tmp_path / "mr", **{**arguments, "seed": 1})


def test_volumes_and_bad_arguments(tmp_path: Path) -> None:
    dataset = make_breast_phantoms(tmp_path / "3d", patients=3, size=(16, 16, 12), spatial_dims=3, progress=False)
    assert nib.load(dataset.items("training")[0]["label"]).shape == (16, 16, 12)
    with pytest.raises(ValueError, match="at least one patient"):
        make_breast_phantoms(tmp_path / "none", patients=0)
    with pytest.raises(ValueError, match="spatial_dims"):
        make_breast_phantoms(tmp_path / "none", size=(16, 16), spatial_dims=3)
