"""A U-Net that takes its mask condition by concatenation."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.nets import DiffusionModelUNet
from torch import nn

from monai_segdiff.networks.conditions import check_condition_channels, checked_image, concat_condition, plain_tensor

__all__ = ["MaskConcatUNet"]


class MaskConcatUNet(nn.Module):
    """MONAI's ``DiffusionModelUNet`` with the condition concatenated to the noisy image, channel by channel.

    Conditioning by concatenation is that of Konz et al. 2024 (arXiv 2402.05210). The call is
    ``network(x, timesteps, condition=condition)``, as for every network here; metadata never reach the convolutions.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the output, as a rule those of the image.
        condition_channels: channels of the encoded mask; 0 for a network without condition.
        condition_downsampling: how many pixels of the encoded mask lie along each side of one of the noisy image: 1 in
            image space, the autoencoder's factor f in a latent space. There the mask comes at image resolution and
            enters with every pixel, each block of f ** spatial_dims as so many channels.
        **unet_options: everything else that ``DiffusionModelUNet`` takes, such as ``channels``, ``attention_levels``,
            ``num_res_blocks``, ``norm_num_groups``, ``num_head_channels``.

    Raises:
        ValueError: where ``condition_channels`` is negative or ``condition_downsampling`` below 1.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        condition_channels: int,
        condition_downsampling: int = 1,
        **unet_options: Any,
    ) -> None:
        super().__init__()
        check_condition_channels(condition_channels)
        if condition_downsampling < 1:
            raise ValueError(f"condition_downsampling must be at least 1, got {condition_downsampling}.")
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.condition_channels = condition_channels
        self.condition_downsampling = condition_downsampling
        self.unet = DiffusionModelUNet(
            spatial_dims=spatial_dims,
            in_channels=in_channels + condition_channels * condition_downsampling**spatial_dims,
            out_channels=out_channels,
            **unet_options,
        )
        # Each level but the last halves the image, and the skip connections need the halves to fit again.
        self.size_multiple = 2 ** (len(self.unet.block_out_channels) - 1)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """Run the network.

        Args:
            x: the scaled noisy image, (B, in_channels, *spatial); every side a multiple of ``size_multiple``.
            timesteps: (B,), whatever the parameterization hands to the network.
            condition: the encoded mask, (B, condition_channels, *spatial * condition_downsampling); None only where
                condition_channels is 0.

        Returns:
            A plain tensor (B, out_channels, *spatial).

        Raises:
            ValueError: where a shape does not fit, or the condition is missing.
        """
        x = checked_image(x, self.spatial_dims, self.in_channels, self.size_multiple)
        concatenated = concat_condition(x, condition, self.condition_channels, self.condition_downsampling)
        return self.unet(concatenated, plain_tensor(timesteps))
