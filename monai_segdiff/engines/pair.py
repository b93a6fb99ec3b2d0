"""Images and conditions of a batch as plain tensors that belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["plain_pair"]


def plain_pair(
    batchdata: Mapping[str, torch.Tensor],
    image_key: str,
    condition_key: str | None,
    downsampling: int = 1,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Take image and condition out of a batch, float32 and without metadata.

    Args:
        batchdata: what the data loader yields.
        image_key: key of the images, (B, C, *spatial).
        condition_key: key of the encoded masks, (B, K, *spatial), or of prompts, (B, L); None for none.
        downsampling: pixels of a mask along each axis for one of the image, which is a latent then.
        device: where the tensors shall be.
        non_blocking: as in ``torch.Tensor.to``.
        **kwargs: further arguments of ``torch.Tensor.to``.

    Returns:
        Image and condition, None without a key.

    Raises:
        KeyError: if the batch lacks one of the keys.
        ValueError: if the shapes of images and condition do not belong together.
    """
    options = {"device": device, "non_blocking": non_blocking, "dtype": torch.float32, **kwargs}
    image = _plain(batchdata, image_key).to(**options)
    if condition_key is None:
        return image, None
    condition = _plain(batchdata, condition_key).to(**options)
    is_prompt = condition.ndim == 2
    fits = is_prompt or [downsampling * side for side in image.shape[2:]] == list(condition.shape[2:])
    if image.shape[0] != condition.shape[0] or not fits or image.ndim <= 2:
        raise ValueError(
            f"'{image_key}' of shape {tuple(image.shape)} and '{condition_key}' of shape "
            f"{tuple(condition.shape)} do not belong together: both must be (batch, channels, *spatial) with equal "
            f"batch and spatial sizes{f' but for a factor of {downsampling}' if downsampling > 1 else ''}, or the "
            "latter a prompt (batch, length); crop, resize and pad both keys in the same transform"
        )
    return image, condition


def _plain(batchdata: Mapping[str, torch.Tensor], key: str) -> torch.Tensor:
    if key not in batchdata:
        raise KeyError(f"the batch has no '{key}', only {sorted(batchdata)}: check the transforms' keys")
    tensor = torch.as_tensor(batchdata[key])
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
