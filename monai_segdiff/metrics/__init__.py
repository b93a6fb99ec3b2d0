"""Figures about generated images: do they obey the mask, are they realistic or near a reference, did any fail."""

from __future__ import annotations

from monai_segdiff.metrics.bootstrap import Estimate, bootstrap_mean, bootstrap_ratio
from monai_segdiff.metrics.failed import REASONS, FailedSampleDetector, detail_share, noise_level
from monai_segdiff.metrics.faithfulness import dice_per_class, foreground_dice, pixel_share
from monai_segdiff.metrics.others import FEWEST_OTHERS, MOST_OTHERS, other_mask_advantage
from monai_segdiff.metrics.paired import PairedErrors, paired_errors
from monai_segdiff.metrics.realism import MINIMUM_FID, MINIMUM_KID, frechet_distance, kid, kid_difference

__all__ = [
    "FEWEST_OTHERS",
    "MINIMUM_FID",
    "MINIMUM_KID",
    "MOST_OTHERS",
    "REASONS",
    "Estimate",
    "FailedSampleDetector",
    "PairedErrors",
    "bootstrap_mean",
    "bootstrap_ratio",
    "detail_share",
    "dice_per_class",
    "foreground_dice",
    "frechet_distance",
    "kid",
    "kid_difference",
    "noise_level",
    "other_mask_advantage",
    "paired_errors",
    "pixel_share",
]
