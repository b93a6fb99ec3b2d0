"""Operations that autocast must not take to half precision."""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["float32_outside_autocast"]


def float32_outside_autocast(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Call a function with autocast off and half precision input as float32; without autocast, call it as it is."""
    kind = x.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return function(x)
    with torch.autocast(kind, enabled=False):
        return function(x.float() if x.dtype in (torch.bfloat16, torch.float16) else x)
