"""The one view that every sampler has of a model."""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["CountingDenoiser", "Denoiser"]

Denoiser = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""`denoiser(x, sigma) -> x0_hat`: x (B, C, *spatial) = x0 + sigma * noise, sigma (B,), x0_hat the estimate of x0."""


class CountingDenoiser:
    """A denoiser that counts how often it is evaluated.

    Args:
        denoiser: the denoiser to which calls are passed on.

    Attributes:
        evaluations: number of calls so far.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.evaluations = 0

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.evaluations += 1
        return self.denoiser(x, sigma)
