"""In which number format the arithmetic around a network is done."""

from __future__ import annotations

import torch

__all__ = ["at_least_float32", "per_sample"]


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Promote half precision to float32; leave float32 and float64 as they are.

    Args:
        x: floating point tensor.

    Raises:
        TypeError: the tensor is not floating point.
    """
    if not torch.is_floating_point(x):
        raise TypeError(f"images and noise must be floating point tensors, got {x.dtype}")
    return x if x.dtype == torch.float64 else x.float()


def per_sample(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Bring one number a sample into the shape (B, 1, ..., 1), dtype and device of a batch of images.

    Args:
        values: (B,), usually float64; rounding to the dtype of `like` is the last thing that happens to it.
        like: (B, C, *spatial).
    """
    return values.to(device=like.device, dtype=like.dtype).reshape(-1, *[1] * (like.ndim - 1))
