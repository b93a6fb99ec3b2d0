"""The report on synthetic data sets, and the segmenter that reads them."""

from __future__ import annotations

from monai_segdiff.evaluation.evaluate import evaluate
from monai_segdiff.evaluation.methods import compare_methods
from monai_segdiff.evaluation.pairs import PairReader
from monai_segdiff.evaluation.report import Report
from monai_segdiff.evaluation.segmenter import Segmenter, TrainedSegmenter, load_segmenter, save_segmenter
from monai_segdiff.evaluation.training import train_segmenter
from monai_segdiff.evaluation.view_consistency import ViewConsistency, mass_profiles, view_consistency

__all__ = [
    "PairReader",
    "Report",
    "Segmenter",
    "TrainedSegmenter",
    "ViewConsistency",
    "compare_methods",
    "evaluate",
    "load_segmenter",
    "mass_profiles",
    "save_segmenter",
    "train_segmenter",
    "view_consistency",
]
