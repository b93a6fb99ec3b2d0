"""The predictor-corrector sampler of variance-exploding score models."""

from __future__ import annotations

import math
from typing import Literal

import torch

from monai_segdiff.diffusion.denoiser import Denoiser
from monai_segdiff.diffusion.precision import per_sample
from monai_segdiff.diffusion.samplers.contract import Callback, Constrain, Noise, SolverLoop, require_noise

__all__ = ["ve_pc"]


def ve_pc(
    denoiser: Denoiser,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    *,
    noise: Noise | None = None,
    constrain: Constrain | None = None,
    callback: Callback | None = None,
    snr: float = 0.4,
    norm: Literal["sample", "batch"] = "sample",
) -> torch.Tensor:
    """Reverse-diffusion predictor to the next level, then one step of Langevin dynamics there.

    The last step, to 0, has neither noise nor corrector: N steps cost 2 N - 1 evaluations.

    Args:
        denoiser, x, sigmas, noise, constrain, callback: see `monai_segdiff.diffusion.samplers.contract`.
        snr: signal-to-noise ratio r of the Langevin step, positive.
        norm: "sample" takes the norms in the step size over each sample, so that no sample depends on the others;
            "batch" takes their mean over the batch, as published. Per sample the norms need many values to settle:
            images have them, single numbers do not.

    Returns:
        x0, in the shape of x, float32 or float64.

    Raises:
        ValueError: the grid does not end in 0, there is no noise, or an option is out of range.

    Source: Song et al. 2021 (arXiv 2011.13456), Algorithms 2 and 4.
    """
    if not snr > 0:
        raise ValueError(f"snr must be positive, got {snr}")
    if norm not in ("sample", "batch"):
        raise ValueError(f'norm must be "sample" or "batch", got {norm!r}')
    source = require_noise("ve_pc", noise)
    run = SolverLoop(denoiser, x, sigmas, constrain, callback)
    x = run.start
    for step, sigma, sigma_next in run.steps():
        x0_hat = run.begin_step(step, sigma, x)
        if sigma_next == 0:
            x = x0_hat  # x + sigma^2 score
        else:
            gain = sigma**2 - sigma_next**2
            # Algorithm 2, lines 3 and 5, with score = (x0_hat - x) / sigma^2
            x = x + gain / sigma**2 * (x0_hat - x) + math.sqrt(gain) * source(x.shape, x)
            score = (run.denoise(x, sigma_next) - x) / sigma_next**2
            draws = source(x.shape, x)
            epsilon = _langevin_step(score, draws, snr, norm)
            x = x + epsilon * score + (2 * epsilon).sqrt() * draws  # Algorithm 4, line 6
        x = run.end_step(step, sigma_next, x)
    return x


def _langevin_step(score: torch.Tensor, draws: torch.Tensor, snr: float, norm: str) -> torch.Tensor:
    """epsilon = 2 (r |z| / |score|)^2, Algorithm 4, line 5; (B, 1, ..., 1)."""
    score_norm = torch.linalg.vector_norm(score.flatten(1), dim=1)
    noise_norm = torch.linalg.vector_norm(draws.flatten(1), dim=1)
    if norm == "batch":
        score_norm = score_norm.mean().expand_as(score_norm)
        noise_norm = noise_norm.mean().expand_as(noise_norm)
    epsilon = 2 * (snr * noise_norm / score_norm) ** 2
    return per_sample(torch.where(score_norm > 0, epsilon, 0.0), score)  # no score, no step: not an infinite one
