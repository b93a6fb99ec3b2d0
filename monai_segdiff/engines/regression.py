"""The batch that a regression network is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.engines import PrepareBatch

from monai_segdiff.engines.pair import plain_pair

__all__ = ["RegressionPrepareBatch"]


class RegressionPrepareBatch(PrepareBatch):
    """Hand stock MONAI engines the encoded mask as input and the clean image as target.

    This trains the baseline of a diffusion model: the same network, called as ``network(condition)``, with any loss
    between images.

    Args:
        image_key: key of the clean images in the batch, ``(B, C, *spatial)``, in the network's range.
        condition_key: key of the encoded masks in the batch, ``(B, K, *spatial)``.

    Example:
        >>> prepare_batch = RegressionPrepareBatch()
        >>> batch = {"image": torch.zeros(4, 1, 8, 8), "label": torch.ones(4, 6, 8, 8)}
        >>> condition, target = prepare_batch(batch)
    """

    def __init__(self, image_key: str = "image", condition_key: str = "label") -> None:
        self.image_key = image_key
        self.condition_key = condition_key

    def __call__(
        self,
        batchdata: Mapping[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take condition and image out of a batch.

        Args:
            batchdata: what the data loader yields.
            device: where the tensors shall be.
            non_blocking: as in ``torch.Tensor.to``.
            **kwargs: further arguments of ``torch.Tensor.to``.

        Returns:
            The condition and the image, plain float32 tensors.

        Raises:
            KeyError: if the batch lacks one of the keys.
            ValueError: if the shapes of images and condition do not belong together.
        """
        image, condition = plain_pair(batchdata, self.image_key, self.condition_key, 1, device, non_blocking, **kwargs)
        assert condition is not None
        return condition, image
