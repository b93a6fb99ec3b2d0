"""The variance-exploding score model of Song et al. 2021."""

from __future__ import annotations

import math

import torch

from monai_segdiff.diffusion.levels import geometric
from monai_segdiff.diffusion.parameterizations.base import Parameterization, Scalings

__all__ = ["ScoreVE"]


class ScoreVE(Parameterization):
    """A network that answers sigma * score, and so regresses -noise.

    It is given the noisy image unscaled and ln(sigma) as timestep. Its plain squared error is the denoising score
    matching objective with weight sigma^2. Levels, as `draw_levels` gives them, are sigma, uniform in its logarithm.

    Args:
        sigma_min: noise level at time 0.
        sigma_max: noise level at time 1.

    Raises:
        ValueError: the noise range is empty.

    Source: Song et al. 2021 (arXiv 2011.13456), Eq. 7 (objective) and Appendix C (levels).
    """

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 128.0) -> None:
        geometric(1, sigma_min, sigma_max)  # refuses a range of which no grid can be made
        self._range = (float(sigma_min), float(sigma_max))

    @property
    def sigma_min(self) -> float:
        return self._range[0]

    @property
    def sigma_max(self) -> float:
        return self._range[1]

    def scalings(self, sigma: torch.Tensor) -> Scalings:
        # score = (D - x) / sigma^2 (arXiv 2206.00364, Eq. 3), hence D = x + sigma (sigma score)
        one = torch.ones_like(sigma)
        return Scalings(c_skip=one, c_out=sigma, c_in=one, timesteps=sigma.log())

    def _draw(self, n: int, generator: torch.Generator | None, device: torch.device | str | None) -> torch.Tensor:
        return self._sigma(torch.rand(n, generator=generator, device=device, dtype=torch.float64))

    def level_sigma(self, level: torch.Tensor) -> torch.Tensor:
        return level.to(torch.float64)

    def _sigma(self, t: torch.Tensor) -> torch.Tensor:
        # sigma(t) = sigma_min (sigma_max / sigma_min)^t, Appendix C
        ratio = math.log(self.sigma_max / self.sigma_min)
        return self.sigma_min * (ratio * t).exp()

    def _grid(self, num_steps: int, start: float | None) -> torch.Tensor:
        return geometric(num_steps, self.sigma_min, self.sigma_max if start is None else start)
