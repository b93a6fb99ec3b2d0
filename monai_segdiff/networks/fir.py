"""Resampling by 2 with the binomial filter (1, 3, 3, 1), which lets no aliases through."""

from __future__ import annotations

import torch
from torch.nn import functional

from monai_segdiff.networks.precision import float32_outside_autocast

__all__ = ["fir_downsample", "fir_upsample"]


def fir_downsample(x: torch.Tensor) -> torch.Tensor:
    """Filter every channel with (1, 3, 3, 1) / 8 along both axes and keep every second value.

    The image is continued by its border values, so constants stay what they are up to the border.

    Under autocast this is done in float32.

    Args:
        x: (B, C, H, W) with even H and W.

    Returns:
        (B, C, H / 2, W / 2); its pixel i covers pixels 2 i and 2 i + 1 of x.

    Source: Zhang 2019 (arXiv 1904.11486); the filter is that of Karras et al. 2020 (arXiv 1912.04958).
    """
    return float32_outside_autocast(_filter_and_halve, x)


def fir_upsample(x: torch.Tensor) -> torch.Tensor:
    """Put zeros between the values and filter every channel with (1, 3, 3, 1) / 4 along both axes.

    That is linear interpolation: half of the taps meet zeros, and the others are 3/4 and 1/4. The image is continued by
    its border values, so constants stay what they are up to the border.

    Args:
        x: (B, C, H, W).

    Returns:
        (B, C, 2 H, 2 W); its pixels 2 i and 2 i + 1 lie in pixel i of x.

    Source: Karras et al. 2020 (arXiv 1912.04958).
    """
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _filter_and_halve(x: torch.Tensor) -> torch.Tensor:
    # Filled on the device, as a copy from the host would wait for a GPU.
    taps = x.new_full((4,), 1 / 8)
    taps[1:3] = 3 / 8
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
    return functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, stride=2, groups=x.shape[1])
