"""The way back: from an image to the noise that a deterministic sampler would make it from."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch

from monai_segdiff.diffusion.denoiser import Denoiser
from monai_segdiff.diffusion.samplers.contract import SolverLoop

__all__ = ["invert"]


def invert(
    denoiser: Denoiser, x0: torch.Tensor, sigmas: torch.Tensor, method: Literal["heun", "ddim"] = "heun"
) -> list[torch.Tensor]:
    """Solve the probability flow ODE from an image upwards.

    Nothing is drawn, so an image has one trajectory, and a deterministic sampler on the same grid goes down on it again
    but for the error of the steps. N steps cost 2 N - 1 evaluations with "heun", N with "ddim". The first step, from 0,
    where the ODE has no slope, takes the one that it finds at the image on the first level.

    Args:
        denoiser: `denoiser(x, sigma) -> x0_hat`.
        x0: images (B, C, *spatial).
        sigmas: noise levels of a run downwards: descending, ending in 0.
        method: "heun" is of second order, "ddim" of first.

    Returns:
        The state at each level of `sigmas`, in its order, so the noisiest first and x0 last; float32 or float64.

    Raises:
        ValueError: the levels do not descend to 0, or there is no such method.

    Source: Song et al. 2021 (arXiv 2010.02502), Section 4.3, with the steps of Karras et al. 2022 (arXiv 2206.00364),
    Algorithm 1, run upwards.
    """
    if method not in ("heun", "ddim"):
        raise ValueError(f'method must be "heun" or "ddim", got {method!r}')
    run = SolverLoop(denoiser, x0, sigmas, None, None)
    upwards = run.levels[::-1]
    states = [run.start]
    for sigma, sigma_next in pairwise(upwards):
        x = states[-1]
        at = sigma if sigma > 0 else sigma_next
        slope = (x - run.denoise(x, at)) / at
        there = x + (sigma_next - sigma) * slope
        if sigma > 0 and method == "heun":
            slope_next = (there - run.denoise(there, sigma_next)) / sigma_next
            there = x + (sigma_next - sigma) * (slope + slope_next) / 2
        states.append(there)
    return states[::-1]
