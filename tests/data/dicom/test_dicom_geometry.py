"""Voxels brought from grid to grid, and slices in a row."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from monai_segdiff.data.dicom.geometry import onto_grid, order_slices

AFFINE = np.array([[0.7, 0, 0, -11], [0, 0.9, 0, 22], [0, 0, 2.5, -33], [0, 0, 0, 1]])
TURNS = [
    np.eye(3, dtype=int)[list(order)] * np.array(signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def scaled(*factors: float) -> np.ndarray:
    return AFFINE @ np.diag([*factors, 1.0])


@pytest.mark.parametrize("turn", TURNS)
def test_each_voxel_is_where_it_was(turn):
    mask = np.random.default_rng(0).random((3, 4, 5)) > 0.5
    size = np.abs(turn @ np.array(mask.shape)) + 2
    there = np.eye(4)  # index of the mask to that of the target, which is one voxel larger on each side
    there[:3, :3], there[:3, 3] = turn, 1 - np.minimum(turn @ (np.array(mask.shape) - 1), 0)
    target = np.zeros(size, dtype=bool)
    onto_grid(mask, AFFINE @ there, target, AFFINE, "it")
    expected = np.zeros_like(target)
    for index in np.argwhere(mask):
        expected[tuple((there @ [*index, 1])[:3].astype(int))] = True
    assert np.array_equal(target, expected)
    already = np.ones_like(target)
    onto_grid(mask, AFFINE @ there, already, AFFINE, "it")
    assert already.all(), "what is marked stays"


@pytest.mark.parametrize("factors", [(2, 2, 1), (2, 1, 1), (1, 1, 2), (0.5, 0.5, 1), (1, 1, 0.5), (1.02, 1, 1)])
@pytest.mark.parametrize("slice_distance", [None, 5.0])
def test_a_grid_of_other_voxels_is_refused(factors, slice_distance):
    """Its voxels would be marked with holes between them, or fall on each other."""
    mask = np.ones((8, 8, 4), dtype=bool)
    with pytest.raises(ValueError, match="segment 'x' lies on another grid than the images"):
        onto_grid(mask, scaled(*factors), np.zeros((32, 32, 32), dtype=bool), AFFINE, "segment 'x'", slice_distance)


def test_slices_that_were_left_out_leave_gaps():
    """The grid has the slices of the target, as its distance says, but empty ones between them are not there."""
    target = np.zeros((8, 8, 12), dtype=bool)
    onto_grid(np.ones((8, 8, 3), dtype=bool), scaled(1, 1, -3) + 9 * 2.5 * _at(2, 3), target, AFFINE, "it", 2.5)
    assert np.flatnonzero(target.any(axis=(0, 1))).tolist() == [3, 6, 9]
    assert target[:, :, [3, 6, 9]].all()


def _at(row: int, column: int) -> np.ndarray:
    matrix = np.zeros((4, 4))
    matrix[row, column] = 1
    return matrix


def test_a_single_slice_may_be_of_any_thickness():
    target = np.zeros((8, 8, 12), dtype=bool)
    onto_grid(np.ones((8, 8, 1), dtype=bool), scaled(1, 1, 2.3), target, AFFINE, "it")
    assert target[:, :, 0].all()
    assert not target[:, :, 1:].any()


def test_large_masks_take_little_memory():
    mask = np.ones((100, 100, 100), dtype=bool)
    target = np.zeros_like(mask)
    tracemalloc.start()
    onto_grid(mask, AFFINE, target, AFFINE, "it")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert target.all()
    assert peak < 4 * mask.nbytes, "a list of its voxels is 24 times as large"


def headers(positions: np.ndarray) -> dict[Path, Dataset]:
    found = {}
    for number, position in enumerate(positions):
        header = Dataset()
        header.ImagePositionPatient = [f"{value:.6f}" for value in position]
        header.ImageOrientationPatient, header.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.8, 0.6]
        header.Rows = header.Columns = 4
        found[Path(f"s{number}")] = header
    return found


ROW = np.array([-10.0, -20.0, 30.0]) + np.arange(12)[:, None] * np.array([0.1, 0, 1.5])


def test_slices_in_a_row_may_lean_and_be_rounded():
    ordered, affine = order_slices(headers(np.round(ROW, 2)), "folder")
    assert [file.name for file in ordered] == [f"s{n}" for n in range(12)]
    assert np.allclose(affine[:3, 2], [-0.1, 0, 1.5], atol=1e-2)


@pytest.mark.parametrize("number", [0, 1, 5, 11])
@pytest.mark.parametrize("distance", [0.3, 40])
def test_a_slice_beside_the_row_is_named(number, distance):
    positions = ROW.copy()
    positions[number, 1] += distance
    with pytest.raises(ValueError, match=rf"s{number} does not lie in a row with the other slices"):
        order_slices(headers(positions), "folder")


def test_distances_that_grow_little_by_little_are_refused():
    positions = np.zeros((80, 3))
    positions[:, 2] = np.cumsum(np.repeat([1.47, 1.53], 40))
    with pytest.raises(ValueError, match="does not lie in a row"):
        order_slices(headers(positions), "folder")
