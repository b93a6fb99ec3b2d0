"""DDIM: the first-order step, deterministic or ancestral."""

from __future__ import annotations

import math

import torch

from monai_segdiff.diffusion.denoiser import Denoiser
from monai_segdiff.diffusion.samplers.contract import Callback, Constrain, Noise, SolverLoop, require_noise

__all__ = ["ddim"]


def ddim(
    denoiser: Denoiser,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    *,
    noise: Noise | None = None,
    constrain: Constrain | None = None,
    callback: Callback | None = None,
    eta: float = 0.0,
) -> torch.Tensor:
    """Step along the straight line to the estimate of x0, replacing a share of the noise by new noise.

    N steps cost N evaluations.

    Args:
        denoiser, x, sigmas, noise, constrain, callback: see `monai_segdiff.diffusion.samplers.contract`.
        eta: share of new noise in [0, 1]: 0 solves the probability flow ODE to first order and draws nothing, 1 is
            ancestral sampling.

    Returns:
        x0, in the shape of x, float32 or float64.

    Raises:
        ValueError: the grid does not end in 0, eta is not in [0, 1], or eta > 0 without noise.

    Source: Song et al. 2021 (arXiv 2010.02502), Eq. 12 and 16, divided by sqrt(alpha): sigma^2 = (1 - alpha) / alpha.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    source = require_noise("ddim with eta > 0", noise) if eta > 0 else None
    run = SolverLoop(denoiser, x, sigmas, constrain, callback)
    x = run.start
    for step, sigma, sigma_next in run.steps():
        x0_hat = run.begin_step(step, sigma, x)
        if sigma_next == 0:
            x = x0_hat
        else:
            fresh = eta * sigma_next * math.sqrt(1 - (sigma_next / sigma) ** 2)  # Eq. 16
            kept = math.sqrt(sigma_next**2 - fresh**2)
            x = x0_hat + (kept / sigma) * (x - x0_hat)  # Eq. 12, with epsilon = (x - x0_hat) / sigma
            if source is not None:
                x = x + fresh * source(x.shape, x)
        x = run.end_step(step, sigma_next, x)
    return x
