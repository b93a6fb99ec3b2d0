"""Figures about generated images: do they obey the mask, are they realistic, did any of them fail."""

from __future__ import annotations

from monai_segdiff.metrics.bootstrap import Estimate, bootstrap_mean, bootstrap_ratio
from monai_segdiff.metrics.failed import REASONS, FailedSampleDetector, detail_share, noise_level
from monai_segdiff.metrics.faithfulness import dice_per_class, foreground_dice, pixel_share
from monai_segdiff.metrics.realism import MINIMUM_FID, MINIMUM_KID, frechet_distance, kid, kid_difference

__all__ = [
    "MINIMUM_FID",
    "MINIMUM_KID",
    "REASONS",
    "Estimate",
    "FailedSampleDetector",
    "bootstrap_mean",
    "bootstrap_ratio",
    "detail_share",
    "dice_per_class",
    "foreground_dice",
    "frechet_distance",
    "kid",
    "kid_difference",
    "noise_level",
    "pixel_share",
]
