from __future__ import annotations

from monai_segdiff.handlers.best import ExportBestWeights
from monai_segdiff.handlers.checkpoint import ResumeCheckpoint
from monai_segdiff.handlers.described import CheckCard
from monai_segdiff.handlers.ema import ExponentialMovingAverage
from monai_segdiff.handlers.export import ExportWeights, LoadWeights
from monai_segdiff.handlers.finite_loss import StopOnNonFiniteLoss
from monai_segdiff.handlers.gradient_clipping import GradientClipping
from monai_segdiff.handlers.preview import SamplePreview
from monai_segdiff.handlers.progress import ImagesProgressBar
from monai_segdiff.handlers.reconstruction_preview import ReconstructionPreview
from monai_segdiff.handlers.reproducible import ReproducibleRun
from monai_segdiff.pictures.dataset_overview import dataset_overview
from monai_segdiff.pictures.tiles import class_color, color_labels, picture_grid

__all__ = [
    "CheckCard",
    "ExponentialMovingAverage",
    "ExportBestWeights",
    "ExportWeights",
    "GradientClipping",
    "ImagesProgressBar",
    "LoadWeights",
    "ReconstructionPreview",
    "ReproducibleRun",
    "ResumeCheckpoint",
    "SamplePreview",
    "StopOnNonFiniteLoss",
    "class_color",
    "color_labels",
    "dataset_overview",
    "picture_grid",
]
