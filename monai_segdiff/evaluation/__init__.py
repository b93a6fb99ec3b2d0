"""The report on synthetic data sets, and the networks that read them."""

from __future__ import annotations

from monai_segdiff.evaluation.evaluate import evaluate
from monai_segdiff.evaluation.methods.compare import compare_methods
from monai_segdiff.evaluation.methods.view_consistency import ViewConsistency, mass_profiles, view_consistency
from monai_segdiff.evaluation.pairs import PairReader
from monai_segdiff.evaluation.readers.finding_classifier import (
    FindingClassifier,
    load_finding_classifier,
    save_finding_classifier,
)
from monai_segdiff.evaluation.readers.segmenter import Segmenter, TrainedSegmenter, load_segmenter, save_segmenter
from monai_segdiff.evaluation.readers.train_finding_classifier import train_finding_classifier
from monai_segdiff.evaluation.readers.train_segmenter import train_segmenter
from monai_segdiff.evaluation.report.report import Report

__all__ = [
    "FindingClassifier",
    "PairReader",
    "Report",
    "Segmenter",
    "TrainedSegmenter",
    "ViewConsistency",
    "compare_methods",
    "evaluate",
    "load_finding_classifier",
    "load_segmenter",
    "mass_profiles",
    "save_finding_classifier",
    "save_segmenter",
    "train_finding_classifier",
    "train_segmenter",
    "view_consistency",
]
