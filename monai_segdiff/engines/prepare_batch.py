"""The batch that a denoising network is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.engines import PrepareBatch

from monai_segdiff.diffusion import Parameterization

__all__ = ["SegDiffusionPrepareBatch"]


class SegDiffusionPrepareBatch(PrepareBatch):
    """Turn clean images and their encoded masks into a regression problem for stock MONAI engines.

    Each image gets a noise level and noise from PyTorch's default generator of the device, so that
    :class:`monai_segdiff.handlers.ReproducibleRun` decides every draw. With ``monai.inferers.SimpleInferer`` and
    ``torch.nn.MSELoss``, ``SupervisedTrainer`` then minimizes the published objective of the parameterization, and
    ``SupervisedEvaluator`` measures it.

    The tensors that come out are plain: a ``MetaTensor`` inside a network makes it slower and recompile.

    Args:
        parameterization: draws the levels and makes the network's input and target from image, noise and level.
        image_key: key of the clean images in the batch, ``(B, C, *spatial)``, in [-1, 1].
        condition_key: key of the encoded masks in the batch, ``(B, K, *spatial)``; None trains without a condition.

    Example:
        >>> prepare_batch = SegDiffusionPrepareBatch(EDM())
        >>> batch = {"image": torch.zeros(4, 1, 8, 8), "label": torch.ones(4, 6, 8, 8)}
        >>> network_input, target, (timesteps,), keywords = prepare_batch(batch)
    """

    def __init__(
        self, parameterization: Parameterization, image_key: str = "image", condition_key: str | None = "label"
    ) -> None:
        self.parameterization = parameterization
        self.image_key = image_key
        self.condition_key = condition_key

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
        image = self._plain(batchdata, self.image_key, device, non_blocking, **kwargs)
        keywords: dict[str, torch.Tensor] = {}
        if self.condition_key is not None:
            condition = self._plain(batchdata, self.condition_key, device, non_blocking, **kwargs)
            self._check_shapes(image, condition)
            keywords["condition"] = condition
        level = self.parameterization.draw_levels(image.shape[0], device=image.device)
        noise = torch.randn_like(image)
        network_input, timesteps, target = self.parameterization.training_pair(image, noise, level)
        return network_input, target, (timesteps,), keywords

    @staticmethod
    def _plain(
        batchdata: Mapping[str, torch.Tensor],
        key: str,
        device: str | torch.device | None,
        non_blocking: bool,
        **kwargs: Any,
    ) -> torch.Tensor:
        if key not in batchdata:
            raise KeyError(f"the batch has no '{key}', only {sorted(batchdata)}: check the transforms' keys")
        tensor = torch.as_tensor(batchdata[key])
        if hasattr(tensor, "as_tensor"):
            tensor = tensor.as_tensor()
        return tensor.to(**{"device": device, "non_blocking": non_blocking, "dtype": torch.float32, **kwargs})

    def _check_shapes(self, image: torch.Tensor, condition: torch.Tensor) -> None:
        if image.shape[0] == condition.shape[0] and image.shape[2:] == condition.shape[2:] and image.ndim > 2:
            return
        raise ValueError(
            f"'{self.image_key}' of shape {tuple(image.shape)} and '{self.condition_key}' of shape "
            f"{tuple(condition.shape)} do not belong together: both must be (batch, channels, *spatial) with equal "
            "batch and spatial sizes; crop, resize and pad both keys in the same transform"
        )
