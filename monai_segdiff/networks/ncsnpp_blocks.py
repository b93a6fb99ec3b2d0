"""The parts of which NCSN++ is built: noise embedding, residual blocks, attention."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional

from monai_segdiff.networks.fir import fir_downsample, fir_upsample
from monai_segdiff.networks.precision import float32_outside_autocast

__all__ = [
    "AttentionBlock",
    "Float32Conv2d",
    "FourierEmbedding",
    "ResidualBlock",
    "conv3x3",
    "group_norm",
    "initialized",
    "merge",
]

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def merge(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Add two branches and divide by sqrt(2): the variance of a sum of independent branches stays that of one."""
    return (first + second) * math.sqrt(0.5)


class Float32Conv2d(nn.Conv2d):
    """A convolution that autocast leaves alone: bfloat16 has not the digits for an image with little noise on it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return float32_outside_autocast(super().forward, x)


def conv3x3(in_channels: int, out_channels: int, kind: type[nn.Conv2d] = nn.Conv2d) -> nn.Conv2d:
    """A convolution that keeps the size and, at the start of training, the variance."""
    return initialized(kind(in_channels, out_channels, 3, padding=1))


def group_norm(groups: int, channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, channels, eps=1e-6)


def initialized(layer: Layer) -> Layer:
    """The layer with weights drawn as Song et al. draw them (uniform, by the mean of fan-in and fan-out), no bias."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class FourierEmbedding(nn.Module):
    """Random Gaussian Fourier features of the noise level, and a small perceptron on them.

    Args:
        num_frequencies: number of frequencies; there are a sine and a cosine of each.
        out_channels: channels of the embedding.
        scale: standard deviation of the frequencies, in periods per unit of the timesteps.

    Source: Tancik et al. 2020 (arXiv 2006.10739); Song et al. 2021 (arXiv 2011.13456), Appendix H.
    """

    frequencies: torch.Tensor

    def __init__(self, num_frequencies: int, out_channels: int, scale: float) -> None:
        super().__init__()
        # Drawn once and never trained; what was drawn belongs to the weights.
        self.register_buffer("frequencies", scale * torch.randn(num_frequencies))
        self.perceptron = nn.Sequential(
            initialized(nn.Linear(2 * num_frequencies, out_channels)),
            nn.SiLU(),
            initialized(nn.Linear(out_channels, out_channels)),
            nn.SiLU(),
        )

    def forward(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Embed timesteps (B,) as (B, out_channels)."""
        return self.perceptron(self.features(timesteps))

    def features(self, timesteps: torch.Tensor) -> torch.Tensor:
        """sin(2 pi f t), then cos(2 pi f t), (B, 2 num_frequencies); hundreds of periods, so not in half precision."""
        phases = 2 * math.pi * timesteps.to(self.frequencies.dtype)[:, None] * self.frequencies
        return torch.cat([phases.sin(), phases.cos()], dim=1)


class ResidualBlock(nn.Module):
    """A residual block of BigGAN, which may halve or double the image on its way.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        embedding_channels: channels of the noise embedding; None without one.
        norm_num_groups: groups of the normalizations.
        dropout: share of the values dropped before the last convolution.
        resample: "down" halves, "up" doubles, None keeps the size.

    Source: Brock et al. 2019 (arXiv 1809.11096), Appendix B; Song et al. 2021 (arXiv 2011.13456), Appendix H.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_channels: int | None,
        norm_num_groups: int,
        dropout: float = 0.0,
        resample: str | None = None,
    ) -> None:
        super().__init__()
        self.resample = {"down": fir_downsample, "up": fir_upsample, None: nn.Identity()}[resample]
        self.norm_first = group_norm(norm_num_groups, in_channels)
        self.conv_first = conv3x3(in_channels, out_channels)
        self.noise = None if embedding_channels is None else initialized(nn.Linear(embedding_channels, out_channels))
        self.norm_last = group_norm(norm_num_groups, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv_last = conv3x3(out_channels, out_channels)
        nn.init.zeros_(self.conv_last.weight)
        plain = in_channels == out_channels and resample is None
        self.shortcut = nn.Identity() if plain else initialized(nn.Conv2d(in_channels, out_channels, 1))

    def forward(self, x: torch.Tensor, embedding: torch.Tensor | None) -> torch.Tensor:
        """Map (B, in_channels, H, W) and the noise embedding, (B, embedding_channels), to (B, out_channels, ...)."""
        h = self.conv_first(self.resample(functional.silu(self.norm_first(x))))
        if self.noise is not None:
            h = h + self.noise(embedding)[:, :, None, None]
        h = self.conv_last(self.dropout(functional.silu(self.norm_last(h))))
        # The 1x1 convolution commutes with resampling and is cheaper on the smaller image.
        x = self.resample(self.shortcut(x)) if self.resample is fir_upsample else self.shortcut(self.resample(x))
        return merge(x, h)


class AttentionBlock(nn.Module):
    """Self-attention over all pixels, as a residual branch.

    Args:
        channels: channels of input and output.
        norm_num_groups: groups of the normalization.
        head_channels: channels of one head; None for a single head.
    """

    def __init__(self, channels: int, norm_num_groups: int, head_channels: int | None = None) -> None:
        super().__init__()
        self.heads = 1 if head_channels is None else channels // head_channels
        self.norm = group_norm(norm_num_groups, channels)
        self.query_key_value = initialized(nn.Linear(channels, 3 * channels))
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, channels, H, W) to the same shape."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, H W, C)
        parts = self.query_key_value(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])  # (B, heads, H W, C / heads)
        out = self.out(mixed.transpose(1, 2).flatten(2))
        return merge(x, out.transpose(1, 2).unflatten(2, x.shape[2:]))
