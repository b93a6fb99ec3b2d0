"""Adjustable similarity: a run that is drawn to a real image at one noise level, and goes on from there."""

from __future__ import annotations

import math

import torch

from monai_segdiff.diffusion import Parameterization
from monai_segdiff.diffusion.samplers import Noise
from monai_segdiff.inferers.run import RunContext
from monai_segdiff.inferers.starts import NoiseStart, check_level

__all__ = ["InterpolationStart"]

_OWN_STREAM = -1  # constraints have 1, 2, ...


class InterpolationStart(NoiseStart):
    """Start from noise, and interpolate with a real image at a noise level on the way.

    From the state x at level sigma the run goes on at x' = (1 - similarity) x + similarity (image + sigma n). The noise
    n = (x - D(x, sigma)) / sigma is the sample's own, so that x' has level sigma for any similarity. With 0 the sample
    is what the run gives without the image, to the bit; with 1 the run goes on from the noised image.

    The level is that of the run's grid which is nearest to the one asked for. There a multistep sampler begins anew,
    without the estimates that it has from before. It costs one more evaluation, and none with 0.

    Args:
        image: the real image, (B, C, *spatial), or (1, C, *spatial) for every sample of a batch.
        similarity: 0 to 1.
        t0: time in (0, 1], turned into a noise level by ``parameterization.sigma(t0)``.
        sigma: noise level above 0, in units of the image's intensities.
        independent_noise: put draws of its own on the image instead, as published; for a similarity between 0 and 1 the
            noise of x' is then weaker than sigma.

    Raises:
        ValueError: when the similarity is not in [0, 1], or when not exactly one of ``t0`` and ``sigma`` is given.

    Source: the adjustable generation of Konz et al. 2024 (arXiv 2402.05210).
    """

    def __init__(
        self,
        image: torch.Tensor,
        similarity: float,
        t0: float | None = None,
        sigma: float | None = None,
        independent_noise: bool = False,
    ) -> None:
        if not 0.0 <= similarity <= 1.0:
            raise ValueError(f"similarity must lie between 0 (plain sample) and 1 (the image), got {similarity}.")
        check_level("InterpolationStart", t0, sigma)
        self.image = image
        self.similarity = float(similarity)
        self.t0 = t0
        self.sigma = sigma
        self.independent_noise = independent_noise

    def state(self, run: RunContext, noise: Noise) -> torch.Tensor:
        """Draw the starting state.

        Args:
            run: the run that begins.
            noise: the run's noise.

        Raises:
            ValueError: when the image does not fit the run.
        """
        run.state_of(self.image, "image to interpolate with")  # refused before anything is sampled
        return super().state(run, noise)

    def grid_index(self, sigmas: torch.Tensor, parameterization: Parameterization) -> int:
        """Find the level of a grid at which the run meets the image.

        Args:
            sigmas: noise levels of the run, descending, ending in 0.
            parameterization: what turns ``t0`` into a noise level.

        Returns:
            Index in ``sigmas`` of the positive level whose logarithm is nearest.
        """
        level = self.sigma if self.sigma is not None else float(parameterization.sigma(self.t0))
        return int((sigmas[:-1].log() - math.log(level)).abs().argmin())

    def interpolate(self, x: torch.Tensor, x0_hat: torch.Tensor, sigma: float, run: RunContext) -> torch.Tensor:
        """Move a state towards the image.

        Args:
            x: the state, (B, C, *spatial).
            x0_hat: the denoiser's answer to it.
            sigma: its noise level.
            run: the run.

        Returns:
            The state from which the run goes on.
        """
        image = run.state_of(self.image, "image to interpolate with").to(x.dtype)
        if self.independent_noise:
            noised = image + sigma * run.noise(_OWN_STREAM)(run.shape, x)
        else:
            noised = image + (x - x0_hat)
        return torch.lerp(x, noised, self.similarity)
