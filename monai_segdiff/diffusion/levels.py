"""Grids of noise levels: where along the noise axis a sampler stops.

Every grid is a float64 tensor on the CPU, strictly descending, with `num_steps` positive levels and a final 0, so that
`num_steps` is the number of steps a sampler takes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["geometric", "karras", "tuned_levels"]


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


def tuned_levels(
    noise_levels: Sequence[Sequence[float]],
    num_steps: int,
    sampler: str = "consistency",
    guidance_weight: float = 1.0,
) -> list[float] | None:
    """The noise levels of a run of weights that were tuned for few evaluations, as their card says them.

    Args:
        noise_levels: those of a run of one step, of two, and so on; empty for weights that were not tuned.
        num_steps: number of steps.
        sampler: name of the sampler that is to run.
        guidance_weight: guidance that is asked for beside what the weights have built in.

    Returns:
        Levels that descend to 0; None for weights that were not tuned, whose parameterization has a grid.

    Raises:
        ValueError: tuned weights cannot run so.
    """
    if not noise_levels:
        return None
    plain = "leave it out, or take the weights from before the tuning (--weights models/model.pt)"
    if sampler != "consistency":
        raise ValueError(f"these weights are tuned for the sampler consistency, and sampler is {sampler}: {plain}")
    if num_steps > len(noise_levels):
        raise ValueError(
            f"these weights are tuned for at most {len(noise_levels)} steps, and num_steps is {num_steps}: {plain}"
        )
    if guidance_weight != 1:
        raise ValueError(
            f"these weights have their guidance built in, and guidance_weight is {guidance_weight:g}: {plain}"
        )
    return [*map(float, noise_levels[num_steps - 1]), 0.0]


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
