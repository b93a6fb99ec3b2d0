"""Augmentation moves image and mask together, and only a little."""

from __future__ import annotations

import pytest
import torch

from monai_segdiff.evaluation.readers.augmentation import AugmentedBatch, augment


def half(shape: tuple[int, ...], n: int = 16) -> torch.Tensor:
    """Masks of the half on one side of the first axis."""
    mask = torch.zeros(n, 1, *shape, dtype=torch.int64)
    mask[:, :, : shape[0] // 2] = 1
    return mask


@pytest.mark.parametrize("shape", [(48, 48), (20, 20, 20)])
def test_image_and_mask_stay_together_and_keep_their_side(shape):
    torch.manual_seed(0)
    masks = half(shape)
    images, moved = augment(masks * 1.6 - 0.8, masks)
    assert images.shape == masks.shape
    assert ((images > 0).long() == moved).float().mean() > 0.98
    agreement = (moved == masks).flatten(1).float().mean(1)
    assert agreement.min() > 0.8  # a flip would leave 0
    assert (agreement < 1).float().mean() > 0.8


def test_draws_follow_the_seed_and_inputs_stay():
    masks = half((16, 16))
    images = masks * 1.6 - 0.8
    kept = images.clone()
    torch.manual_seed(1)
    first = augment(images, masks)[0]
    torch.manual_seed(1)
    assert torch.equal(augment(images, masks)[0], first)
    assert not torch.equal(augment(images, masks)[0], first)
    assert torch.equal(images, kept)


def test_prepare_batch_augments():
    torch.manual_seed(2)
    batch = {"image": half((16, 16)).float(), "label": half((16, 16)).to(torch.uint8)}
    images, masks = AugmentedBatch()(batch, device="cpu")
    assert masks.dtype == torch.int64
    assert not torch.equal(images, batch["image"])
