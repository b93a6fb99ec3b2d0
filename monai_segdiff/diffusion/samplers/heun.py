"""The second-order sampler of EDM."""

from __future__ import annotations

import math

import torch

from monai_segdiff.diffusion.denoiser import Denoiser
from monai_segdiff.diffusion.samplers.contract import Callback, Constrain, Noise, SolverLoop, require_noise

__all__ = ["heun"]


def heun(
    denoiser: Denoiser,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    *,
    noise: Noise | None = None,
    constrain: Constrain | None = None,
    callback: Callback | None = None,
    churn: float = 0.0,
    churn_min: float = 0.0,
    churn_max: float = math.inf,
    churn_noise: float = 1.0,
) -> torch.Tensor:
    """Heun's method on the probability flow ODE, with optional churn: noise added before each step.

    N steps cost 2 N - 1 evaluations, because the step to 0 is an Euler step.

    Args:
        denoiser, x, sigmas, noise, constrain, callback: see `monai_segdiff.diffusion.samplers.contract`.
        churn: S_churn of the paper, at least 0; 0 is deterministic and draws nothing.
        churn_min: S_tmin, the smallest level at which noise is added.
        churn_max: S_tmax, the largest level at which noise is added.
        churn_noise: S_noise, the standard deviation of that noise.

    Returns:
        x0, in the shape of x, float32 or float64.

    Raises:
        ValueError: the grid does not end in 0, churn is negative, or churn > 0 without noise.

    Source: Karras et al. 2022 (arXiv 2206.00364), Algorithms 1 and 2.
    """
    if churn < 0:
        raise ValueError(f"churn must not be negative, got {churn}")
    source = require_noise("heun with churn > 0", noise) if churn > 0 else None
    run = SolverLoop(denoiser, x, sigmas, constrain, callback)
    x = run.start
    gamma = min(churn / (len(run.levels) - 1), math.sqrt(2) - 1)
    for step, sigma, sigma_next in run.steps():
        if source is not None and churn_min <= sigma <= churn_max:
            raised = sigma * (1 + gamma)  # Algorithm 2, line 5
            x = x + math.sqrt(raised**2 - sigma**2) * churn_noise * source(x.shape, x)  # lines 4 and 6
            sigma = raised
        x0_hat = run.begin_step(step, sigma, x)
        if sigma_next == 0:
            x = x0_hat  # Algorithm 1, line 5: the Euler step to 0 ends at the estimate
        else:
            slope = (x - x0_hat) / sigma  # Algorithm 1, line 4
            euler = x + (sigma_next - sigma) * slope  # line 5
            slope_next = (euler - run.denoise(euler, sigma_next)) / sigma_next  # line 7
            x = x + (sigma_next - sigma) * (slope + slope_next) / 2  # line 8
        x = run.end_step(step, sigma_next, x)
    return x
