"""Autoencoders whose latents are known."""

from __future__ import annotations

import torch
from monai.networks.nets import AutoencoderKL
from torch import nn

from monai_segdiff.networks.conditions import space_to_depth


class BlockAutoencoder(nn.Module):
    """Every block of pixels is one latent, its pixels times 2 in reverse order: linear, and inverted to the bit.

    The posterior's mean is that; its sigma is 1, so that a draw from it would show.
    """

    def __init__(self, spatial_dims: int = 2, downsampling: int = 2) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels, self.downsampling = spatial_dims, 1, downsampling
        self.latent_channels = downsampling**spatial_dims
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.encoded: list[torch.Tensor] = []

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.encoded.append(x)
        mean = self.weight * space_to_depth(x, self.downsampling).flip(1)
        return mean, torch.ones_like(mean)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        pixels, factor = z.flip(1) / self.weight, self.downsampling
        image = pixels.new_zeros(len(z), 1, *(side * factor for side in z.shape[2:]))
        for channel in range(self.latent_channels):
            place = [channel // factor**axis % factor for axis in reversed(range(self.spatial_dims))]
            image[(slice(None), 0, *(slice(start, None, factor) for start in place))] = pixels[:, channel]
        return image


def small_autoencoder(spatial_dims: int = 2, levels: int = 2) -> AutoencoderKL:
    """An untrained autoencoder of MONAI with 3 latent channels."""
    torch.manual_seed(0)
    return AutoencoderKL(
        spatial_dims,
        channels=(8,) * levels,
        attention_levels=(False,) * levels,
        num_res_blocks=1,
        latent_channels=3,
        norm_num_groups=4,
    )
