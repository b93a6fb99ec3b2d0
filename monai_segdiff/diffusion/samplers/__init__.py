"""Solvers with one contract, and their registry by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from monai_segdiff.diffusion.samplers.consistency import consistency
from monai_segdiff.diffusion.samplers.contract import Callback, Constrain, Noise
from monai_segdiff.diffusion.samplers.ddim import ddim
from monai_segdiff.diffusion.samplers.ddpm import ddpm
from monai_segdiff.diffusion.samplers.dpmpp_2m import dpmpp_2m
from monai_segdiff.diffusion.samplers.heun import heun
from monai_segdiff.diffusion.samplers.unipc import unipc
from monai_segdiff.diffusion.samplers.ve_pc import ve_pc

__all__ = [
    "SAMPLERS",
    "Callback",
    "Constrain",
    "Noise",
    "consistency",
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "heun",
    "unipc",
    "ve_pc",
]

SAMPLERS: dict[str, Callable[..., torch.Tensor]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "unipc": unipc,
    "ve_pc": ve_pc,
    "consistency": consistency,
}
