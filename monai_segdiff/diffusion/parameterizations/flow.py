"""Rectified flow, seen in noise levels."""

from __future__ import annotations

import torch

from monai_segdiff.diffusion.parameterizations.base import Parameterization, Scalings

__all__ = ["RectifiedFlow"]


class RectifiedFlow(Parameterization):
    """A network that answers the velocity noise - x0 on the straight path x_t = (1 - t) x0 + t noise.

    Divided by 1 - t the path is x0 + sigma noise with sigma = t / (1 - t). The network is given x_t and 1000 t. Levels,
    as `draw_levels` gives them, are t, uniform in (0, t_max]. Time runs from data (0) to noise (1), opposite to the
    paper, so the velocity has the opposite sign too.

    Args:
        t_max: where sampling starts, below 1, because t = 1 is an infinite noise level.

    Raises:
        ValueError: t_max is not in (0, 1).

    Source: Liu et al. 2022 (arXiv 2209.03003), Eq. 1.
    """

    def __init__(self, t_max: float = 0.999) -> None:
        if not 0 < t_max < 1:
            raise ValueError(f"t_max must lie between 0 and 1, got {t_max}")
        self.t_max = float(t_max)

    @property
    def sigma_min(self) -> float:
        return 0.0

    @property
    def sigma_max(self) -> float:
        return self.t_max / (1 - self.t_max)

    def scalings(self, sigma: torch.Tensor) -> Scalings:
        # x0 = x_t - t velocity with x_t = x / (1 + sigma) and t = sigma / (1 + sigma)
        t = sigma / (1 + sigma)
        shrink = 1 / (1 + sigma)
        return Scalings(c_skip=shrink, c_out=-t, c_in=shrink, timesteps=1000 * t)

    def _draw(self, n: int, generator: torch.Generator | None, device: torch.device | str | None) -> torch.Tensor:
        # 1 - u lies in (0, 1]: at t = 0 there is no noise, and the velocity is not determined by the image.
        return self.t_max * (1 - torch.rand(n, generator=generator, device=device, dtype=torch.float64))

    def level_sigma(self, level: torch.Tensor) -> torch.Tensor:
        t = level.to(torch.float64)
        return t / (1 - t)

    def _sigma(self, t: torch.Tensor) -> torch.Tensor:
        return self.level_sigma(t.clamp(max=self.t_max))

    def _grid(self, num_steps: int, start: float | None) -> torch.Tensor:
        first = self.sigma_max if start is None else start
        times = first / (1 + first) * torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
        levels = self.level_sigma(times)
        levels[0] = first  # the way to t and back rounds
        return levels
