"""A network as a function of one tensor, which MONAI's exports of bundles call it as."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from monai_segdiff.networks.conditions import plain_tensor

__all__ = ["OneTensorNetwork"]


class OneTensorNetwork(nn.Module):
    """Take the noisy image, the encoded mask and the timesteps as channels of one tensor.

    ``python -m monai.bundle onnx_export`` and ``ckpt_export`` convert a network of one tensor only; bundles give them
    this one under ``export_def``. ``state_dict`` and ``load_state_dict`` are the network's own, so that one file of
    weights serves both.

    Args:
        network: called as ``network(x, timesteps, condition)``, with ``in_channels`` and ``condition_channels``.
        image_size: pixels along each axis, for the message to who gives a tensor that does not fit.
    """

    def __init__(self, network: nn.Module, image_size: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.image_size = tuple(image_size)
        self.image_channels = int(network.in_channels)
        self.condition_channels = int(network.condition_channels)

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        """Run the network.

        Args:
            tensor: (B, C, *spatial) with the image's channels, those of the encoded mask, and one whose mean over the
                pixels is the timestep of the sample.

        Returns:
            (B, image channels, *spatial).

        Raises:
            ValueError: where the channels are not so many, saying how many it takes.
        """
        tensor = plain_tensor(tensor)
        image, mask = self.image_channels, self.condition_channels
        if tensor.shape[1] != image + mask + 1:
            shape = ",".join(map(str, (1, image + mask + 1, *self.image_size)))
            raise ValueError(
                f"the tensor has {tensor.shape[1]} channels, the network takes {image} of the image, {mask} of the "
                f'encoded mask and one of the timesteps: give --input_shape "[{shape}]"'
            )
        timesteps = tensor[:, -1].flatten(1).mean(1)
        condition = tensor[:, image:-1] if mask else None
        return self.network(tensor[:, :image], timesteps, condition)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Give the network's weights, as its own ``state_dict`` does."""
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load the network's weights, as its own ``load_state_dict`` does."""
        return self.network.load_state_dict(*args, **kwargs)
