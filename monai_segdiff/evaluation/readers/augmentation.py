"""Light augmentation of a whole batch: enough to generalize from few patients, too little to change the anatomy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.engines import PrepareBatch
from torch.nn.functional import affine_grid, grid_sample

__all__ = ["AugmentedBatch", "augment"]

_ROTATION = 0.15  # radians, about 9 degrees
_SCALE = 0.1
_SHIFT = 0.08  # of the field of view's half
_GAMMA = 0.2  # of its logarithm
_OFFSET = 0.05
_NOISE = 0.05  # largest standard deviation; images span 2


def augment(images: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn, scale and shift images with their masks a little, then change contrast and noise of the images.

    No flips: anatomy has a left and a right. Draws come from PyTorch's default generator.

    Args:
        images: (B, C, *spatial) in [-1, 1].
        masks: (B, 1, *spatial) class indices.

    Returns:
        Both, of the same shapes.
    """
    grid = affine_grid(_matrices(len(images), images.ndim - 2).to(images), list(images.shape), align_corners=False)
    images = grid_sample(images, grid, padding_mode="border", align_corners=False)
    masks = grid_sample(masks.to(images), grid, mode="nearest", padding_mode="border", align_corners=False).long()
    gamma = (_GAMMA * _symmetric(images)).exp()
    images = ((images + 1) / 2).clamp(0, 1) ** gamma * 2 - 1
    noise = _NOISE * (_symmetric(images) + 1) / 2
    return images + _OFFSET * _symmetric(images) + noise * torch.randn_like(images), masks


class AugmentedBatch(PrepareBatch):
    """Augment every batch on its way into a stock MONAI trainer; keys `image` and `label`."""

    def __call__(
        self,
        batchdata: Mapping[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and masks of the batch, augmented, on the device."""
        pair = (batchdata[key].to(device, non_blocking=non_blocking) for key in ("image", "label"))
        return augment(*pair)


def _matrices(number: int, dims: int) -> torch.Tensor:
    """Random rotations times scales, with shifts, (number, dims, dims + 1)."""
    generators = torch.zeros(number, dims, dims)
    for i in range(dims):
        for j in range(i):
            angle = _ROTATION * (2 * torch.rand(number) - 1)
            generators[:, i, j], generators[:, j, i] = angle, -angle
    scale = 1 + _SCALE * (2 * torch.rand(number, 1, 1) - 1)
    shift = _SHIFT * (2 * torch.rand(number, dims, 1) - 1)
    return torch.cat([scale * torch.linalg.matrix_exp(generators), shift], dim=2)


def _symmetric(images: torch.Tensor) -> torch.Tensor:
    """One draw in [-1, 1] per image, to be broadcast over it."""
    draws = 2 * torch.rand(len(images), *[1] * (images.ndim - 1), device=images.device) - 1
    return draws.to(images.dtype)
