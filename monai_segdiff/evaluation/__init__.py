"""The report on synthetic data sets, and the segmenter that reads them."""

from __future__ import annotations

from .evaluate import evaluate
from .pairs import PairReader
from .report import Report
from .segmenter import Segmenter, TrainedSegmenter, load_segmenter, save_segmenter
from .training import train_segmenter

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
