"""A sampler at work on one run: whole, or from one of its levels to another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from monai_segdiff.diffusion import Denoiser
from monai_segdiff.diffusion.samplers import Callback, Constrain
from monai_segdiff.inferers.run import RunContext

__all__ = ["SamplerSession"]


class SamplerSession:
    """What goes down the noise levels of a run, with one stream of noise from the first level to the last.

    Args:
        sampler: a function with the samplers' contract.
        denoiser: the run's denoiser.
        run: the run.
        constrains: the bound constraints, applied after a step in this order.
        callback: what is called in every step, or ``None``.
        options: further keyword arguments of the sampler.
    """

    def __init__(
        self,
        sampler: Callable[..., torch.Tensor],
        denoiser: Denoiser,
        run: RunContext,
        constrains: Sequence[Constrain],
        callback: Callback | None,
        options: Mapping[str, Any],
    ) -> None:
        self.noise = run.noise()
        self._sampler, self._denoiser, self._run = sampler, denoiser, run
        self._constrains, self._callback, self._options = constrains, callback, options

    def to_level(self, x: torch.Tensor, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Go from the first level to another.

        Args:
            x: state at the first level of the run.
            index: index of the level in the run's grid; 0 is the first itself.

        Returns:
            The state there, and the denoiser's answer to it.

        Raises:
            ValueError: if the sampler's noise depends on the length of the whole run.
        """
        if self._options.get("churn", 0.0) > 0:
            raise ValueError(
                "heun's churn is spread over a whole run, and one that meets an image on its way is two: leave churn "
                "out, or take ddpm, which puts fresh noise in every step too"
            )
        reached = x

        def keep(step: int, sigma_next: float, x: torch.Tensor) -> torch.Tensor:
            nonlocal reached
            if sigma_next == 0:
                return x
            reached = self._constrain(step, sigma_next, x)
            return reached

        # Of the step to 0 only the denoiser's answer remains, in every sampler.
        sigmas = torch.cat([self._run.sigmas[: index + 1], self._run.sigmas[-1:]])
        x0_hat = self._sample(x, sigmas, keep, lambda step, *seen: self._watch(step, *seen) if step < index else None)
        return reached, x0_hat

    def to_image(self, x: torch.Tensor, index: int = 0) -> torch.Tensor:
        """Go from a level to 0.

        Args:
            x: state at the level.
            index: index of the level in the run's grid.

        Returns:
            The final state.
        """
        constrain = (lambda step, *at: self._constrain(index + step, *at)) if self._constrains else None
        return self._sample(x, self._run.sigmas[index:], constrain, lambda step, *at: self._watch(index + step, *at))

    def _sample(
        self, x: torch.Tensor, sigmas: torch.Tensor, constrain: Constrain | None, watch: Callback
    ) -> torch.Tensor:
        callback = None if self._callback is None else watch
        return self._sampler(
            self._denoiser, x, sigmas, noise=self.noise, constrain=constrain, callback=callback, **self._options
        )

    def _constrain(self, step: int, sigma_next: float, x: torch.Tensor) -> torch.Tensor:
        for constrain in self._constrains:
            x = constrain(step, sigma_next, x)
        return x

    def _watch(self, step: int, sigma: float, x: torch.Tensor, x0_hat: torch.Tensor) -> None:
        if self._callback is not None:
            self._callback(step, sigma, x, x0_hat)
