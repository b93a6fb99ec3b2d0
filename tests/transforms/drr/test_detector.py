"""The detector that is fitted to a grid."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation

from benchmarks.solids import grid, rays
from monai_segdiff.transforms import ProjectDRR


def _leaves_through_an_end(geometry_rays: tuple[np.ndarray, np.ndarray], half: np.ndarray) -> bool:
    """Whether a ray passes an end face, normal to z, of the box of voxel centers."""
    start, direction = geometry_rays
    hits = False
    for end in (-half[2], half[2]):
        t = (end - start[..., 2]) / np.where(direction[..., 2] == 0, 1e-12, direction[..., 2])
        place = start[..., :2] + t[..., None] * direction[..., :2]
        hits |= bool((np.abs(place) < half[:2] - 1e-6).all(axis=-1).any())
    return hits


@pytest.mark.parametrize("shape", [(60, 50, 40), (60, 50, 20)])
def test_a_limited_field_is_as_large_as_it_can_be_without_rays_through_the_ends(shape: tuple[int, int, int]) -> None:
    affine = grid(shape, 3.0)
    half = (np.array(shape) - 1) * 1.5
    angles = range(0, 360, 15)
    spacing = ProjectDRR(angles, (64, 64)).geometry(shape, affine).detector_spacing[0]

    def leaves(scale: float) -> bool:
        # 65 pixels of this spacing have their outer centers on the edges of 64.
        geometry = ProjectDRR(angles, (65, 65), spacing * scale).geometry(shape, affine)
        return _leaves_through_an_end(rays(geometry), half)

    assert not leaves(0.9999)
    assert leaves(1.02)


def test_a_limited_field_of_a_parallel_beam_ends_at_the_outer_voxel_centers() -> None:
    geometry = ProjectDRR((0, 45), (64, 32), beam="parallel").geometry((60, 50, 20), grid((60, 50, 20), 3.0))
    assert geometry.half_size[1] == pytest.approx(19 * 1.5)


def test_a_long_volume_is_seen_up_to_the_circle_around_it() -> None:
    projector = ProjectDRR((0, 90), (100, 50))
    geometry = projector.geometry((61, 81, 400), grid((61, 81, 400), 2.0))
    radius = math.hypot(60, 80)
    assert geometry.half_size[0] == pytest.approx(1500 * radius / math.sqrt(1000**2 - radius**2))
    assert geometry.detector_spacing[0] == geometry.detector_spacing[1]
    parallel = ProjectDRR((0, 90), (100, 50), beam="parallel").geometry((61, 81, 400), grid((61, 81, 400), 2.0))
    assert parallel.half_size[0] == pytest.approx(radius)


def test_the_field_belongs_to_the_grid_and_not_to_what_is_in_it(limb: Callable[..., MetaTensor]) -> None:
    projector = ProjectDRR((0, 30), (32, 32))
    thin = limb()
    thin[0, :10] = -1000
    spacings = [projector(volume).meta["drr"]["detector_spacing"] for volume in (limb(), thin)]
    assert spacings[0] == spacings[1]


def test_a_fitted_detector_truncates_no_limb_even_in_a_tilted_grid(limb: Callable[..., MetaTensor]) -> None:
    volume = limb()
    tilt = torch.eye(4, dtype=torch.float64)
    tilt[:3, :3] = torch.as_tensor(Rotation.from_euler("xyz", [8, -5, 20], degrees=True).as_matrix())
    for affine in (volume.affine, tilt @ volume.affine):
        placed = MetaTensor(volume.as_tensor(), affine=affine)
        fitted = ProjectDRR(range(0, 360, 30), (32, 24))(placed).meta["drr"]
        assert fitted["truncated"] is False
        with pytest.raises(ValueError, match="the volume ends in tissue at its inferior, superior side"):
            ProjectDRR(range(0, 360, 30), (32, 24), 1.3 * fitted["detector_spacing"][0])(placed)
