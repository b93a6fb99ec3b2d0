"""The report on synthetic data sets, and the segmenter that reads them."""

from __future__ import annotations

from monai_segdiff.evaluation.evaluate import evaluate
from monai_segdiff.evaluation.pairs import PairReader
from monai_segdiff.evaluation.report import Report
from monai_segdiff.evaluation.segmenter import Segmenter, TrainedSegmenter, load_segmenter, save_segmenter
from monai_segdiff.evaluation.training import train_segmenter

__all__ = [
    "PairReader",
    "Report",
    "Segmenter",
    "TrainedSegmenter",
    "evaluate",
    "load_segmenter",
    "save_segmenter",
    "train_segmenter",
]
