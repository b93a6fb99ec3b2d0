from __future__ import annotations

import numpy as np
import pytest

from monai_segdiff.data import CT_PHANTOM_CLASSES, CTPhantom

ORGANS = ("liver", "spleen", "kidneys", "spine")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.fixture(scope="module")
def slices() -> list[tuple[np.ndarray, np.ndarray]]:
    phantoms = [CTPhantom(seed) for seed in range(30)]
    return [p.render((64, 64), z) for p in phantoms for z in p.slice_positions(4)]


def test_the_same_seed_gives_the_same_patient_and_another_seed_another() -> None:
    first, again, other = (CTPhantom(seed).render((64, 64)) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert dice(first[1] == 3, other[1] == 3) < 0.98


def test_every_class_is_in_a_third_of_slices_and_most_slices_hold_all_organs(slices: list) -> None:
    present = {name: np.mean([(label == i).any() for _, label in slices]) for name, i in CT_PHANTOM_CLASSES.items()}
    assert min(present.values()) > 1 / 3, present
    all_organs = [all((label == CT_PHANTOM_CLASSES[name]).any() for name in ORGANS) for _, label in slices]
    assert np.mean(all_organs) > 0.5


def test_tissues_differ_by_more_than_the_noise(slices: list) -> None:
    hu = np.concatenate([image.ravel() for image, _ in slices])
    ids = np.concatenate([label.ravel() for _, label in slices])
    median = {name: np.median(hu[ids == i]) for name, i in CT_PHANTOM_CLASSES.items()}
    assert np.median(hu[ids == 0]) < -950
    assert -900 < median["lungs"] < -650
    ranked = [median[name] for name in ORGANS]
    assert np.diff(ranked).min() > 30, median
    assert 95 < median["liver"] < 125
    assert median["spine"] > 250


def test_noise_is_between_1_and_3_percent_of_the_display_range() -> None:
    phantom = CTPhantom(5)
    image, label = phantom.render((256, 256))
    inside = label == CT_PHANTOM_CLASSES["liver"]
    # Differences of neighbors see the noise and hardly the texture; halved for the two noises in each.
    both = inside[2:] & inside[:-2]
    deviation = np.std((image[2:] - image[:-2])[both]) / np.sqrt(2)
    assert 5 <= deviation <= 15


def test_edges_of_image_and_label_map_agree(slices: list) -> None:
    body = [dice(image > -500, label > 0) for image, label in slices if not (label == 2).any()]
    assert min(body) > 0.985
    lungs = [dice((image < -400) & (label > 0), label == 2) for image, label in slices if (label == 2).sum() > 200]
    assert min(lungs) > 0.85
    assert np.mean(lungs) > 0.93


def test_liver_is_on_the_right_of_the_patient_and_spine_behind() -> None:
    for seed in range(5):
        phantom = CTPhantom(seed)
        _, label = phantom.render((64, 64))
        affine = phantom.affine((64, 64))
        x, y = (affine[i, 3] + affine[i, i] * np.arange(64) for i in (0, 1))
        center = {n: (x[np.nonzero(label == i)[0]].mean(), y[np.nonzero(label == i)[1]].mean()) for n, i in
                  CT_PHANTOM_CLASSES.items() if (label == i).any()}  # fmt: skip
        assert center["liver"][0] > 20
        assert center["spleen"][0] < -20
        assert center["spine"][1] < center["body"][1] - 20


def test_a_slice_shows_the_same_anatomy_as_the_volume_around_it() -> None:
    phantom = CTPhantom(2)
    volume = phantom.render((48, 48, 40))[1]
    affine = phantom.affine((48, 48, 40))
    for k in (10, 25):
        label = phantom.render((48, 48), affine[2, 3] + k * affine[2, 2])[1]
        assert np.mean(label == volume[:, :, k]) == 1.0


def test_resolution_does_not_change_the_anatomy() -> None:
    phantom = CTPhantom(2)
    coarse, fine = phantom.render((64, 64))[1], phantom.render((256, 256))[1]
    for index in (1, 3, 6):
        assert (fine == index).mean() == pytest.approx((coarse == index).mean(), rel=0.15)


def test_wrong_shapes_and_ranges_are_refused() -> None:
    with pytest.raises(ValueError, match="shape must be"):
        CTPhantom(0).render((64,))
    with pytest.raises(ValueError, match="low < high"):
        CTPhantom(0).render((8, 8, 8), (10.0, 10.0))
