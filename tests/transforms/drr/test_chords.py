"""Line integrals through solids of value 1 are their chords."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from benchmarks.solids import Box, Cylinder, Solid, Sphere, chord_lengths, grid, voxels
from monai_segdiff.transforms import ProjectDRR

# None of the views looks along a flat face: a ray that grazes one stays within the blurred voxels of it.
SOLIDS = {
    "sphere": (Sphere((3.3, -5.2, 0.7), 36.0), (0, 45, 133, 250)),
    "cylinder": (Cylinder((3.3, -5.2, 0.7), 36.0, 16.0), (0, 45, 133, 250)),
    "box": (Box((3.3, -5.2, 0.7), (28.0, 24.0, 16.0)), (17, 45, 110, 250)),
    "turned box": (Box((3.3, -5.2, 0.7), (28.0, 20.0, 16.0), 25.0), (0, 45, 133, 250)),
}


def _errors(
    solid: Solid, voxel: float, angles: tuple[int, ...], beam: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Errors and true chords of all rays, and which rays are two voxels inside the silhouette."""
    height = 80 if isinstance(solid, Sphere) else 48
    shape = (int(96 / voxel), int(96 / voxel), int(height / voxel))
    affine = grid(shape, voxel)
    projector = ProjectDRR(angles, (100, 90), 1.37, beam=beam)
    geometry = projector.geometry(shape, affine)
    true = chord_lengths(solid, geometry)
    error = (projector.project(voxels(solid, shape, affine)[None], affine) - true).abs()
    return error, true, chord_lengths(solid.shrunk(2 * voxel), geometry) > 0


def _far_from(true: torch.Tensor) -> torch.Tensor:
    """Rays with no ray through the solid within three pixels."""
    near = torch.nn.functional.max_pool2d(true[:, None], 7, stride=1, padding=3)[:, 0]
    return near == 0


@pytest.mark.parametrize("beam", ["cone", "parallel"])
@pytest.mark.parametrize("name", SOLIDS)
def test_chords_are_exact_within_a_share_of_the_largest_and_the_error_halves_with_the_voxel(
    name: str, beam: str
) -> None:
    solid, angles = SOLIDS[name]
    coarse, fine = (_errors(solid, voxel, angles, beam) for voxel in (2.0, 1.0))
    error, true, inside = fine
    largest = true.max()
    assert error.mean() < 0.005 * largest
    assert error[true > 0].mean() < 0.011 * largest
    assert inside.sum() > 3000
    assert error[inside].max() < 0.011 * largest
    assert (error / true)[inside].max() < (0.031 if name == "turned box" else 0.02)
    assert error.mean() < 0.5 * coarse[0].mean()
    assert coarse[0].mean() < 0.012 * largest
    assert torch.all(error[_far_from(true)] == 0)


@pytest.mark.parametrize("axis", [(0, 0, 1), (1, 2, 3), (-1, 0.2, 0.1)])
def test_chords_of_a_sphere_in_an_oblique_grid_about_any_axis(axis: tuple[float, float, float]) -> None:
    # Voxels of 1 x 1.4 x 2.1 mm in a grid that is turned, mirrored and far from the world's origin.
    shape, spacing = (84, 60, 40), np.array([1.0, 1.4, 2.1])
    straight = np.diag([*spacing, 1.0])
    straight[:3, 3] = -(np.array(shape) - 1) / 2 * spacing
    move = np.eye(4)
    move[:3, :3] = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix() @ np.diag([1, -1, 1])
    move[:3, 3] = (120, -40, 900)
    solid = Sphere((2.0, -1.0, 3.0), 32.0)
    moved = Sphere(tuple(move[:3, :3] @ solid.center + move[:3, 3]), solid.radius)
    projector = ProjectDRR((0, 77, 200), (80, 80), 1.6, axis=axis)
    geometry = projector.geometry(shape, move @ straight)
    true = chord_lengths(moved, geometry)
    error = (projector.project(voxels(solid, shape, straight)[None], move @ straight) - true).abs()
    inside = chord_lengths(moved.shrunk(2 * 2.1), geometry) > 0
    assert true.max() > 63
    assert error.mean() < 0.005 * true.max()
    assert (error / true)[inside].max() < 0.02


def test_a_ray_inside_and_one_outside_of_a_uniform_volume() -> None:
    projector = ProjectDRR((0, 30), (3, 3), (1.0, 1.0), beam="parallel")
    found = projector.project(torch.ones(1, 41, 61, 21), np.diag([2.0, 2.0, 2.0, 1.0]))
    # Between the planes of outer voxel centers values are 1, and they fall to 0 within a voxel beyond each.
    torch.testing.assert_close(found[0], torch.full((3, 3), 61 * 2.0))
    assert torch.all((found[1] - 41 * 2 / np.sin(np.pi / 6)).abs() < 61 * 2)
    empty = projector.project(torch.zeros(1, 41, 61, 21), np.eye(4))
    assert empty.shape == (2, 3, 3)
    assert not empty.any()
