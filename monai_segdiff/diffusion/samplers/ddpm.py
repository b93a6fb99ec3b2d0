"""DDPM: ancestral sampling."""

from __future__ import annotations

import torch

from monai_segdiff.diffusion.denoiser import Denoiser
from monai_segdiff.diffusion.samplers.contract import Callback, Constrain, Noise, require_noise
from monai_segdiff.diffusion.samplers.ddim import ddim

__all__ = ["ddpm"]


def ddpm(
    denoiser: Denoiser,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    *,
    noise: Noise | None = None,
    constrain: Constrain | None = None,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Draw each state from the posterior q(x_next | x, x0_hat), for any two successive levels.

    On all levels of a VP chain this is DDPM with its smaller variance; on fewer levels the posterior is that of the
    longer step, so the noise always fits the level. N steps cost N evaluations.

    Args:
        denoiser, x, sigmas, noise, constrain, callback: see `monai_segdiff.diffusion.samplers.contract`.

    Returns:
        x0, in the shape of x, float32 or float64.

    Raises:
        ValueError: the grid does not end in 0, or there is no noise.

    Source: Ho et al. 2020 (arXiv 2006.11239), Eq. 6, 7 and Algorithm 2; equal to arXiv 2010.02502, Eq. 12 with eta = 1.
    """
    source = require_noise("ddpm", noise)
    return ddim(denoiser, x, sigmas, noise=source, constrain=constrain, callback=callback, eta=1.0)
