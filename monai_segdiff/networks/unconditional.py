"""A U-Net that does not look at the mask."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.nets import DiffusionModelUNet
from torch import nn

from monai_segdiff.networks.conditions import checked_image, plain_tensor

__all__ = ["UnconditionalUNet"]


class UnconditionalUNet(nn.Module):
    """MONAI's ``DiffusionModelUNet`` under the call of all networks here, with the condition left alone.

    It is what a :class:`MaskControlNet` is built on, and the lower end of a comparison of ways to condition. Trainer,
    inferer and bundles run it as any other network.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the output, as a rule those of the image.
        condition_channels: channels of the encoded mask that is passed and not used.
        **unet_options: everything else that ``DiffusionModelUNet`` takes.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, condition_channels: int = 0, **unet_options: Any
    ) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.condition_channels = condition_channels
        self.unet = DiffusionModelUNet(
            spatial_dims=spatial_dims, in_channels=in_channels, out_channels=out_channels, **unet_options
        )
        self.size_multiple = 2 ** (len(self.unet.block_out_channels) - 1)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """Run the network.

        Args:
            x: the scaled noisy image, (B, in_channels, *spatial); every side a multiple of ``size_multiple``.
            timesteps: (B,), whatever the parameterization hands to the network.
            condition: not used, of any shape.

        Returns:
            A plain tensor (B, out_channels, *spatial).

        Raises:
            ValueError: where the shape of x does not fit.
        """
        x = checked_image(x, self.spatial_dims, self.in_channels, self.size_multiple)
        return self.unet(x, plain_tensor(timesteps))
