"""Does a generated image show what its mask says: Dice between a segmenter's reading of it and the mask."""

from __future__ import annotations

import torch
from monai.metrics import compute_dice

__all__ = ["dice_per_class", "foreground_dice", "pixel_share"]


def dice_per_class(prediction: torch.Tensor, mask: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Dice of every class of every sample; NaN where the mask has none of that class.

    Args:
        prediction: (N, 1, *spatial), class indices 0 (background) to num_classes.
        mask: same shape, the label map that the image was generated from.
        num_classes: number of classes C without background.

    Returns:
        (N, C) float32 in [0, 1] or NaN.

    Raises:
        ValueError: if the shapes differ or an index is out of range.
    """
    if prediction.shape != mask.shape:
        raise ValueError(
            f"prediction and mask must have one shape, got {tuple(prediction.shape)} and {tuple(mask.shape)}"
        )
    for name, indices in (("prediction", prediction), ("mask", mask)):
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) <= num_classes:
            raise ValueError(f"{name} holds class indices outside 0..{num_classes}")
    if not len(mask):
        return torch.empty(0, num_classes)
    return compute_dice(prediction, mask, include_background=False, num_classes=num_classes + 1).float()


def foreground_dice(dice: torch.Tensor) -> torch.Tensor:
    """Mean Dice over the classes that a sample's mask holds, background left out.

    The mean over classes, not Dice of their union: a union that fills half the image, such as a body, overlaps with
    any other.

    Args:
        dice: (N, C) from `dice_per_class`.

    Returns:
        (N,); NaN for an empty mask.
    """
    return dice.nanmean(dim=1)


def pixel_share(mask: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Share of the pixels that each class takes in each mask.

    Args:
        mask: (N, 1, *spatial), class indices.
        num_classes: number of classes C without background.

    Returns:
        (N, C) float32 in [0, 1].
    """
    flat = mask.flatten(1)
    return torch.stack([(flat == index).float().mean(1) for index in range(1, num_classes + 1)], dim=1)
