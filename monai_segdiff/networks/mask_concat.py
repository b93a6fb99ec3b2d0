"""A U-Net that takes its mask condition by concatenation."""

from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor
from monai.networks.nets import DiffusionModelUNet
from torch import nn

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
        **unet_options: everything else that ``DiffusionModelUNet`` takes, such as ``channels``, ``attention_levels``,
            ``num_res_blocks``, ``norm_num_groups``, ``num_head_channels``.

    Raises:
        ValueError: where ``condition_channels`` is negative.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, condition_channels: int, **unet_options: Any
    ) -> None:
        super().__init__()
        if condition_channels < 0:
            raise ValueError(f"condition_channels must not be negative, got {condition_channels}.")
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.condition_channels = condition_channels
        self.unet = DiffusionModelUNet(
            spatial_dims=spatial_dims,
            in_channels=in_channels + condition_channels,
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
            condition: the encoded mask, (B, condition_channels, *spatial); None only where condition_channels is 0.

        Returns:
            A plain tensor (B, out_channels, *spatial).

        Raises:
            ValueError: where a shape does not fit, or the condition is missing.
        """
        x = _plain(x)
        self._check_image(x)
        if condition is not None:
            condition = _plain(condition)
        self._check_condition(x, condition)
        if condition is not None:
            x = torch.cat([x, condition.to(x.dtype)], dim=1)
        return self.unet(x, _plain(timesteps))

    def _check_image(self, x: torch.Tensor) -> None:
        if x.ndim != self.spatial_dims + 2 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"this network takes {self.spatial_dims}D images of shape (B, {self.in_channels}, *spatial), got "
                f"{tuple(x.shape)}."
            )
        if any(size % self.size_multiple for size in x.shape[2:]):
            raise ValueError(
                f"every side must be a multiple of {self.size_multiple}, as the network halves the image "
                f"{self.size_multiple.bit_length() - 1} times; got {tuple(x.shape[2:])}: pad or resize."
            )

    def _check_condition(self, x: torch.Tensor, condition: torch.Tensor | None) -> None:
        if condition is None:
            if self.condition_channels:
                raise ValueError(
                    f"this network needs a condition of {self.condition_channels} channels and got none; to generate "
                    "without a mask pass the null condition of the encoder."
                )
        elif self.condition_channels == 0:
            raise ValueError("this network takes no condition (condition_channels is 0) and got one.")
        elif (condition.shape[0], condition.shape[1], *condition.shape[2:]) != (
            x.shape[0],
            self.condition_channels,
            *x.shape[2:],
        ):
            raise ValueError(
                f"expected a condition of shape {(x.shape[0], self.condition_channels, *x.shape[2:])}, got "
                f"{tuple(condition.shape)}: the classes and the encoding must be those the network was made for."
            )


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
