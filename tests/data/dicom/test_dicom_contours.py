"""Polygons as pixels."""

from __future__ import annotations

import time

import numpy as np
import pytest
from skimage.draw import polygon2mask

from monai_segdiff.data.dicom.contours import fill_polygon, join_contours


@pytest.mark.parametrize("fraction", [1, 2, 4, None], ids=["on pixels", "halves", "quarters", "anywhere"])
def test_pixels_are_those_that_are_found_one_by_one(fraction):
    """Also where corners and edges lie on the centers of pixels."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        shape = tuple(rng.integers(3, 14, 2).tolist())
        corners = rng.uniform(-2, 15, (rng.integers(1, 12), 2))
        corners = corners if fraction is None else np.round(corners * fraction) / fraction
        assert np.array_equal(fill_polygon(shape, corners), polygon2mask(shape, corners)), corners


def test_time_grows_with_the_edges_and_not_with_corners_times_pixels():
    angles = np.linspace(0, 2 * np.pi, 50_000, endpoint=False)
    circle = np.stack([256 + 200 * np.cos(angles), 256 + 200 * np.sin(angles)], axis=1)
    started = time.process_time()
    area = int(fill_polygon((512, 512), circle).sum())
    assert time.process_time() - started < 5, "pixel by pixel it takes more than a minute"
    assert abs(area - np.pi * 200**2) < 200


def test_what_nobody_draws_is_refused():
    rng = np.random.default_rng(0)
    to_and_fro = np.stack([np.tile([0.0, 511.0], 20_000), rng.uniform(0, 511, 40_000)], axis=1)
    with pytest.raises(ValueError, match="a contour crosses the lines of pixels"):
        fill_polygon((512, 512), to_and_fro)
    with pytest.raises(ValueError, match="3000 contours in one slice"):
        join_contours((8, 8), [to_and_fro] * 3000)


def test_many_contours_within_each_other():
    """Rings: every second one is a hole."""
    sizes = np.arange(0.5, 100, 1.0)
    contours = [np.array([[-s, -s], [s, -s], [s, s], [-s, s]]) + 100 for s in sizes]
    areas = (2 * np.floor(sizes) + 1)[::-1] ** 2
    expected = int((areas * np.where(np.arange(len(areas)) % 2, -1, 1)).sum())
    assert int(join_contours((201, 201), contours).sum()) == expected
