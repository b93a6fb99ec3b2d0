"""The batch that a denoising network is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.engines import PrepareBatch

from monai_segdiff.diffusion import Parameterization
from monai_segdiff.engines.pair import plain_pair

__all__ = ["SegDiffusionPrepareBatch"]


class SegDiffusionPrepareBatch(PrepareBatch):
    """Turn clean images and their encoded masks or prompts into a regression problem for stock MONAI engines.

    Each image gets a noise level and noise from PyTorch's default generator of the device, so that
    :class:`monai_segdiff.handlers.ReproducibleRun` decides every draw. With ``monai.inferers.SimpleInferer`` and
    ``torch.nn.MSELoss``, ``SupervisedTrainer`` then minimizes the published objective of the parameterization, and
    ``SupervisedEvaluator`` measures it.

    The tensors that come out are plain: a ``MetaTensor`` inside a network makes it slower and recompile.

    Args:
        parameterization: draws the levels and makes the network's input and target from image, noise and level.
        image_key: key of the clean images in the batch, ``(B, C, *spatial)``, in the network's range, or of latents.
        condition_key: key of the encoded masks in the batch, ``(B, K, *spatial)``, or of prompts, ``(B, L)``; None
            trains without a condition.
        condition_downsampling: pixels of a mask along each axis for one of the latents that it conditions, where the
            images are latents and the network takes masks at the images' resolution.

    Example:
        >>> prepare_batch = SegDiffusionPrepareBatch(EDM())
        >>> batch = {"image": torch.zeros(4, 1, 8, 8), "label": torch.ones(4, 6, 8, 8)}
        >>> network_input, target, (timesteps,), keywords = prepare_batch(batch)
    """

    def __init__(
        self,
        parameterization: Parameterization,
        image_key: str = "image",
        condition_key: str | None = "label",
        condition_downsampling: int = 1,
    ) -> None:
        self.parameterization = parameterization
        self.image_key = image_key
        self.condition_key = condition_key
        self.condition_downsampling = condition_downsampling

    def __call__(
        self,
        batchdata: Mapping[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor], dict[str, torch.Tensor]]:
        """Noise a batch.

        Args:
            batchdata: what the data loader yields.
            device: where the tensors shall be.
            non_blocking: as in ``torch.Tensor.to``.
            **kwargs: further arguments of ``torch.Tensor.to``.

        Returns:
            The network's input, the target of the loss, positional arguments (the time steps, ``(B,)``) and keyword
            arguments (the condition) of the network.

        Raises:
            KeyError: if the batch lacks one of the keys.
            ValueError: if the shapes of images and condition do not belong together.
        """
        image, condition = plain_pair(
            batchdata, self.image_key, self.condition_key, self.condition_downsampling, device, non_blocking, **kwargs
        )
        keywords = {} if condition is None else {"condition": condition}
        level = self.parameterization.draw_levels(image.shape[0], device=image.device)
        noise = torch.randn_like(image)
        network_input, timesteps, target = self.parameterization.training_pair(image, noise, level)
        return network_input, target, (timesteps,), keywords
