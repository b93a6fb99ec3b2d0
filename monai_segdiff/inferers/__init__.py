"""Sampling runs on MONAI's inferer interface, and what shapes a run: starts, guidance and constraints."""

from __future__ import annotations

from monai_segdiff.inferers.autocast import AutocastInferer, fast_autocast_dtype
from monai_segdiff.inferers.constraints import BlendConstraint
from monai_segdiff.inferers.guidance import ClassGuidance, ContrastGuidance, Guidance, MaskGuidance
from monai_segdiff.inferers.inversion import Trajectory
from monai_segdiff.inferers.latent import LatentSamplingInferer
from monai_segdiff.inferers.mask_to_image import MaskToImage
from monai_segdiff.inferers.regression import RegressionInferer
from monai_segdiff.inferers.run import Constraint, RunContext, Start
from monai_segdiff.inferers.sampling import SamplingInferer
from monai_segdiff.inferers.similarity import InterpolationStart
from monai_segdiff.inferers.starts import ImageStart, InputStart, NoiseStart
from monai_segdiff.inferers.windows import Windows, seam_gradient
from monai_segdiff.inferers.xreal import XRealInferer

__all__ = [
    "AutocastInferer",
    "BlendConstraint",
    "ClassGuidance",
    "ContrastGuidance",
    "Constraint",
    "Guidance",
    "ImageStart",
    "InputStart",
    "InterpolationStart",
    "LatentSamplingInferer",
    "MaskGuidance",
    "MaskToImage",
    "NoiseStart",
    "RegressionInferer",
    "RunContext",
    "SamplingInferer",
    "Start",
    "Trajectory",
    "Windows",
    "XRealInferer",
    "fast_autocast_dtype",
    "seam_gradient",
]
