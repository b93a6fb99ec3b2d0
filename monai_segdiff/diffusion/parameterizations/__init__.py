"""What a network predicts, as a denoiser and as a training target."""

from __future__ import annotations

from monai_segdiff.diffusion.parameterizations.base import Parameterization, Scalings
from monai_segdiff.diffusion.parameterizations.edm import EDM
from monai_segdiff.diffusion.parameterizations.flow import RectifiedFlow
from monai_segdiff.diffusion.parameterizations.ve import ScoreVE
from monai_segdiff.diffusion.parameterizations.vp import EpsilonVP, VelocityVP

__all__ = ["EDM", "EpsilonVP", "Parameterization", "RectifiedFlow", "Scalings", "ScoreVE", "VelocityVP"]
