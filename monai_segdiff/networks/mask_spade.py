"""A U-Net whose normalizations are modulated by the mask."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.blocks.spade_norm import SPADE
from monai.networks.nets import SPADEDiffusionModelUNet
from torch import nn

from monai_segdiff.networks.conditions import (
    checked_image,
    plain_tensor,
    require_condition_channels,
    required_condition,
)

__all__ = ["MaskSPADEUNet"]


class MaskSPADEUNet(nn.Module):
    """MONAI's ``SPADEDiffusionModelUNet`` with the encoded mask as its segmentation.

    On the way up every normalization is scaled and shifted, pixel by pixel, by what small convolutions make of the mask
    (Park et al. 2019, arXiv 1903.07291); on the way down the network does not see it.

    MONAI's blocks normalize scale and shift over each image, which the paper does not: what is constant over the image,
    such as the known flags, is then subtracted again, and shows only by what padding makes of it at the border.
    ``normalize_modulation=False`` takes these normalizations out.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the output, as a rule those of the image.
        condition_channels: channels of the encoded mask, at least 1.
        normalize_modulation: normalize scale and shift over each image, as MONAI does; else as published.
        **unet_options: everything else that ``SPADEDiffusionModelUNet`` takes, such as ``channels``,
            ``attention_levels``, ``num_res_blocks``, ``norm_num_groups``, ``spade_intermediate_channels``.

    Raises:
        ValueError: where ``condition_channels`` is below 1.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        condition_channels: int,
        normalize_modulation: bool = True,
        **unet_options: Any,
    ) -> None:
        super().__init__()
        require_condition_channels(condition_channels, "UnconditionalUNet")
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.condition_channels = condition_channels
        self.unet = SPADEDiffusionModelUNet(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            label_nc=condition_channels,
            **unet_options,
        )
        if not normalize_modulation:
            for block in self.unet.modules():
                if isinstance(block, SPADE):
                    block.mlp_gamma.adn = block.mlp_beta.adn = nn.Identity()
        self.size_multiple = 2 ** (len(self.unet.block_out_channels) - 1)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """Run the network.

        Args:
            x: the scaled noisy image, (B, in_channels, *spatial); every side a multiple of ``size_multiple``.
            timesteps: (B,), whatever the parameterization hands to the network.
            condition: the encoded mask, (B, condition_channels, *spatial).

        Returns:
            A plain tensor (B, out_channels, *spatial).

        Raises:
            ValueError: where a shape does not fit, or the condition is missing.
        """
        x = checked_image(x, self.spatial_dims, self.in_channels, self.size_multiple)
        return self.unet(x, plain_tensor(timesteps), required_condition(x, condition, self.condition_channels))
