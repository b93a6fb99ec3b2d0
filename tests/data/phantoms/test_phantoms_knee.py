from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, distance_transform_edt

from monai_segdiff.data import KNEE_PHANTOM_CLASSES, KneePhantom
from monai_segdiff.data.phantoms import knee as phantoms_knee

IDS = KNEE_PHANTOM_CLASSES
BONES = ("femur", "tibia", "fibula", "patella")
SEEDS = range(14)
SPACING = 3.0


class Knee:
    """A phantom, rendered, with what tests measure in it."""

    def __init__(self, seed: int, spacing: float = SPACING) -> None:
        self.phantom = KneePhantom(seed)
        self.spacing = spacing
        self.hu, self.labels = self.phantom.render(spacing=spacing)
        self.affine = self.phantom.affine(spacing=spacing)

    @property
    def lateral(self) -> int:
        """Direction along x that points away from the other leg."""
        return 1 if self.phantom.side == "right" else -1

    def positions(self, name: str) -> np.ndarray:
        """RAS in mm of every voxel of a class, (N, 3)."""
        return np.argwhere(self.labels == IDS[name]) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def center(self, name: str) -> np.ndarray:
        return self.positions(name).mean(axis=0)

    def volume(self, name: str) -> float:
        """In cm^3."""
        return float((self.labels == IDS[name]).sum()) * self.spacing**3 / 1000


@pytest.fixture(scope="module")
def knees() -> list[Knee]:
    return [Knee(seed) for seed in SEEDS]


def test_the_same_seed_gives_the_same_patient_and_another_seed_another() -> None:
    first, again = (KneePhantom(3).render(spacing=5) for _ in range(2))
    other = KneePhantom(4).render((40, 40, 48))
    same = KneePhantom(3).render((40, 40, 48))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert np.mean(same[1] != other[1]) > 0.1


def test_resolution_does_not_change_the_anatomy() -> None:
    phantom = KneePhantom(5)
    coarse, fine = (phantom.render(spacing=spacing)[1] for spacing in (3.0, 2.0))
    for name, index in IDS.items():
        volumes = (coarse == index).sum() * 3.0**3, (fine == index).sum() * 2.0**3
        assert volumes[0] == pytest.approx(volumes[1], rel=0.03), name


def test_a_shape_and_a_spacing_cover_the_same_field_of_view() -> None:
    phantom = KneePhantom(6)
    edges = phantom.extent
    affine = phantom.affine((30, 40, 50))
    low = affine[:3, :3] @ np.full(3, -0.5) + affine[:3, 3]
    high = affine[:3, :3] @ (np.array([30, 40, 50]) - 0.5) + affine[:3, 3]
    assert np.allclose([low, high], edges)
    labels = phantom.render(spacing=4)[1]
    assert np.abs(np.array(labels.shape) * 4 - (edges[1] - edges[0])).max() <= 2
    anisotropic = phantom.render(spacing=(4, 5, 6))[1]
    assert np.abs(np.array(anisotropic.shape) * (4, 5, 6) - (edges[1] - edges[0])).max() <= 3


def test_every_class_is_in_every_patient_with_a_plausible_volume(knees: list[Knee]) -> None:
    limits = {
        "skin": (60, 500), "fat": (250, 4000), "muscle": (250, 3500), "femur": (100, 450), "tibia": (60, 350),
        "fibula": (4, 40), "patella": (8, 35),
    }  # fmt: skip
    for name, (low, high) in limits.items():
        volumes = [knee.volume(name) for knee in knees]
        assert low < min(volumes), (name, volumes)
        assert max(volumes) < high, (name, volumes)
        assert max(volumes) > 1.2 * min(volumes), name


def test_bones_lie_where_they_belong_in_left_and_right_legs(knees: list[Knee]) -> None:
    assert {knee.phantom.side for knee in knees} == {"left", "right"}
    for knee in knees:
        femur, tibia, fibula, patella = (knee.center(name) for name in BONES)
        assert femur[2] > tibia[2] + 60
        assert patella[1] > femur[1] + 20
        assert patella[1] > tibia[1] + 20
        assert tibia[2] < patella[2] < femur[2] + 10
        assert knee.lateral * (fibula - tibia)[0] > 15
        assert fibula[1] < tibia[1]
        # The head of the fibula begins below the plateau.
        assert knee.positions("fibula")[:, 2].max() < knee.positions("tibia")[:, 2].max()


def test_flexion_is_the_angle_between_the_shafts(knees: list[Knee]) -> None:
    flexion = np.array([knee.phantom.flexion for knee in knees])
    measured = []
    for knee in knees:
        turn = np.radians(knee.phantom.rotation) * knee.lateral
        forward = np.array([np.sin(turn), np.cos(turn), 0.0])
        angles = []
        for name, sign in (("femur", 1), ("tibia", -1)):
            points = knee.positions(name)
            shaft = points[sign * points[:, 2] > 65]
            levels = np.unique(shaft[:, 2])
            course = [(shaft[shaft[:, 2] == level] @ forward).mean() for level in levels]
            angles.append(np.degrees(np.arctan(-np.polyfit(levels, course, 1)[0])))
        measured.append(angles[0] - angles[1])
    # In a straight knee the middle lines of the shafts are a few degrees off a common line.
    straight = np.mean(measured - flexion)
    assert abs(straight) < 5
    assert np.abs(measured - flexion - straight).max() < 4
    assert np.corrcoef(measured, flexion)[0, 1] > 0.98
    assert -5 <= flexion.min() < 5
    assert 25 < flexion.max() <= 35


@pytest.mark.parametrize("seed", [1, 5, 9])
def test_bones_do_not_touch(seed: int) -> None:
    knee = Knee(seed, 2.0)
    bone = np.isin(knee.labels, [IDS[name] for name in BONES])
    box = tuple(slice(i.min(), i.max() + 1) for i in np.nonzero(bone))
    labels = knee.labels[box]
    away = {name: knee.spacing * distance_transform_edt(labels != IDS[name]) for name in ("femur", "tibia")}
    # Distances of voxel centers: a voxel more than from surface to surface.
    joint = away["femur"][labels == IDS["tibia"]].min() - knee.spacing
    assert 2 < joint < 9
    assert 0 < away["femur"][labels == IDS["patella"]].min() < 8
    assert 0 < away["tibia"][labels == IDS["fibula"]].min() < 8
    between = (away["femur"] < joint + 2) & (away["tibia"] < joint + 2) & (labels == IDS["muscle"])
    assert between.sum() > 10
    assert np.median(knee.hu[box][between]) < 400


def test_tissues_have_their_hounsfield_units() -> None:
    for seed in (0, 7):
        knee = Knee(seed, 2.0)
        inner = {name: knee.hu[binary_erosion(knee.labels == IDS[name])] for name in ("fat", "muscle")}
        assert -115 < np.median(inner["fat"]) < -85
        assert 40 < np.median(inner["muscle"]) < 75
        assert np.median(knee.hu[knee.labels == 0]) < -950
        femur = knee.hu[knee.labels == IDS["femur"]]
        assert 1150 < np.percentile(femur, 99) < 1750
        height = knee.affine[2, 3] + knee.spacing * np.arange(knee.hu.shape[2])
        deep = binary_erosion(knee.labels == IDS["femur"], iterations=3)
        spongy = knee.hu[:, :, np.abs(height) < 12][deep[:, :, np.abs(height) < 12]]
        assert 150 < np.median(spongy) < 400
        shaft = (knee.labels == IDS["femur"]) & (height > 80)
        marrow = knee.hu[binary_erosion(shaft, iterations=4)]
        assert -60 < np.median(marrow) < 60


def test_the_cortex_is_thick_in_the_shaft_and_thin_at_the_joint() -> None:
    knee = Knee(2, 1.5)
    height = knee.affine[2, 3] + knee.spacing * np.arange(knee.hu.shape[2])

    def dense_share(low: float, high: float) -> float:
        part = (height > low) & (height < high)
        bone = knee.hu[:, :, part][knee.labels[:, :, part] == IDS["femur"]]
        return float(np.mean(bone > 800))

    assert dense_share(80, 90) > 0.45
    assert dense_share(-5, 5) < 0.2


def test_the_leg_runs_through_both_ends_and_has_air_beside_it(knees: list[Knee]) -> None:
    for knee in knees:
        body = knee.labels > 0
        assert body[:, :, 0].any()
        assert body[:, :, -1].any()
        for face in (body[0], body[-1], body[:, 0], body[:, -1]):
            assert not face.any()


def test_the_noise_is_small(knees: list[Knee]) -> None:
    for knee in knees[:4]:
        air = knee.hu[:3, :3]
        assert np.std(air) < 15


def test_rendering_in_blocks_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    phantom = KneePhantom(8)
    hu, labels = phantom.render(spacing=4)
    monkeypatch.setattr(phantoms_knee, "_TILE", 23)
    monkeypatch.setattr(phantoms_knee, "_BLOCK", 5000)
    cut_hu, cut_labels = phantom.render(spacing=4)
    assert np.mean(labels != cut_labels) < 1e-5
    assert np.abs(hu - cut_hu).max() < 0.1


def test_wrong_shapes_and_spacings_are_refused() -> None:
    phantom = KneePhantom(0)
    with pytest.raises(ValueError, match="shape"):
        phantom.render((8, 8))
    with pytest.raises(ValueError, match="not both"):
        phantom.render((8, 8, 8), spacing=3)
    with pytest.raises(ValueError, match="positive"):
        phantom.render(spacing=0)
