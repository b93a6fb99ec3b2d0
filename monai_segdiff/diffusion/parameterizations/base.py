"""What all parameterizations share: a network's raw output, seen as a denoiser and as a regression target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from inspect import signature
from typing import Any, NamedTuple

import torch

from monai_segdiff.diffusion.denoiser import Denoiser
from monai_segdiff.diffusion.precision import at_least_float32, per_sample

__all__ = ["Parameterization", "Scalings"]


class Scalings(NamedTuple):
    """The coefficients of D(x; sigma) = c_skip x + c_out F(c_in x; timesteps), each float64 (B,).

    Source: Karras et al. 2022 (arXiv 2206.00364), Eq. 7 and Table 1; `timesteps` is c_noise there.
    """

    c_skip: torch.Tensor
    c_out: torch.Tensor
    c_in: torch.Tensor
    timesteps: torch.Tensor


class Parameterization(ABC):
    """What a network F predicts, and how that gives the denoiser D.

    Noisy images are x = x0 + sigma * noise throughout (arXiv 2206.00364). A subclass states its network's scalings, the
    levels on which that is trained and its grid; the target follows from the scalings, because c_skip x + c_out F = x0
    is what F has to solve. Schedules are float64, and every method returns new tensors, so no caller can change them.
    """

    @property
    @abstractmethod
    def sigma_min(self) -> float:
        """The noise level at time 0."""

    @property
    @abstractmethod
    def sigma_max(self) -> float:
        """The noise level at time 1, where sampling from noise starts."""

    @abstractmethod
    def scalings(self, sigma: torch.Tensor) -> Scalings:
        """The network's scalings at positive noise levels, float64 (B,)."""

    @abstractmethod
    def level_sigma(self, level: torch.Tensor) -> torch.Tensor:
        """The noise levels, float64 (n,), of what `draw_levels` gave."""

    @abstractmethod
    def _draw(self, n: int, generator: torch.Generator | None, device: torch.device | str | None) -> torch.Tensor:
        """`draw_levels` on a device that fits the generator."""

    @abstractmethod
    def _sigma(self, t: torch.Tensor) -> torch.Tensor:
        """`sigma` for a checked float64 tensor."""

    @abstractmethod
    def _grid(self, num_steps: int, start: float | None) -> torch.Tensor:
        """`sigmas` for checked arguments."""

    def config(self) -> dict[str, Any]:
        """The parameterization as plain types: class under `_target_` and arguments, as MONAI's bundles write them."""
        arguments = {name: getattr(self, name) for name in signature(type(self)).parameters}
        return {
            "_target_": f"monai_segdiff.diffusion.{type(self).__name__}",
            **{name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()},
        }

    def draw_levels(
        self, n: int, generator: torch.Generator | None = None, device: torch.device | str | None = None
    ) -> torch.Tensor:
        """Draw the levels of n training images, as `training_pair` takes them.

        Args:
            n: number of levels.
            generator: source of the draws; torch's default generator of the device without it.
            device: where the levels lie; the generator's device, or the CPU, without it.

        Returns:
            Tensor (n,) whose meaning is the parameterization's own.
        """
        if device is None and generator is not None:
            device = generator.device
        return self._draw(n, generator, device)

    def sigma(self, t: torch.Tensor | float) -> torch.Tensor:
        """The noise level at a point of the parameterization's own time.

        Args:
            t: times in [0, 1], a number or a tensor of any shape: 0 is `sigma_min`, 1 is `sigma_max`.

        Returns:
            float64 tensor of the shape of t.

        Raises:
            ValueError: a time lies outside of [0, 1].
        """
        time = torch.as_tensor(t, dtype=torch.float64)
        if not bool(((time >= 0) & (time <= 1)).all()):
            raise ValueError(f"times must lie in [0, 1], got {t}")
        levels = self._sigma(time)
        # Powers round; the ends have to be met to the last bit.
        return torch.where(time == 0, self.sigma_min, torch.where(time == 1, self.sigma_max, levels))

    def sigmas(self, num_steps: int, start: float | torch.Tensor | None = None) -> torch.Tensor:
        """The parameterization's own grid of noise levels.

        Args:
            num_steps: number of steps, at least 1.
            start: noise level of the first step; all steps then lie below it. Without it the grid starts at
                `sigma_max`.

        Returns:
            float64 tensor of `num_steps + 1` levels, descending, ending in 0.

        Raises:
            ValueError: there are no steps, or the start is not in (sigma_min, sigma_max].
        """
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        if start is None:
            return self._grid(num_steps, None)
        start = float(start)
        if not self.sigma_min < start <= self.sigma_max:
            raise ValueError(
                f"{type(self).__name__} starts at noise levels above {self.sigma_min:g} and up to {self.sigma_max:g}, "
                f"got {start:g}"
            )
        return self._grid(num_steps, start)

    def training_pair(
        self, x0: torch.Tensor, noise: torch.Tensor, level: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the network is given and what it has to answer.

        The plain mean squared error against the target is the published, weighted objective: the weight sits in c_out.

        Args:
            x0: clean images (B, C, *spatial).
            noise: standard normal draws of the same shape.
            level: (B,), from `draw_levels`.

        Returns:
            (network input (B, C, *spatial), timesteps (B,), target (B, C, *spatial)), float32, or float64 for float64
            images.

        Raises:
            ValueError: shapes do not belong together.
        """
        return self.pair_at(x0, noise, self.level_sigma(level.to(x0.device)))

    def pair_at(
        self, x0: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`training_pair` at given noise levels.

        Args:
            x0: clean images (B, C, *spatial).
            noise: standard normal draws of the same shape.
            sigma: positive noise levels, (B,).

        Returns:
            What `training_pair` returns.

        Raises:
            ValueError: shapes do not belong together.
        """
        if noise.shape != x0.shape:
            raise ValueError(f"noise of shape {tuple(noise.shape)} does not fit images of shape {tuple(x0.shape)}")
        if sigma.shape != x0.shape[:1]:
            raise ValueError(f"{x0.shape[0]} images need as many levels, got shape {tuple(sigma.shape)}")
        x0, noise = at_least_float32(x0), at_least_float32(noise)
        sigma = sigma.to(x0.device, torch.float64)
        c_skip, c_out, c_in, timesteps = self.scalings(sigma)
        network_input = per_sample(c_in, x0) * x0 + per_sample(c_in * sigma, x0) * noise
        # F = (x0 - c_skip x) / c_out (arXiv 2206.00364, Eq. 8). Its coefficients on x0 and noise are formed in float64:
        # a difference of images would lose the target's digits at small sigma.
        target = per_sample((1 - c_skip) / c_out, x0) * x0 - per_sample(c_skip * sigma / c_out, x0) * noise
        return network_input, timesteps.to(x0.dtype), target

    def denoiser(self, network: Callable[..., torch.Tensor], condition: torch.Tensor | None = None) -> Denoiser:
        """See a network of this parameterization as a denoiser.

        Args:
            network: called as `network(x, timesteps, condition=condition)`, and as `network(x, timesteps)` where there
                is no condition; x and timesteps are float32, or float64 for float64 images.
            condition: handed to the network as it is.

        Returns:
            `denoiser(x, sigma) -> x0_hat` with x (B, C, *spatial), positive noise levels sigma (B,) or one for all, and
            x0_hat in the shape and dtype of x.
        """
        keywords = {} if condition is None else {"condition": condition}

        def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            state = at_least_float32(x)
            levels = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).expand(x.shape[0])
            c_skip, c_out, c_in, timesteps = self.scalings(levels)
            output = network(per_sample(c_in, state) * state, timesteps.to(state.dtype), **keywords)
            if output.shape != x.shape:
                raise ValueError(f"the network answered shape {tuple(output.shape)} to an input {tuple(x.shape)}")
            # D = c_skip x + c_out F (arXiv 2206.00364, Eq. 7)
            return (per_sample(c_skip, state) * state + per_sample(c_out, state) * output.to(state.dtype)).to(x.dtype)

        return denoise
