"""The preconditioning of Karras et al. 2022."""

from __future__ import annotations

import torch

from monai_segdiff.diffusion.levels import karras
from monai_segdiff.diffusion.parameterizations.base import Parameterization, Scalings

__all__ = ["EDM"]


class EDM(Parameterization):
    """A network with unit variance at input and target for every noise level, trained on log-normal levels.

    The network's timesteps are ln(sigma) / 4, and its plain squared error is the published objective with weight
    (sigma^2 + sigma_data^2) / (sigma sigma_data)^2. Levels, as `draw_levels` gives them, are sigma itself.

    Args:
        sigma_data: standard deviation of the training images, in their own units.
        p_mean: mean of ln(sigma) in training.
        p_std: standard deviation of ln(sigma) in training.
        sigma_min: smallest noise level in sampling.
        sigma_max: largest noise level in sampling.
        rho: curvature of the grid of noise levels.

    Raises:
        ValueError: a standard deviation is not positive, or the noise range is empty.

    Source: Karras et al. 2022 (arXiv 2206.00364), Table 1, column "Ours".
    """

    def __init__(
        self,
        sigma_data: float = 0.5,
        p_mean: float = -1.2,
        p_std: float = 1.2,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
    ) -> None:
        if not (sigma_data > 0 and p_std > 0):
            raise ValueError(f"sigma_data and p_std must be positive, got {sigma_data} and {p_std}")
        karras(1, sigma_min, sigma_max, rho)  # refuses a range of which no grid can be made
        self.sigma_data, self.p_mean, self.p_std, self.rho = sigma_data, p_mean, p_std, rho
        self._range = (float(sigma_min), float(sigma_max))

    @property
    def sigma_min(self) -> float:
        return self._range[0]

    @property
    def sigma_max(self) -> float:
        return self._range[1]

    def scalings(self, sigma: torch.Tensor) -> Scalings:
        variance = sigma**2 + self.sigma_data**2
        return Scalings(
            c_skip=self.sigma_data**2 / variance,
            c_out=sigma * self.sigma_data / variance.sqrt(),
            c_in=1 / variance.sqrt(),
            timesteps=sigma.log() / 4,
        )

    def _draw(self, n: int, generator: torch.Generator | None, device: torch.device | str | None) -> torch.Tensor:
        draws = torch.randn(n, generator=generator, device=device, dtype=torch.float64)
        return (self.p_mean + self.p_std * draws).exp()  # Table 1, "Noise distribution"

    def level_sigma(self, level: torch.Tensor) -> torch.Tensor:
        return level.to(torch.float64)

    def _sigma(self, t: torch.Tensor) -> torch.Tensor:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return (low + t * (high - low)) ** self.rho

    def _grid(self, num_steps: int, start: float | None) -> torch.Tensor:
        return karras(num_steps, self.sigma_min, self.sigma_max if start is None else start, self.rho)
