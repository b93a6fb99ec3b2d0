from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_erosion, label

from monai_segdiff.data import TISSUE_KINDS, Tissue, labels_to_ct, read_tissues

BONE = Tissue("ball", hu=300, shell_mm=3.0, shell_hu=1300)
FAT = Tissue("between", hu=-100, shell_mm=2.0, shell_hu=35, margin_mm=8.0)


def ball(spacing: tuple[float, ...], radius: float, half: float = 32.0) -> tuple[np.ndarray, np.ndarray]:
    """Label map of a ball about the world's origin, and its RAS affine."""
    axes = [np.arange(-half, half + s / 2, s) for s in spacing]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [axis[0] for axis in axes]
    return (np.sqrt(x**2 + y**2 + z**2) < radius).astype(np.uint8), affine


def radii(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1)
    return np.linalg.norm(index @ affine[:3, :3].T + affine[:3, 3], axis=-1)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 1.0)])
def test_a_bone_is_a_shell_of_its_thickness_around_its_inside(spacing: tuple[float, ...]) -> None:
    labels, affine = ball(spacing, 20.0)
    ct = labels_to_ct(labels, affine, {1: BONE}, noise=0)
    hu, radius = np.asarray(ct[0]), radii(np.asarray(ct[0]), np.asarray(ct.affine))
    assert np.allclose(np.diag(ct.affine), 1.0)
    assert np.abs(hu[radius < 15.5] - 300).max() < 1
    assert np.median(hu[(radius > 17.8) & (radius < 18.8)]) == pytest.approx(1300, abs=1)
    assert (hu[radius > 21.5] == -1000).all()
    # Where the mean over directions crosses the middle between two tissues.
    bins = np.arange(14, 23, 0.25)
    profile = np.array([hu[(radius >= b) & (radius < b + 0.25)].mean() for b in bins]) if hu.size else bins
    inner = bins[np.argmax(profile > 800)] + 0.125
    outer = bins[len(bins) - 1 - np.argmax(profile[::-1] > 150)] + 0.125
    assert outer == pytest.approx(20, abs=0.5)
    assert outer - inner == pytest.approx(3, abs=1.0)


def test_edges_keep_the_mass_of_a_structure_at_every_resolution() -> None:
    labels, affine = ball((0.5, 0.5, 0.5), 15.0, 20.0)
    water = {1: Tissue("ball", hu=0)}
    exact = float(labels.sum()) * 0.5**3
    for spacing in (0.5, 1.0, 2.5):
        hu = np.asarray(labels_to_ct(labels, affine, water, spacing=spacing, noise=0)[0])
        assert ((hu + 1000) / 1000).sum() * spacing**3 == pytest.approx(exact, rel=0.01)
        assert hu.max() == pytest.approx(0, abs=0.01)


def test_what_is_not_labeled_is_fat_under_skin_within_the_margin() -> None:
    labels, affine = ball((1.0, 1.0, 1.0), 14.0)
    labels[10:14, 30:34, 20:44] = 1  # so that the hull spans a gap
    ct = labels_to_ct(labels, affine, {0: FAT, 1: BONE}, noise=0)
    hu, matrix = np.asarray(ct[0]), np.asarray(ct.affine)

    def at(*position: float) -> float:
        return float(hu[tuple(np.round(np.linalg.solve(matrix[:3, :3], position - matrix[:3, 3])).astype(int))])

    assert at(0, 0, 0) == pytest.approx(300, abs=1)
    assert at(-17, 0, 0) == pytest.approx(-100, abs=1)
    assert at(0, 18, 0) == pytest.approx(-100, abs=1)
    line = hu[:, hu.shape[1] // 2, hu.shape[2] // 2]
    position = matrix[0, 3] + np.arange(len(line))
    body = position[line > -500]
    # Smoothing draws the surface of so small a body in by some millimeters.
    assert 14 + 8 - 6 < body.max() < 14 + 8 + 2 + 1
    skin = (line > -40) & (line < 60)
    assert skin.any()
    assert line[0] == line[-1] == -1000


def test_a_body_runs_through_the_labeled_ends_and_is_continued_on_request() -> None:
    labels = np.zeros((40, 40, 30), dtype=np.uint8)
    labels[15:25, 15:25, 6:26] = 1
    tissues = {0: FAT, 1: Tissue("rod", hu=50)}
    plain = labels_to_ct(labels, np.eye(4), tissues, noise=0)
    longer = labels_to_ct(labels, np.eye(4), {**tissues, 0: Tissue(**{**vars(FAT), "extend_mm": 7})}, noise=0)
    assert plain.shape[3] == 20
    assert longer.shape[3] == 34
    for ct in (plain, longer):
        hu, affine = np.asarray(ct[0]), np.asarray(ct.affine)
        middle = affine[:3, :3] @ ((np.array(hu.shape) - 1) / 2) + affine[:3, 3]
        assert np.allclose(middle, [19.5, 19.5, 15.5], atol=0.5)
        assert np.abs(hu[hu.shape[0] // 2, hu.shape[1] // 2] - 50).max() < 1
        assert (hu[0] == -1000).all()
        assert (hu[:, 0] == -1000).all()


def test_the_shaft_of_a_long_bone_has_the_cortex_of_a_shaft() -> None:
    x, y, z = np.meshgrid(np.arange(-30, 31), np.arange(-30, 31), np.arange(-60, 61), indexing="ij")
    radius = np.sqrt(x**2 + y**2)
    labels = ((radius < 10) | (radius**2 + (z - 40) ** 2 < 20**2)).astype(np.uint8)
    tissue = Tissue("femur", hu=300, shell_mm=1.0, shell_hu=1300, shaft_mm=4.0, shaft_hu=0)
    hu = np.asarray(labels_to_ct(labels, np.eye(4), {1: tissue}, noise=0)[0])
    shaft, head = hu[:, :, 20], hu[:, :, 100]
    assert shaft[30, 30] == pytest.approx(0, abs=20)
    assert head[30, 30] == pytest.approx(300, abs=20)
    assert (shaft[30] > 1000).sum() == pytest.approx(8, abs=2)
    assert (head[30] > 650).sum() <= 4


def test_the_map_is_turned_to_ras_and_stays_where_it_is() -> None:
    labels, affine = ball((1.0, 1.0, 1.0), 9.0, 15.0)
    labels[2:6, 3:5, 20:28] = 2
    tissues = {1: Tissue("a", hu=0), 2: Tissue("b", hu=500)}
    flipped = np.moveaxis(labels[::-1, :, ::-1], 0, 1)
    turned = affine.copy()
    turned[:3, :3] = np.array([[0, -1, 0], [1, 0, 0], [0, 0, -1]])
    last = np.array(labels.shape) - 1
    turned[:3, 3] = affine[:3, 3] + [last[0], 0, last[2]]
    plain = labels_to_ct(labels, affine, tissues, noise=0)
    other = labels_to_ct(flipped, turned, tissues, noise=0)
    assert nib.aff2axcodes(np.asarray(other.affine)) == ("R", "A", "S")
    assert np.allclose(plain.affine, other.affine)
    assert np.allclose(plain, other)


def test_the_seed_determines_texture_and_noise() -> None:
    labels, affine = ball((2.0, 2.0, 2.0), 20.0)
    tissues = {1: TISSUE_KINDS["bone"]}
    first, again, other = (labels_to_ct(labels, affine, tissues, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    inside = radii(np.asarray(first[0]), np.asarray(first.affine)) < 15
    values = np.asarray(first[0])[inside]
    assert not np.array_equal(first, other)
    assert values.mean() == pytest.approx(TISSUE_KINDS["bone"].hu, abs=30)
    assert 40 < values.std() < 110
    air = np.asarray(labels_to_ct(labels, affine, tissues, noise=5.0)[0])[:3]
    assert np.std(air) == pytest.approx(5, rel=0.1)


def test_what_is_no_label_map_of_the_table_is_refused() -> None:
    labels = np.zeros((6, 6, 6), dtype=np.int16)
    labels[2:4] = 1
    labels[4] = 12
    labels[5] = 300
    with pytest.raises(ValueError, match=r"lacks: 12, 300"):
        labels_to_ct(labels, np.eye(4), {1: BONE})
    with pytest.raises(ValueError, match="no whole numbers"):
        labels_to_ct(labels + 0.5, np.eye(4), {1: BONE})
    with pytest.raises(ValueError, match="no voxel"):
        labels_to_ct(np.zeros((6, 6, 6)), np.eye(4), {1: BONE})
    with pytest.raises(ValueError, match="affine"):
        labels_to_ct(labels, np.zeros((4, 4)), {1: BONE})
    with pytest.raises(ValueError, match=r"\(X, Y, Z\)"):
        labels_to_ct(labels[0], np.eye(4), {1: BONE})
    with pytest.raises(ValueError, match="spacing"):
        labels_to_ct(labels == 0, np.eye(4), {1: BONE}, spacing=-1)
    with pytest.raises(ValueError, match="of size 1x1x1"):
        labels_to_ct(labels == 0, np.eye(4), {1: BONE}, spacing=50)


def test_voxels_are_of_1_mm_unless_all_of_the_map_are_larger_or_smaller() -> None:
    labels = np.ones((12, 12, 12), dtype=np.uint8)
    for old, new in (((0.3, 0.3, 2.0), 1.0), ((2.0, 2.0, 3.0), 2.0), ((0.4, 0.4, 0.5), 0.5)):
        ct = labels_to_ct(labels, np.diag([*old, 1.0]), {1: BONE})
        assert np.allclose(np.diag(ct.affine)[:3], new)
        extent = np.array(ct.shape[1:]) * new
        assert np.abs(extent - 12 * np.array(old)).max() <= new / 2 + 1e-6


def test_a_map_in_single_precision_with_a_channel_is_taken_as_it_is() -> None:
    labels, affine = ball((2.0, 2.0, 2.0), 15.0)
    tissues = {1: BONE}
    assert np.array_equal(
        labels_to_ct(labels[None].astype(np.float32), affine, tissues), labels_to_ct(labels, affine, tissues)
    )


@pytest.mark.data
def test_the_real_knee_atlas_becomes_a_leg(segdiff_data: Path) -> None:
    image = nib.load(segdiff_data / "knee" / "spl_knee_atlas" / "seg.nii.gz")
    atlas = np.asarray(image.dataobj)
    spacing = 1.5
    ct = labels_to_ct(atlas, image.affine, read_tissues("spl_knee_atlas"), spacing=spacing)
    hu, affine = np.asarray(ct[0]), np.asarray(ct.affine)
    assert nib.aff2axcodes(affine) == ("R", "A", "S")
    body = label(hu > -400)[0]
    assert np.bincount(body.ravel())[1:].max() > 0.999 * (body > 0).sum()
    assert 1200 < (body > 0).sum() * spacing**3 / 1000 < 3500
    for face in (hu[0], hu[-1], hu[:, 0], hu[:, -1]):
        assert (face < -900).all()
    centers = {}
    for name, index in (("femur", 95), ("tibia", 96), ("fibula", 97), ("patella", 98)):
        points = nib.affines.apply_affine(image.affine, np.argwhere(atlas[::2, ::2] == index) * (2, 2, 1))
        centers[name] = points.mean(axis=0)
        voxels = np.round(nib.affines.apply_affine(np.linalg.inv(affine), points)).astype(int)
        inside = np.zeros(hu.shape, dtype=bool)
        inside[tuple(voxels.T)] = True
        values = hu[inside]
        assert 150 < np.median(values) < 900, name
        assert np.percentile(values, 95) > 700, name
        spongy = hu[binary_erosion(inside, iterations=3)]
        assert 50 < np.median(spongy) < 450, name
        # A voxel is bone where the map says so; what is outside of every bone is not dense.
        assert np.mean(values > 100) > 0.85, name
    assert centers["femur"][2] > centers["tibia"][2] + 30
    assert centers["patella"][1] > centers["femur"][1] + 20
    assert centers["fibula"][0] < centers["tibia"][0] - 15, "a left leg: lateral is to the left"
    tissue = hu[(body > 0) & (hu < 150)]
    assert np.mean((tissue > -150) & (tissue < 150)) > 0.9
    assert hu.max() < 1600
