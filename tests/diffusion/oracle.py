"""Data whose denoiser is known in closed form: a mixture of two Gaussians, value by value."""

from __future__ import annotations

import math

import torch

MEANS = (-0.6, 0.5)
WEIGHTS = (0.3, 0.7)
STD = 0.15
TOTAL_STD = math.sqrt(
    STD**2
    + sum(w * m**2 for w, m in zip(WEIGHTS, MEANS, strict=True))
    - sum(w * m for w, m in zip(WEIGHTS, MEANS, strict=True)) ** 2
)


def posterior_mean(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """E[x0 | x = x0 + sigma noise] by Bayes' rule; a denoiser without error."""
    sigma = sigma.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    variance = STD**2 + sigma**2
    first, second = (
        math.log(weight) - (x - mean) ** 2 / (2 * variance) for weight, mean in zip(WEIGHTS, MEANS, strict=True)
    )
    # Probability that x comes from the second component. torch.sigmoid would round by a value's place in memory, and
    # this oracle has to be pointwise to the bit.
    share = 1 / (1 + torch.exp(first - second))
    mean = MEANS[0] * (1 - share) + MEANS[1] * share
    return (STD**2 * x + sigma**2 * mean) / variance


def score(x: torch.Tensor, signal: torch.Tensor, noise_std: torch.Tensor) -> torch.Tensor:
    """Gradient of the log density of signal * x0 + noise_std * noise, by differentiating that density.

    It shares no formula with `posterior_mean`, so the two check each other.
    """
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        variance = (signal * STD) ** 2 + noise_std**2
        terms = [
            math.log(weight) - (point - signal * mean) ** 2 / (2 * variance)
            for weight, mean in zip(WEIGHTS, MEANS, strict=True)
        ]
        return torch.autograd.grad(torch.logsumexp(torch.stack(terms), 0).sum(), point)[0]


def draw(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Samples of the mixture, float64."""
    second = torch.rand(shape, generator=generator, dtype=torch.float64) < WEIGHTS[1]
    means = torch.where(second, MEANS[1], MEANS[0]).to(torch.float64)
    return means + STD * torch.randn(shape, generator=generator, dtype=torch.float64)


def quantiles(n: int) -> torch.Tensor:
    """Evenly spaced quantiles of the standard normal distribution, (n, 1) float64."""
    return torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).reshape(n, 1)


def std_error(samples: torch.Tensor) -> float:
    """Relative error of the standard deviation of all samples pooled."""
    return samples.std().item() / TOTAL_STD - 1


def mode_std_error(samples: torch.Tensor) -> float:
    """Relative error of the standard deviation within the modes, their variances pooled by size."""
    values = samples.flatten()
    middle = sum(MEANS) / 2
    parts = (values[values < middle], values[values >= middle])
    variance = sum(part.var().item() * len(part) for part in parts) / len(values)
    return math.sqrt(variance) / STD - 1


def weight_error(samples: torch.Tensor) -> float:
    """Error of the first mode's weight."""
    return (samples < sum(MEANS) / 2).double().mean().item() - WEIGHTS[0]


class RandomDraws:
    """Noise for samplers from one seeded generator, fast for large batches."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        return torch.randn(tuple(shape), generator=self.generator, dtype=like.dtype)
