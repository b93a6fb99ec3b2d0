"""A network that maps the condition to the image in one step, on the interface of the sampling runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_tensor

from monai_segdiff.inferers.autocast import autocast_dtype
from monai_segdiff.inferers.network_call import Network, evaluating, local_module, network_device

__all__ = ["RegressionInferer"]


class RegressionInferer(Inferer):
    """Call the network once on the condition: there is nothing to sample.

    It stands wherever :class:`~monai_segdiff.inferers.SamplingInferer` does, so that a regression baseline is
    previewed, generated with and evaluated as a diffusion model is. The network is called in evaluation mode, without
    gradients, and each of its modules then goes back to its own mode.

    Args:
        amp_dtype: ``"bfloat16"`` or ``"float16"`` to run the network under autocast, ``"float32"`` or ``None`` not to.

    Attributes:
        evaluations: evaluations of the network per sample: 1.

    Raises:
        ValueError: for another type.
    """

    def __init__(self, amp_dtype: str | None = None) -> None:
        super().__init__()
        self.amp_dtype = autocast_dtype(amp_dtype)
        self.evaluations = 1

    def __call__(
        self, inputs: torch.Tensor, network: Network, indices: Sequence[int] | torch.Tensor | None = None
    ) -> torch.Tensor:
        """Map conditions to images.

        Args:
            inputs: the condition, (B, channels, *spatial).
            network: ``network(inputs)``.
            indices: taken as every inferer here takes them; without noise they change nothing.

        Returns:
            The images, (B, C, *spatial), float32, on the network's device.
        """
        network = local_module(network)
        condition = convert_to_tensor(inputs, dtype=torch.float32, track_meta=False)
        device = network_device(network, condition.device)
        autocast = nullcontext() if self.amp_dtype is None else torch.autocast(device.type, dtype=self.amp_dtype)
        with torch.inference_mode(), evaluating(network), autocast:
            images = network(condition.to(device))
        # A clone made outside inference mode is a tensor that users can train on.
        return images.float().clone()
