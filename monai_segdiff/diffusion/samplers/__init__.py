"""Solvers with one contract, and their registry by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .contract import Callback, Constrain, Noise
from .ddim import ddim
from .ddpm import ddpm
from .dpmpp_2m import dpmpp_2m
from .heun import heun
from .unipc import unipc
from .ve_pc import ve_pc

__all__ = ["SAMPLERS", "Callback", "Constrain", "Noise", "ddim", "ddpm", "dpmpp_2m", "heun", "unipc", "ve_pc"]

SAMPLERS: dict[str, Callable[..., torch.Tensor]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "unipc": unipc,
    "ve_pc": ve_pc,
}
