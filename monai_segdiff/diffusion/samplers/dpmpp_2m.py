"""DPM-Solver++(2M): second order from one evaluation a step."""

from __future__ import annotations

import math

import torch

from monai_segdiff.diffusion.denoiser import Denoiser
from monai_segdiff.diffusion.samplers.contract import Callback, Constrain, Noise, SolverLoop

__all__ = ["dpmpp_2m"]


def dpmpp_2m(
    denoiser: Denoiser,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    *,
    noise: Noise | None = None,
    constrain: Constrain | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Solve the probability flow ODE in lambda = -ln(sigma), extrapolating from the last two estimates of x0.

    Deterministic: `noise` is not used. The first step and the step to 0 are of first order. N steps cost N evaluations.

    Args:
        denoiser, x, sigmas, noise, constrain, callback: see `monai_segdiff.diffusion.samplers.contract`.

    Returns:
        x0, in the shape of x, float32 or float64.

    Raises:
        ValueError: the grid does not end in 0.

    Source: Lu et al. 2022 (arXiv 2211.01095), Algorithm 2, divided by alpha.
    """
    run = SolverLoop(denoiser, x, sigmas, constrain, callback)
    x = run.start
    previous: tuple[torch.Tensor, float] | None = None
    for step, sigma, sigma_next in run.steps():
        x0_hat = run.begin_step(step, sigma, x)
        if sigma_next == 0:
            x = x0_hat  # the step is infinitely long in lambda, and only the estimate remains
        else:
            length = math.log(sigma / sigma_next)
            mixed = x0_hat
            if previous is not None:
                earlier, earlier_length = previous
                ratio = earlier_length / length  # r_i
                mixed = (1 + 0.5 / ratio) * x0_hat - (0.5 / ratio) * earlier  # D_i
            x = (sigma_next / sigma) * x - math.expm1(-length) * mixed
            previous = (x0_hat, length)
        x = run.end_step(step, sigma_next, x)
    return x
