"""What every sampler promises, and the bookkeeping that keeps the promise.

    sampler(denoiser, x, sigmas, *, noise=None, constrain=None, callback=None, **options) -> x0

- `denoiser(x, sigma) -> x0_hat` with x (B, C, *spatial) and sigma float64 (B,).
- x enters as x0 + sigmas[0] * noise. It is held in float64 where it comes so, and in float32 otherwise.
- `sigmas` descends strictly and ends in 0, where the result lies: (N + 1,) for N steps.
- `noise(shape, like)` gives standard normal draws. Samplers that draw refuse to run without it.
- `constrain(step, sigma_next, x) -> x` is called once after every step, on the state at sigma_next, 0 included.
- `callback(step, sigma, x, x0_hat)` sees copies of the state from which a step starts and of the estimate made there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from monai_segdiff.diffusion.denoiser import Denoiser
from monai_segdiff.diffusion.precision import at_least_float32

__all__ = ["Callback", "Constrain", "Noise", "SolverLoop", "require_noise"]

Noise = Callable[[Sequence[int], torch.Tensor], torch.Tensor]
Constrain = Callable[[int, float, torch.Tensor], torch.Tensor]
Callback = Callable[[int, float, torch.Tensor, torch.Tensor], None]


class SolverLoop:
    """One run of a sampler: its levels as Python floats (64 bits), its denoiser, and the calls around each step.

    Args:
        denoiser, x, sigmas, constrain, callback: as in the contract.

    Attributes:
        levels: the noise levels.
        start: x in the precision of the solver.

    Raises:
        ValueError: the noise levels do not descend strictly to 0.
        TypeError: x is not floating point.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        x: torch.Tensor,
        sigmas: torch.Tensor | Sequence[float],
        constrain: Constrain | None,
        callback: Callback | None,
    ) -> None:
        self.levels: list[float] = torch.as_tensor(sigmas, dtype=torch.float64).flatten().tolist()
        descending = all(high > low for high, low in zip(self.levels, self.levels[1:], strict=False))
        if len(self.levels) < 2 or not descending or self.levels[-1] != 0 or self.levels[0] == float("inf"):
            raise ValueError(f"sigmas must be finite, descend strictly and end in 0, got {self.levels}")
        self.start = at_least_float32(x)
        self._denoiser, self._constrain, self._callback = denoiser, constrain, callback

    def steps(self) -> Iterator[tuple[int, float, float]]:
        """(step, sigma, sigma_next) of every step."""
        yield from zip(range(len(self.levels) - 1), self.levels, self.levels[1:], strict=False)

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """Evaluate the denoiser; the answer comes in the precision of the solver."""
        return self._denoiser(x, torch.full(x.shape[:1], sigma, dtype=torch.float64, device=x.device)).to(x.dtype)

    def begin_step(self, step: int, sigma: float, x: torch.Tensor) -> torch.Tensor:
        """Evaluate the denoiser where a step starts, and show what it found."""
        x0_hat = self.denoise(x, sigma)
        if self._callback is not None:
            self._callback(step, sigma, x.clone(), x0_hat.clone())
        return x0_hat

    def end_step(self, step: int, sigma_next: float, x: torch.Tensor) -> torch.Tensor:
        """Let the constraint act on the state that a step reached."""
        return x if self._constrain is None else self._constrain(step, sigma_next, x).to(x.dtype)


def require_noise(name: str, noise: Noise | None) -> Noise:
    """Return the noise source, or say which sampler lacks one.

    Raises:
        ValueError: there is none.
    """
    if noise is None:
        raise ValueError(f"{name} draws noise: pass noise=SampleNoise(seed, indices) or another noise(shape, like)")
    return noise
