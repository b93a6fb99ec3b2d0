from __future__ import annotations

import numpy as np
import pytest

from monai_segdiff.data.shapes import Profile, Tube, WaveField, capsule, superellipsoid

AXIS = np.arange(-30, 31, 1.0, dtype=np.float32)
GRID = tuple(np.meshgrid(AXIS, AXIS, AXIS, indexing="ij"))


def test_distance_to_an_ellipsoid_is_that_of_the_general_form() -> None:
    center, radii = (3.0, -2.0, 1.0), (20.0, 14.0, 9.0)
    plain = superellipsoid(GRID, center, radii)
    general = superellipsoid(GRID, center, radii, 2.0 + 1e-6)
    away = np.sqrt(sum((x - c) ** 2 for x, c in zip(GRID, center, strict=True))) > 1
    assert np.abs(plain - general)[away].max() < 1e-3


def test_distance_to_a_sphere_is_exact() -> None:
    radius = np.sqrt(sum(x**2 for x in GRID))
    far = radius > 0.5
    assert np.abs(superellipsoid(GRID, (0, 0, 0), (12, 12, 12)) - (radius - 12))[far].max() < 1e-3


def test_a_capsule_is_the_points_near_a_segment() -> None:
    distance = capsule(GRID, (0, 0, -10), (0, 0, 10), 5.3)
    assert distance[30, 30, 30] == pytest.approx(-5.3)
    assert distance[40, 30, 30] == pytest.approx(4.7)
    assert distance[30, 30, 60] == pytest.approx(14.7)
    assert (distance < 0).sum() == pytest.approx(np.pi * 5.3**2 * 20 + 4 / 3 * np.pi * 5.3**3, rel=0.05)


def test_a_profile_passes_its_knots_without_overshoot_and_stays_constant_beyond() -> None:
    profile = Profile((-10, 0, 20), [(1.0, 5.0), (2.0, 5.0), (2.0, 9.0)])
    first, second = profile(np.array([-50, -10, 0, 20, 90], dtype=np.float32))
    assert first.tolist() == pytest.approx([1, 1, 2, 2, 2], abs=1e-6)
    assert second.tolist() == pytest.approx([5, 5, 5, 9, 9], abs=1e-6)
    between = profile(np.linspace(-10, 20, 61, dtype=np.float32))
    assert all((np.diff(column) >= 0).all() for column in between)


def test_a_tube_has_its_sections_area_and_ends_where_it_is_closed() -> None:
    tube = Tube((-10, 10), [(0, 0, 12.4, 6.3), (0, 0, 12.4, 6.3)], closed=(True, False))
    inside = tube(*GRID) < 0
    assert inside[:, :, 45].sum() == pytest.approx(np.pi * 12.4 * 6.3, rel=0.03)
    assert not inside[:, :, :20].any()
    assert inside[:, :, 60].any()


def test_a_wave_field_on_a_grid_is_the_field_at_its_points() -> None:
    field = WaveField(np.random.default_rng(0), (10, 30), 20)
    y, z = AXIS[:20], AXIS[:7]
    points = field(*np.meshgrid(AXIS, y, z, indexing="ij"))
    grid = field.on_grid(AXIS, y, z)
    assert grid.shape == (61, 20, 7)
    assert np.abs(grid - points).max() < 1e-4
