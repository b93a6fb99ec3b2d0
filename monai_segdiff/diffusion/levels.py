"""Grids of noise levels: where along the noise axis a sampler stops.

Every grid is a float64 tensor on the CPU, strictly descending, with `num_steps` positive levels and a final 0, so that
`num_steps` is the number of steps a sampler takes.
"""

from __future__ import annotations

import torch

__all__ = ["geometric", "karras"]


def karras(num_steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> torch.Tensor:
    """Noise levels that are evenly spaced in sigma^(1/rho).

    Args:
        num_steps: number of steps, at least 1. One step goes from `sigma_max` straight to 0.
        sigma_min: the smallest positive level, in the units of the image.
        sigma_max: the first level.
        rho: how strongly the steps crowd towards small noise; 1 spaces them evenly.

    Returns:
        float64 tensor of `num_steps + 1` levels, descending, ending in 0.

    Raises:
        ValueError: the range or the number of steps makes no grid.

    Source: Karras et al. 2022 (arXiv 2206.00364), Eq. 5.
    """
    _check_range(num_steps, sigma_min, sigma_max)
    if not rho > 0:
        raise ValueError(f"rho must be positive, got {rho}")
    ramp = torch.linspace(0, 1, num_steps, dtype=torch.float64)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return _finish((high + ramp * (low - high)) ** rho, sigma_min, sigma_max)  # Eq. 5


def geometric(num_steps: int, sigma_min: float, sigma_max: float) -> torch.Tensor:
    """Noise levels in geometric progression.

    Args:
        num_steps: number of steps, at least 1. One step goes from `sigma_max` straight to 0.
        sigma_min: the smallest positive level, in the units of the image.
        sigma_max: the first level.

    Returns:
        float64 tensor of `num_steps + 1` levels, descending, ending in 0.

    Raises:
        ValueError: the range or the number of steps makes no grid.

    Source: Song et al. 2021 (arXiv 2011.13456), Appendix C: sigma_i = sigma_min (sigma_max / sigma_min)^((i-1)/(N-1)).
    """
    _check_range(num_steps, sigma_min, sigma_max)
    ramp = torch.linspace(0, 1, num_steps, dtype=torch.float64)
    return _finish(sigma_max * (sigma_min / sigma_max) ** ramp, sigma_min, sigma_max)


def _check_range(num_steps: int, sigma_min: float, sigma_max: float) -> None:
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    if not 0 < sigma_min < sigma_max < float("inf"):
        raise ValueError(
            f"noise levels need 0 < sigma_min < sigma_max, got sigma_min={sigma_min}, sigma_max={sigma_max}"
        )


def _finish(levels: torch.Tensor, sigma_min: float, sigma_max: float) -> torch.Tensor:
    # Powers round; the ends are stated by the caller and have to be met to the last bit. The first level is set last,
    # because a grid of one step starts at sigma_max.
    levels[-1] = sigma_min
    levels[0] = sigma_max
    return torch.cat([levels, levels.new_zeros(1)])
