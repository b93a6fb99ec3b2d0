"""The mathematics of diffusion: noise levels, what a network predicts, and how samples are drawn. torch only."""

from __future__ import annotations

from .denoiser import CountingDenoiser, Denoiser
from .levels import geometric, karras
from .noise import SampleNoise, mix_seed
from .parameterizations import EDM, EpsilonVP, Parameterization, RectifiedFlow, ScoreVE, VelocityVP
from .samplers import SAMPLERS, ddim, ddpm, dpmpp_2m, heun, unipc, ve_pc

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
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "geometric",
    "heun",
    "karras",
    "mix_seed",
    "unipc",
    "ve_pc",
]
