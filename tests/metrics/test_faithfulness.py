"""Dice per class against hand counts."""

from __future__ import annotations

import pytest
import torch

from monai_segdiff.metrics import dice_per_class, foreground_dice, pixel_share


def maps() -> tuple[torch.Tensor, torch.Tensor]:
    """Class 1: 2 of 4 pixels found, 1 of 3 wrong; class 2: missed; class 3: absent from the mask, hallucinated."""
    mask = torch.tensor([[1, 1, 1, 1, 2, 2, 0, 0]]).reshape(1, 1, 2, 4)
    prediction = torch.tensor([[1, 1, 0, 0, 1, 0, 3, 0]]).reshape(1, 1, 2, 4)
    return prediction, mask


def test_dice_by_hand_and_absent_class_ignored():
    dice = dice_per_class(*maps(), num_classes=3)
    assert dice.shape == (1, 3)
    assert dice[0, :2].tolist() == pytest.approx([2 * 2 / (3 + 4), 0.0])
    assert dice[0, 2].isnan()
    assert foreground_dice(dice).tolist() == pytest.approx([2 / 7])


@pytest.mark.parametrize("shape", [(8, 8), (4, 6, 5)])
def test_perfect_prediction_scores_one_in_2d_and_3d(shape):
    mask = torch.randint(0, 3, (4, 1, *shape), generator=torch.Generator().manual_seed(0))
    assert (dice_per_class(mask, mask, 2) == 1).all()


def test_empty_mask_has_no_foreground_dice():
    empty = torch.zeros(1, 1, 4, 4, dtype=torch.int64)
    assert foreground_dice(dice_per_class(empty, empty, 2)).isnan().all()


def test_pixel_share_by_hand():
    assert pixel_share(maps()[1], 3).tolist() == [[0.5, 0.25, 0.0]]


def test_bad_input():
    prediction, mask = maps()
    with pytest.raises(ValueError, match="one shape"):
        dice_per_class(prediction[..., :3], mask, 3)
    with pytest.raises(ValueError, match="prediction holds class indices outside"):
        dice_per_class(prediction, mask, 2)
