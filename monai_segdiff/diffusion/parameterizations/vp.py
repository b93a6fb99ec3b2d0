"""Variance-preserving models on a discrete chain of betas: noise and velocity prediction."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from monai_segdiff.diffusion.parameterizations.base import Parameterization, Scalings

__all__ = ["EpsilonVP", "VelocityVP"]

_INDEX_TOLERANCE = 1e-4  # a level of the chain that went through float32 comes back within this much of its index


class _DiscreteVP(Parameterization):
    """A chain x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise, t = 0..T-1 (arXiv 2006.11239, Eq. 4).

    Divided by sqrt(abar_t) it is x0 + sigma noise with sigma^2 = (1 - abar_t) / abar_t.
    """

    prediction_type: ClassVar[str]

    def __init__(self, betas: torch.Tensor | Sequence[float] | None = None) -> None:
        default = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)  # arXiv 2006.11239, Section 4
        chain = torch.as_tensor(default if betas is None else betas, dtype=torch.float64).detach().cpu()
        if chain.ndim != 1 or len(chain) < 2 or not bool(((chain > 0) & (chain < 1)).all()):
            raise ValueError("betas must be a sequence of at least two numbers between 0 and 1, ends excluded")
        self.betas: tuple[float, ...] | None = None if betas is None else tuple(chain.tolist())
        self._alphas_cumprod = (1 - chain).cumprod(0)
        self._sigmas = ((1 - self._alphas_cumprod) / self._alphas_cumprod).sqrt()
        self._tables: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = {}

    @classmethod
    def from_monai_scheduler(cls, scheduler: Any) -> _DiscreteVP:
        """Adopt the chain on which a model was trained with MONAI's DiffusionInferer.

        Only the betas are read. The scheduler's `alphas_cumprod` may have been rounded to half precision by a call of
        its `add_noise`; here they are computed again, in float64.

        Args:
            scheduler: a `monai.networks.schedulers` DDPMScheduler, DDIMScheduler or PNDMScheduler.

        Raises:
            TypeError: the object has no betas or no prediction type.
            ValueError: the model predicts something else than this class takes.
        """
        betas, prediction = getattr(scheduler, "betas", None), getattr(scheduler, "prediction_type", None)
        if betas is None or prediction is None:
            raise TypeError(
                f"{type(scheduler).__name__} has no betas and prediction_type, as MONAI's DDPM and DDIM schedulers have"
            )
        if str(prediction) != cls.prediction_type:
            right = {each.prediction_type: each.__name__ for each in (EpsilonVP, VelocityVP)}.get(str(prediction))
            remedy = f"use {right}.from_monai_scheduler" if right else "no parameterization here reads that"
            raise ValueError(
                f"{cls.__name__} takes prediction_type={cls.prediction_type!r}, but the scheduler has "
                f"{str(prediction)!r}: {remedy}"
            )
        return cls(betas)

    @property
    def num_timesteps(self) -> int:
        """T, the length of the chain."""
        return len(self._sigmas)

    @property
    def alphas_cumprod(self) -> torch.Tensor:
        """A copy of abar_t, float64 (T,)."""
        return self._alphas_cumprod.clone()

    @property
    def sigma_min(self) -> float:
        return float(self._sigmas[0])

    @property
    def sigma_max(self) -> float:
        return float(self._sigmas[-1])

    def scalings(self, sigma: torch.Tensor) -> Scalings:
        c_skip, c_out = self._output_scalings(sigma)
        # sqrt(abar) = 1 / sqrt(1 + sigma^2) brings x to the network's own scale (arXiv 2206.00364, Table 1, c_in of VP)
        return Scalings(c_skip=c_skip, c_out=c_out, c_in=(1 + sigma**2).rsqrt(), timesteps=self._timestep(sigma))

    @abstractmethod
    def _output_scalings(self, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """c_skip and c_out of what the network predicts."""

    def _draw(self, n: int, generator: torch.Generator | None, device: torch.device | str | None) -> torch.Tensor:
        return torch.randint(self.num_timesteps, (n,), generator=generator, device=device)

    def level_sigma(self, level: torch.Tensor) -> torch.Tensor:
        return self._table(level.device)[0][level]

    def _table(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """The chain's sigma and ln(sigma) on a device; moved there once, because every copy would wait for the GPU."""
        if device not in self._tables:
            self._tables[device] = (self._sigmas.to(device), self._sigmas.log().to(device))
        return self._tables[device]

    def _timestep(self, sigma: torch.Tensor) -> torch.Tensor:
        """The index at which the chain has this noise level, interpolated in ln(sigma) and held at the chain's ends."""
        table, log_sigma = self._table(sigma.device)[1], sigma.log()
        upper = torch.searchsorted(table, log_sigma.contiguous()).clamp(1, len(table) - 1)
        fraction = (log_sigma - table[upper - 1]) / (table[upper] - table[upper - 1])
        index = upper - 1 + fraction.clamp(0, 1)
        # The network was trained on integers, and a level of the chain has to come back as one.
        nearest = index.round()
        return torch.where((index - nearest).abs() < _INDEX_TOLERANCE, nearest, index)

    def _sigma(self, t: torch.Tensor) -> torch.Tensor:
        index = t * (self.num_timesteps - 1)
        lower = index.long().clamp(max=self.num_timesteps - 2)
        sigmas = self._table(t.device)[0]
        # linear in ln(sigma), as in _timestep
        return sigmas[lower] ** (lower + 1 - index) * sigmas[lower + 1] ** (index - lower)

    def _grid(self, num_steps: int, start: float | None) -> torch.Tensor:
        # The "trailing" spacing: steps of equal length in the chain, counted back from the first level, so that the
        # first level is always visited. `length` counts the levels at and below the first, with a fraction where a
        # start lies between two levels.
        first = self.sigma_max if start is None else start
        length = float(self._timestep(torch.tensor([first], dtype=torch.float64))) + 1
        if num_steps > length:
            raise ValueError(f"{num_steps} steps, but the chain has {math.floor(length)} levels up to sigma {first:g}")
        # half up, because rounding half to even could visit a level twice
        counts = [math.floor(length * (num_steps - step) / num_steps + 0.5) for step in range(1, num_steps)]
        below = self._sigmas[torch.tensor(counts, dtype=torch.long) - 1]
        return torch.cat([below.new_tensor([first]), below, below.new_zeros(1)])


class EpsilonVP(_DiscreteVP):
    """A network that predicts the noise, on a discrete chain.

    It is given sqrt(abar) x0 + sqrt(1 - abar) noise and the chain's index as a floating point number: an integer in
    training and on the chain's own levels, interpolated in ln(sigma) between them. Its plain squared error is the
    published simple objective, weight 1 / sigma^2 on x0. Levels, as `draw_levels` gives them, are indices.

    Args:
        betas: the chain's betas, each between 0 and 1; linear 1e-4..0.02 with T=1000 without them.

    Raises:
        ValueError: betas are not numbers between 0 and 1.

    Source: Ho et al. 2020 (arXiv 2006.11239), Eq. 4 and 14.
    """

    prediction_type = "epsilon"

    def _output_scalings(self, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones_like(sigma), -sigma  # x0 = x - sigma epsilon (arXiv 2206.00364, Table 1, VP)


class VelocityVP(_DiscreteVP):
    """A network that predicts v = sqrt(abar) noise - sqrt(1 - abar) x0, on a discrete chain.

    Its input, timesteps and levels are those of `EpsilonVP`. Its plain squared error weighs x0 by 1 + 1 / sigma^2.

    Args:
        betas: the chain's betas, each between 0 and 1; linear 1e-4..0.02 with T=1000 without them.

    Raises:
        ValueError: betas are not numbers between 0 and 1.

    Source: Salimans and Ho 2022 (arXiv 2202.00512), Section 4 and Appendix D.
    """

    prediction_type = "v_prediction"

    def _output_scalings(self, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # x0 = alpha z - sigma_vp v (Appendix D) with z = alpha x, alpha^2 = 1 / (1 + sigma^2), sigma_vp = alpha sigma
        alpha = (1 + sigma**2).rsqrt()
        return alpha**2, -alpha * sigma
