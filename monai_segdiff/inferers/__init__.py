"""Sampling runs on MONAI's inferer interface, and what shapes a run: starts, guidance and constraints."""

from __future__ import annotations

from monai_segdiff.inferers.autocast import AutocastInferer, fast_autocast_dtype
from monai_segdiff.inferers.constraints import BlendConstraint
from monai_segdiff.inferers.generator import MaskToImage
from monai_segdiff.inferers.guidance import ClassGuidance, Guidance, MaskGuidance
from monai_segdiff.inferers.inversion import Trajectory
from monai_segdiff.inferers.regression import RegressionInferer
from monai_segdiff.inferers.run import Constraint, RunContext, Start
from monai_segdiff.inferers.sampling import SamplingInferer
from monai_segdiff.inferers.similarity import InterpolationStart
from monai_segdiff.inferers.starts import ImageStart, InputStart, NoiseStart

__all__ = [
    "AutocastInferer",
    "BlendConstraint",
    "ClassGuidance",
    "Constraint",
    "Guidance",
    "ImageStart",
    "InputStart",
    "InterpolationStart",
    "MaskGuidance",
    "MaskToImage",
    "NoiseStart",
    "RegressionInferer",
    "RunContext",
    "SamplingInferer",
    "Start",
    "Trajectory",
    "fast_autocast_dtype",
]
