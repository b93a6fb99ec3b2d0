"""Inversion: the path from noise to an image under its mask, where an edit starts and which constrains it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from monai_segdiff.diffusion import Parameterization
from monai_segdiff.diffusion.samplers import Noise
from monai_segdiff.inferers.run import RunContext

__all__ = ["Trajectory"]


class Trajectory:
    """The states of a deterministic run, level by level, that ends at a given image.

    ``SamplingInferer.invert`` gives it. As a start it begins a run at its noisiest state; ``BlendConstraint`` takes it
    as a reference, and then ties a run to its states instead of a noised image.

    Args:
        sigmas: noise levels, descending, ending in 0.
        states: the state at each of them, (B, C, *spatial); the last is the image.

    Raises:
        ValueError: when there are not as many states as levels.
    """

    def __init__(self, sigmas: torch.Tensor, states: Sequence[torch.Tensor]) -> None:
        if len(sigmas) != len(states):
            raise ValueError(f"a trajectory needs a state at each level, got {len(states)} for {len(sigmas)} levels.")
        self.sigmas = sigmas
        self.states = list(states)

    @property
    def image(self) -> torch.Tensor:
        """The image at its end, as a state."""
        return self.states[-1]

    def level(self, parameterization: Parameterization) -> float | None:
        """Give the noise level at which a run begins.

        Args:
            parameterization: not needed.
        """
        return float(self.sigmas[0])

    def state(self, run: RunContext, noise: Noise) -> torch.Tensor:
        """Give the noisiest state.

        Args:
            run: the run that begins.
            noise: not needed.

        Raises:
            ValueError: when the trajectory does not fit the run.
        """
        return self.at(float(run.sigmas[0]), run)

    def at(self, sigma: float, run: RunContext) -> torch.Tensor:
        """Give the state at a noise level.

        Args:
            sigma: one of the trajectory's levels.
            run: the run that asks.

        Returns:
            The state, (B, C, *spatial), on the run's device.

        Raises:
            ValueError: when the trajectory has no such level, or its states do not fit the run.
        """
        apart = (self.sigmas - sigma).abs()
        nearest = int(apart.argmin())
        if float(apart[nearest]) > 1e-6 * sigma:
            raise ValueError(
                f"the trajectory has no state at noise level {sigma:g}: invert with the number of steps of the run."
            )
        state = self.states[nearest]
        if tuple(state.shape) != tuple(run.shape):
            raise ValueError(f"the trajectory is one of states {tuple(state.shape)}, the run's are {run.shape}.")
        return state.to(run.device)
