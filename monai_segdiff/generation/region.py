"""Where an edit may change an image."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

__all__ = ["edit_region"]


def edit_region(changed: torch.Tensor, dilation: float, softness: float) -> torch.Tensor:
    """Widen the pixels whose label changes, with a soft edge.

    The edge lies inside: further than ``dilation`` from a changed pixel nothing is free, and within
    ``dilation - softness`` everything is.

    Args:
        changed: which pixels change, bool (*spatial).
        dilation: how far the region goes beyond them, in pixels, at least 0.
        softness: width of its edge, in pixels, 0 to ``dilation``.

    Returns:
        How free each pixel is, float32 (*spatial), from 0 to 1.

    Raises:
        ValueError: when a width is out of range.
    """
    if not 0 <= softness <= dilation < math.inf:
        raise ValueError(
            "the edge of an edit must lie inside it: softness (--softness) from 0 to dilation (--dilation), got "
            f"{softness:g} and {dilation:g}"
        )
    distance = distance_transform_edt(~changed.numpy())
    if softness == 0:
        return torch.from_numpy((distance <= dilation).astype(np.float32))
    # The first pixel past the dilation has 0: distances between neighbors are 1.
    ramp = (dilation + 1 - distance) / (softness + 1)
    return torch.from_numpy(ramp.clip(0, 1).astype(np.float32)) * (distance <= dilation)
