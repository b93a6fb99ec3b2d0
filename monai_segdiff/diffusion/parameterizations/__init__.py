"""What a network predicts, as a denoiser and as a training target."""

from __future__ import annotations

from .base import Parameterization, Scalings
from .edm import EDM
from .flow import RectifiedFlow
from .ve import ScoreVE
from .vp import EpsilonVP, VelocityVP

__all__ = ["EDM", "EpsilonVP", "Parameterization", "RectifiedFlow", "Scalings", "ScoreVE", "VelocityVP"]
