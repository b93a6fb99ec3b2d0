"""Figures about generated images: faithful to the mask, realistic, diverse, no copies, near a reference, failed."""

from __future__ import annotations

from monai_segdiff.metrics.bootstrap import Estimate, bootstrap_mean, bootstrap_ratio, bootstrap_repeats
from monai_segdiff.metrics.diversity import SimilarityScales, bootstrap_pairs, draw_pairs, ms_ssim
from monai_segdiff.metrics.failed import (
    REASONS,
    FailedSampleDetector,
    channel_detail,
    channel_noise,
    detail_share,
    noise_level,
)
from monai_segdiff.metrics.faithfulness import dice_per_class, foreground_dice, pixel_share
from monai_segdiff.metrics.hausdorff import hausdorff_per_class
from monai_segdiff.metrics.memorization import (
    MEMORIZATION_QUANTILE,
    MINIMUM_MEMORIZATION,
    memorized_share,
    nearest_distances,
)
from monai_segdiff.metrics.others import FEWEST_OTHERS, MOST_OTHERS, other_mask_advantage
from monai_segdiff.metrics.paired import PairedErrors, paired_errors
from monai_segdiff.metrics.radiomics import RADIOMIC_FEATURES, radiomic_features
from monai_segdiff.metrics.rates import exact_rate, youden_threshold
from monai_segdiff.metrics.realism import MINIMUM_FID, MINIMUM_KID, frechet_distance, kid, kid_difference

__all__ = [
    "FEWEST_OTHERS",
    "MEMORIZATION_QUANTILE",
    "MINIMUM_FID",
    "MINIMUM_KID",
    "MINIMUM_MEMORIZATION",
    "MOST_OTHERS",
    "RADIOMIC_FEATURES",
    "REASONS",
    "Estimate",
    "FailedSampleDetector",
    "PairedErrors",
    "SimilarityScales",
    "bootstrap_mean",
    "bootstrap_pairs",
    "bootstrap_ratio",
    "bootstrap_repeats",
    "channel_detail",
    "channel_noise",
    "detail_share",
    "dice_per_class",
    "draw_pairs",
    "exact_rate",
    "foreground_dice",
    "frechet_distance",
    "hausdorff_per_class",
    "kid",
    "kid_difference",
    "memorized_share",
    "ms_ssim",
    "nearest_distances",
    "noise_level",
    "other_mask_advantage",
    "paired_errors",
    "pixel_share",
    "radiomic_features",
    "youden_threshold",
]
