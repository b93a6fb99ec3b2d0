"""What holds for projections of any volume."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Flip, Orientation
from scipy.ndimage import gaussian_filter

from benchmarks.solids import Sphere, grid, voxels
from monai_segdiff.transforms import ProjectDRR


@pytest.fixture(scope="module")
def blobs() -> MetaTensor:
    """A smooth volume without symmetry in HU, air at its faces, in RAS."""
    shape = (30, 34, 26)
    random = np.random.default_rng(4).random(shape)
    values = gaussian_filter(random, 2)
    for axis, size in enumerate(shape):
        fade = np.clip(np.minimum(np.arange(size), size - 1 - np.arange(size)) / 5 - 0.4, 0, 1)
        ramp = fade * np.linspace(0.2, 1.8, size)
        values = values * ramp.reshape([-1 if other == axis else 1 for other in range(3)])
    affine = np.diag([2.0, 1.5, 2.5, 1.0])
    affine[:3, 3] = (5, -40, 70)
    return MetaTensor(torch.as_tensor(values[None] * 4000 - 1000, dtype=torch.float32), affine=torch.as_tensor(affine))


ORIENTATIONS = [
    "".join(signs)
    for order in itertools.permutations(["RL", "AP", "SI"])
    for signs in itertools.islice(itertools.product(*order), 0, 8, 3)
]


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_views_do_not_depend_on_how_the_volume_is_stored(blobs: MetaTensor, codes: str) -> None:
    # Away from 45 degrees, where rays may be sampled along either of two axes.
    projector = ProjectDRR((0, 31, 110, 260), (40, 30), detector_spacing=3.0)
    stored = Orientation(codes)(blobs)
    expected, found = projector(blobs), projector(stored)
    assert expected.std() > 0.1
    torch.testing.assert_close(found.as_tensor(), expected.as_tensor(), atol=2e-5, rtol=0)
    for before, after in zip(expected.meta["drr"]["views"], found.meta["drr"]["views"], strict=True):
        np.testing.assert_allclose(after["source"], before["source"], atol=1e-9)
        np.testing.assert_allclose(after["u_axis"], before["u_axis"], atol=1e-12)


def test_a_volume_whose_voxels_are_flipped_without_its_affine_gives_other_views(blobs: MetaTensor) -> None:
    projector = ProjectDRR((0, 31), (40, 30), detector_spacing=3.0)
    mirrored = MetaTensor(Flip(0)(blobs).as_tensor(), affine=blobs.affine)
    assert (projector(mirrored) - projector(blobs)).abs().max() > 0.1


def test_turning_the_patient_is_turning_the_source_the_other_way(blobs: MetaTensor) -> None:
    turn = torch.eye(4, dtype=torch.float64)
    turn[:2, :2] = torch.tensor([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    turned = MetaTensor(blobs.as_tensor(), affine=turn @ blobs.affine)
    degrees = np.rad2deg(0.5)
    expected = ProjectDRR((10, 80), (40, 30), 3.0)(blobs)
    found = ProjectDRR((10 + degrees, 80 + degrees), (40, 30), 3.0)(turned)
    torch.testing.assert_close(found.as_tensor(), expected.as_tensor(), atol=2e-5, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 20.0, 45.0, 77.0])
def test_parallel_beams_keep_the_mass(blobs: MetaTensor, angle: float) -> None:
    values = blobs.as_tensor() + 1000
    mass = float(values.double().sum()) * 2.0 * 1.5 * 2.5
    projector = ProjectDRR([angle], (160, 160), 0.6, beam="parallel", normalize=None)
    projected = float(projector.project(values, blobs.affine).double().sum()) * 0.6**2
    assert projected == pytest.approx(mass, rel=3e-4)


def test_opposite_parallel_views_mirror_each_other(blobs: MetaTensor) -> None:
    front, back = ProjectDRR((0, 180), (40, 30), 3.0, beam="parallel", normalize=None)(blobs).as_tensor()
    assert (front - front.flip(0)).abs().max() > 0.05
    torch.testing.assert_close(back, front.flip(0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("position", [(0, 0, 0), (20, 60, 30), (-40, -55, 10)])
def test_a_point_appears_where_the_intercept_theorem_says(position: tuple[int, int, int]) -> None:
    shape = (61, 81, 41)
    affine = grid(shape, 2.0)
    values = voxels(Sphere(position, 4.0), shape, affine)
    shadow = ProjectDRR([0.0], (200, 200), 1.0, 600.0, 900.0).project(values[None], affine)[0].double()
    place = torch.arange(200) - 99.5
    right, front, up = position
    magnification = 900 / (600 - front)
    assert float((shadow.sum(1) * place).sum() / shadow.sum()) == pytest.approx(magnification * right, abs=0.05)
    assert float((shadow.sum(0) * place).sum() / shadow.sum()) == pytest.approx(magnification * up, abs=0.05)
    # A thin shadow's area grows with the square of the magnification, and with the slant of the rays.
    mass = float(values.sum()) * 2.0**3 * magnification**2
    assert float(shadow.sum()) == pytest.approx(mass, rel=0.01)


def test_views_of_a_phantom_with_labelled_sides_show_them_where_the_axes_say() -> None:
    """Balls to the right, in front and above, of 1, 2 and 3."""
    shape = (40, 40, 40)
    affine = grid(shape, 4.0)
    balls = {1: (50, 0, 0), 2: (0, 50, 0), 3: (0, 0, 50)}
    values = sum(number * voxels(Sphere(place, 12.0), shape, affine) for number, place in balls.items())
    front, left, back, right = ProjectDRR((0, 90, 180, 270), (101, 101), 2.5).project(values[None], affine)

    def ball(view: torch.Tensor, u: float, v: float) -> float:
        return float(view[50 + round(u / 2.5), 50 + round(v / 2.5)]) / 24

    m = 1.5
    assert ball(front, 50 * m, 0) == pytest.approx(1, abs=0.1)
    assert ball(back, -50 * m, 0) == pytest.approx(1, abs=0.1)
    assert ball(left, 50 * m, 0) == pytest.approx(2, abs=0.2)
    assert ball(right, -50 * m, 0) == pytest.approx(2, abs=0.2)
    for view in (front, left, back, right):
        assert ball(view, 0, 50 * m) == pytest.approx(3, abs=0.3)
        assert ball(view, 0, -50 * m) == 0
