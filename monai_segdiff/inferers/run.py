"""The facts of one sampling run, and the interfaces of the parts that are bound to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from monai.utils import convert_to_tensor

from monai_segdiff.diffusion import SampleNoise, mix_seed
from monai_segdiff.diffusion.samplers import Noise

__all__ = ["Constraint", "RunContext", "Start"]


@dataclass(frozen=True)
class RunContext:
    """What a start and the constraints may know of the batch that is being sampled.

    Args:
        shape: shape of the sampler's state, (B, C, *spatial).
        sigmas: noise levels of the run, float64, descending, ending in 0.
        device: where the state lives.
        seed: seed of the run.
        indices: index of each sample of the batch; a sample's noise depends on (seed, index) only.
        encode: map from an image (n, C, *spatial) to the sampler's state; the identity in image space.
    """

    shape: tuple[int, ...]
    sigmas: torch.Tensor
    device: torch.device
    seed: int
    indices: Sequence[int]
    encode: Callable[[torch.Tensor], torch.Tensor]

    @property
    def num_steps(self) -> int:
        """Number of steps of the run."""
        return len(self.sigmas) - 1

    def noise(self, stream: int = 0) -> Noise:
        """Give one of the run's independent noise streams.

        Streams are apart so that a constraint's draws do not shift those of the sampler.

        Args:
            stream: 0 for the start and the sampler, ``k`` for the ``k``-th constraint.

        Returns:
            A source of per-sample noise.
        """
        source = SampleNoise(self.seed if stream == 0 else mix_seed(self.seed, stream), self.indices)
        return partial(_constant, source) if torch.jit.is_tracing() else source

    def state_of(self, image: torch.Tensor, name: str) -> torch.Tensor:
        """Bring an image that a user gave to the state's space, device and dtype.

        Args:
            image: (B, C, *spatial), or (1, C, *spatial) for the whole batch.
            name: what the image is, for the error message.

        Returns:
            The encoded image, (B, ...) or (1, ...).

        Raises:
            ValueError: when the encoded image does not fit the state's shape.
        """
        plain = convert_to_tensor(image, dtype=torch.float32, device=self.device, track_meta=False)
        state = self.encode(plain)
        if state.shape[1:] != self.shape[1:] or state.shape[0] not in (1, self.shape[0]):
            raise ValueError(
                f"the {name} has shape {tuple(image.shape)} (as the sampler sees it: {tuple(state.shape)}), but the "
                f"samples of this run are {self.shape}; give one image per sample, or one with batch size 1 for all."
            )
        return state


class Start(Protocol):
    """Where a run begins."""

    def level(self, parameterization: Any) -> float | None:
        """Give the noise level at which the run begins, or ``None`` for the highest."""

    def state(self, run: RunContext, noise: Noise) -> torch.Tensor:
        """Give the state (B, C, *spatial) at noise level ``run.sigmas[0]``."""


class Constraint(Protocol):
    """A change of the state after every step, which ties it to a reference."""

    def bind(self, run: RunContext, noise: Noise) -> Callable[[int, float, torch.Tensor], torch.Tensor]:
        """Prepare for a run and give ``constrain(step, sigma_next, x) -> x``, called on the state at ``sigma_next``."""


def _constant(source: SampleNoise, shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    # torch.jit.trace would record a draw without its seed. What passes through numpy it records as a constant.
    draws = source(shape, torch.empty((), dtype=torch.float32))
    return torch.from_numpy(draws.numpy()).to(like)
