"""Networks whose samples are known in closed form."""

from __future__ import annotations

import torch

from monai_segdiff.diffusion import EDM

SIGMA_DATA = 0.5


class GaussianNetwork(torch.nn.Module):
    """What an EDM network learns from images whose pixels are N(mean(condition), std^2), independent of each other.

    The mean of a pixel is ``weights @ condition`` at that pixel, or 0 without a condition. The posterior mean is
    (std^2 x + sigma^2 mean) / (std^2 + sigma^2), solved here for the network's raw output.
    """

    def __init__(self, weights: list[float], std: float = 0.2, out_channels: int = 1) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor(weights))
        self.std = std
        self.out_channels = out_channels
        self.batch_sizes: list[int] = []
        self.seen: list[torch.Tensor] = []

    def mean(self, condition: torch.Tensor) -> torch.Tensor:
        return torch.einsum("c,bc...->b...", self.weights, condition)[:, None]

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        self.batch_sizes.append(len(x))
        self.seen.append(x)
        sigma = (4.0 * timesteps.double()).exp().reshape(-1, *[1] * (x.ndim - 1))
        total = sigma**2 + SIGMA_DATA**2
        noisy = x.double() * total.sqrt()
        mean = 0.0 if condition is None else self.mean(condition).double()
        denoised = (self.std**2 * noisy + sigma**2 * mean) / (self.std**2 + sigma**2)
        raw = (denoised - noisy * SIGMA_DATA**2 / total) / (sigma * SIGMA_DATA / total.sqrt())
        return raw.to(x.dtype)


class PromptNetwork(GaussianNetwork):
    """The same for a model whose condition is a prompt: the mean of all pixels is that of the tokens' values."""

    def __init__(self, values: list[float], std: float = 0.2, out_channels: int = 4) -> None:
        super().__init__(values, std, out_channels)
        self.in_channels = out_channels
        self.prompts: list[torch.Tensor] = []

    def mean(self, condition: torch.Tensor) -> torch.Tensor:
        return self.weights[condition.long()].mean(dim=1)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        self.prompts.append(condition)
        means = torch.zeros(len(x)) if condition is None else self.mean(condition)
        # The parent's oracle around mean 0, shifted: posterior(x) = m + posterior of (x - m).
        shape = (-1, *[1] * (x.ndim - 1))
        sigma = (4.0 * timesteps.double()).exp().reshape(shape)
        total = sigma**2 + SIGMA_DATA**2
        shift = (sigma**2 / (self.std**2 + sigma**2)) * means.double().reshape(shape)
        return super().forward(x, timesteps) + (shift / (sigma * SIGMA_DATA / total.sqrt())).to(x.dtype)


def edm(sigma_min: float = 0.002) -> EDM:
    return EDM(sigma_data=SIGMA_DATA, sigma_min=sigma_min)


def gaussian_flow(start: torch.Tensor, sigma: float, mean: torch.Tensor | float, std: float) -> torch.Tensor:
    """Where the probability flow ODE takes a state from noise level sigma to 0 if the data are N(mean, std^2)."""
    return mean + (start - mean) * std / (std**2 + sigma**2) ** 0.5
