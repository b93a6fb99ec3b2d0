"""The mathematics of diffusion: noise levels, what a network predicts, and how samples are drawn. torch only."""

from __future__ import annotations

from monai_segdiff.diffusion.denoiser import CountingDenoiser, Denoiser
from monai_segdiff.diffusion.inversion import invert
from monai_segdiff.diffusion.levels import geometric, karras, tuned_levels
from monai_segdiff.diffusion.noise import SampleNoise, mix_seed
from monai_segdiff.diffusion.parameterizations import (
    EDM,
    EpsilonVP,
    Parameterization,
    RectifiedFlow,
    ScoreVE,
    VelocityVP,
)
from monai_segdiff.diffusion.samplers import SAMPLERS, consistency, ddim, ddpm, dpmpp_2m, heun, unipc, ve_pc

__all__ = [
    "EDM",
    "SAMPLERS",
    "CountingDenoiser",
    "Denoiser",
    "EpsilonVP",
    "Parameterization",
    "RectifiedFlow",
    "SampleNoise",
    "ScoreVE",
    "VelocityVP",
    "consistency",
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "geometric",
    "heun",
    "invert",
    "karras",
    "mix_seed",
    "tuned_levels",
    "unipc",
    "ve_pc",
]
