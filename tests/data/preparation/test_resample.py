from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import ResizeWithPadOrCrop

from monai_segdiff.data.preparation.resample import resample_pair


@pytest.mark.parametrize("size", [(9, 8, 7), (10, 30, 5)])
def test_what_is_cropped_off_is_not_made_and_makes_no_difference(size: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    image = MetaTensor(
        torch.from_numpy(rng.normal(size=(1, 6, 7, 5)).astype(np.float32)), affine=np.diag([2.0, 2, 3, 1])
    )
    label = MetaTensor(torch.from_numpy(rng.integers(0, 3, (1, 6, 7, 5)).astype(np.uint8)), affine=image.affine)
    whole = resample_pair(image, label, [0.7, 0.6, 0.8], [-1, -1, -1])
    assert whole[0].shape == (1, 17, 23, 19)
    for made, kept in zip(whole, resample_pair(image, label, [0.7, 0.6, 0.8], size), strict=True):
        expected = ResizeWithPadOrCrop(size, mode="constant", value=float(image.min()) if made is whole[0] else 0)(made)
        np.testing.assert_allclose(kept.numpy(), expected.numpy(), atol=1e-5)


def test_voxels_of_a_micrometer_take_no_memory() -> None:
    image = MetaTensor(torch.arange(64.0).reshape(1, 8, 8), affine=np.eye(4))
    label = MetaTensor((image > 20).to(torch.uint8), affine=np.eye(4))
    made, ids = resample_pair(image, label, [0.001, 0.001], [16, 16])
    assert made.shape == ids.shape == (1, 16, 16)
    assert abs(float(made.mean()) - 31.5) < 0.1
