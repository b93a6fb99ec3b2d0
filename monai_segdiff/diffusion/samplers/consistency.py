"""Multistep consistency sampling: denoise, add the noise of the next level, denoise again."""

from __future__ import annotations

import torch

from monai_segdiff.diffusion.denoiser import Denoiser
from monai_segdiff.diffusion.samplers.contract import Callback, Constrain, Noise, SolverLoop, require_noise

__all__ = ["consistency"]


def consistency(
    denoiser: Denoiser,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    *,
    noise: Noise | None = None,
    constrain: Constrain | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Take every estimate for a sample, and put new noise of the next level on it.

    N steps cost N evaluations. The denoiser has to be a consistency function, as tuning makes one: it answers with the
    end of the path that a state lies on. A plain denoiser answers with the mean of all ends, which is blurred.

    Args:
        denoiser, x, sigmas, noise, constrain, callback: see `monai_segdiff.diffusion.samplers.contract`.

    Returns:
        x0, in the shape of x, float32 or float64.

    Raises:
        ValueError: the grid does not end in 0, or there are several steps and no noise.

    Source: Song et al. 2023 (arXiv 2303.01469), Algorithm 1 with epsilon = 0.
    """
    run = SolverLoop(denoiser, x, sigmas, constrain, callback)
    source = require_noise("consistency", noise) if len(run.levels) > 2 else None
    x = run.start
    for step, sigma, sigma_next in run.steps():
        x = run.begin_step(step, sigma, x)
        if source is not None and sigma_next > 0:
            x = x + sigma_next * source(x.shape, x)
        x = run.end_step(step, sigma_next, x)
    return x
