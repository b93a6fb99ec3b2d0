"""A frozen U-Net that a second network, which sees the mask, controls."""

from __future__ import annotations

import os
from typing import Any

import torch
from monai.networks.nets import ControlNet
from torch import nn

from monai_segdiff.networks.conditions import (
    checked_image,
    plain_tensor,
    require_condition_channels,
    required_condition,
)
from monai_segdiff.networks.unconditional import UnconditionalUNet
from monai_segdiff.networks.weights import load_weights

__all__ = ["MaskControlNet"]


class MaskControlNet(nn.Module):
    """MONAI's ``ControlNet`` on a frozen ``DiffusionModelUNet`` that was trained without masks.

    The control is a copy of the way down that sees the mask, too, and adds to the skip connections of the frozen
    network (Zhang et al. 2023, arXiv 2302.05543). What it adds starts at zero: training begins at the frozen network.

    The frozen network needs no gradients, stays in evaluation mode, and the averaging of weights leaves it as it is;
    pass an optimizer the parameters with ``requires_grad``. The state dict holds both networks.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the output, as a rule those of the image.
        condition_channels: channels of the encoded mask, at least 1.
        base_weights: file with the weights of an :class:`UnconditionalUNet` of the same options. None where the weights
            of both networks are loaded afterwards.
        embedding_channels: channels between the two convolutions that the mask goes through first; by default those of
            the first level.
        **unet_options: everything else that ``DiffusionModelUNet`` and ``ControlNet`` take, such as ``channels``,
            ``attention_levels``, ``num_res_blocks``, ``norm_num_groups``, ``num_head_channels``.

    Raises:
        FileNotFoundError: where there is no file of base weights.
        ValueError: where ``condition_channels`` is below 1, or the base weights belong to another network.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        condition_channels: int,
        base_weights: str | os.PathLike[str] | None = None,
        embedding_channels: int | None = None,
        **unet_options: Any,
    ) -> None:
        super().__init__()
        require_condition_channels(condition_channels, "UnconditionalUNet")
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.condition_channels = condition_channels
        base = UnconditionalUNet(spatial_dims, in_channels, out_channels, **unet_options)
        if base_weights is not None:
            load_weights(base, base_weights)
        self.size_multiple = base.size_multiple
        self.unet = base.unet.requires_grad_(False).eval()
        # One width only, as each further one would halve the mask: there is no latent space whose size it has to meet.
        widths = [embedding_channels or self.unet.block_out_channels[0]]
        self.control = ControlNet(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            conditioning_embedding_in_channels=condition_channels,
            conditioning_embedding_num_channels=widths,
            **unet_options,
        )
        # By name: what the control has alone, its zero convolutions among it, stays as it is.
        self.control.load_state_dict(self.unet.state_dict(), strict=False)

    def train(self, mode: bool = True) -> MaskControlNet:
        """Set the mode of the control; the frozen network stays in evaluation mode."""
        super().train(mode)
        self.unet.eval()
        return self

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """Run both networks.

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
        timesteps = plain_tensor(timesteps)
        condition = required_condition(x, condition, self.condition_channels)
        skips, middle = self.control(x, timesteps, condition)
        return self.unet(
            x, timesteps, down_block_additional_residuals=tuple(skips), mid_block_additional_residual=middle
        )
