from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_segdiff.generation.placement import PlacedLabels, fit_labels

LPS = np.array([[-0.8, 0, 0, 60], [0, -0.8, 0, 50], [0, 0, 2.5, -128], [0, 0, 0, 1.0]])
# Sagittal slices: columns to posterior, rows down, slices to the left.
SAGITTAL = np.array([[0, 0, -3.0, 40], [-0.9, 0, 0, 50], [0, -0.9, 0, 30], [0, 0, 0, 1.0]])


def label_map(affine: np.ndarray, shape: tuple[int, ...] = (40, 32, 6)) -> MetaTensor:
    values = np.zeros(shape, dtype=np.uint8)
    values[12:30, 10:24, 1:5] = 1
    values[16:22, 12:18, 2:4] = 2
    return MetaTensor(torch.from_numpy(values)[None], affine=torch.as_tensor(affine))


def positions(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Position in mm of every voxel, (*shape, 3)."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return grid @ affine[:3, : len(shape)].T + affine[:3, 3]


def ramps(fitted: PlacedLabels) -> np.ndarray:
    shape = fitted.labels.shape[1:]
    return np.stack([positions(affine, shape) for affine in fitted.affines])


@pytest.mark.parametrize("size", [(24, 24), (64, 64), (24, 24, 12)])
@pytest.mark.parametrize("affine", [LPS, SAGITTAL], ids=["axial", "sagittal"])
def test_what_is_at_a_position_comes_back_to_it(affine: np.ndarray, size: tuple[int, ...]) -> None:
    labels = label_map(affine)
    fitted = fit_labels(labels, size)
    assert fitted.labels.shape[1:] == size
    expected = positions(affine, (40, 32, 6))
    # Beyond the outermost voxel centers of the grid there is nothing to interpolate with: a grid voxel's half at most.
    slack = np.linalg.norm(fitted.grid.affine[:3, :3], axis=0) / 2 + 1e-3
    for axis in range(3):
        image = fitted.onto_source(ramps(fitted)[..., axis], fill=0.0)
        assert image.shape == (40, 32, 6)
        error = np.abs(image - expected[..., axis])
        assert error.max() < slack[axis]
        low, high = (q(ramps(fitted)[..., axis].ravel()) for q in (np.min, np.max))
        inside = (expected[..., axis] > low) & (expected[..., axis] < high)
        assert error[inside].max() < 0.1  # mm


def test_labels_keep_their_place() -> None:
    labels = label_map(LPS)
    fitted = fit_labels(labels, (64, 64))
    for index in (1, 2):
        back = fitted.onto_source((fitted.labels == index).astype(np.float32), fill=0.0) > 0.5
        np.testing.assert_array_equal(back, np.asarray(labels[0]) == index)


@pytest.mark.parametrize("size", [(40, 32), (24, 24)])
def test_ids_above_255_do_not_wrap(size: tuple[int, int]) -> None:
    labels = label_map(LPS)
    fitted = fit_labels(MetaTensor(labels.to(torch.int32) * 300, affine=labels.affine), size)
    assert np.unique(fitted.labels).tolist() == [0, 300, 600]


def test_slices_keep_their_order_and_distance() -> None:
    fitted = fit_labels(label_map(LPS), (24, 24))
    assert len(fitted.labels) == 6
    assert [int(one.max()) for one in fitted.labels] == [0, 1, 2, 2, 1, 0]
    np.testing.assert_allclose(np.diff(fitted.affines[:, :3, 3], axis=0), [[0, 0, 2.5]] * 5, atol=1e-6)


def test_a_single_slice_is_one_sample() -> None:
    labels = label_map(LPS)
    fitted = fit_labels(MetaTensor(labels.as_tensor()[..., 2], affine=labels.affine), (24, 24))
    assert fitted.labels.shape == (1, 24, 24)
    assert fitted.onto_source(np.ones((1, 24, 24)), fill=0.0).shape == (40, 32)


def test_training_voxel_size_and_what_it_does_not_reach() -> None:
    labels = label_map(LPS)
    fitted = fit_labels(labels, (24, 24), (1.0, 1.0))
    np.testing.assert_allclose(np.diag(fitted.grid.affine)[:3], [1.0, 1.0, 2.5], atol=1e-6)
    image = fitted.onto_source(np.ones((6, 24, 24)), fill=-200.0)
    center = positions(LPS, (40, 32, 6)).mean(axis=(0, 1, 2))
    inside = (np.abs(positions(LPS, (40, 32, 6)) - center)[..., :2] < 12).all(axis=-1)
    np.testing.assert_array_equal(image, np.where(inside, 1.0, -200.0))


def test_labels_beyond_the_field_of_view_are_refused() -> None:
    with pytest.raises(ValueError, match=r"outside of the bundle's field of view of 8 x 8 x 15 mm.*spacing"):
        fit_labels(label_map(LPS), (8, 8), (1.0, 1.0))


def test_a_voxel_size_for_another_number_of_axes_is_refused() -> None:
    with pytest.raises(ValueError, match="spacing needs 2 numbers"):
        fit_labels(label_map(LPS), (8, 8), (1.0, 1.0, 1.0))


def test_slices_whose_images_would_fill_the_memory_are_refused() -> None:
    """A small file may hold two slices, and all the empty ones between them."""
    labels = MetaTensor(torch.ones((1, 2, 2, 70_000), dtype=torch.uint8), affine=torch.eye(4))
    with pytest.raises(ValueError, match="70000 slices, too many for images of 64 x 64"):
        fit_labels(labels, (64, 64))


def test_very_small_voxels_take_no_memory() -> None:
    with pytest.raises(ValueError, match="lie outside of the bundle's field of view"):
        fit_labels(label_map(LPS), (64, 64), spacing=(1e-6, 1e-6))
