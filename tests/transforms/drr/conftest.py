from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from benchmarks.solids import Cylinder, grid, voxels


@pytest.fixture(scope="session")
def limb() -> Callable[..., MetaTensor]:
    """Make a CT volume of a bone in soft tissue that is cut by both ends of the volume, as a leg is."""

    def make(shape: tuple[int, int, int] = (40, 40, 40), voxel: float = 4.0, name: str = "leg.nii.gz") -> MetaTensor:
        affine = grid(shape, voxel)
        tissue = voxels(Cylinder((5.0, -4.0, 0.0), 45.0, 1e4), shape, affine)
        bone = voxels(Cylinder((12.0, 5.0, 0.0), 15.0, 1e4), shape, affine)
        hu = -1000 + 1040 * tissue + 700 * bone
        hu += 5 * np.random.default_rng(0).standard_normal(shape)
        meta = {"filename_or_obj": f"/scans/{name}"}
        return MetaTensor(torch.as_tensor(hu[None], dtype=torch.float32), affine=torch.as_tensor(affine), meta=meta)

    return make
