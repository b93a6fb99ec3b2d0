"""The classifier that says what is found in an image: trained on real training patients whose findings are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_segdiff.evaluation.readers.own_network import OwnNetwork
from monai_segdiff.evaluation.readers.segmenter import TrainedSegmenter
from monai_segdiff.networks.weights import read_tensors

__all__ = ["FindingClassifier", "FindingMaps", "load_finding_classifier", "save_finding_classifier"]


@dataclass(frozen=True)
class FindingMaps:
    """What the network gives in training.

    Args:
        classes: (B, 1 + K, *spatial) scores of every pixel, no finding first.
        scores: (B, K) scores of the image.
    """

    classes: torch.Tensor
    scores: torch.Tensor


class FindingClassifier(OwnNetwork):
    """Multi-label classifier: a small MONAI U-Net scores every pixel, and an image by the pixels that score high.

    So it learns from images of which only the findings are known, and faster where region maps tell their place, as in
    Li et al. (arXiv 1711.06373). Pixels are pooled by log-sum-exp, as in Pinheiro and Collobert (arXiv 1411.6228): more
    than the mean, so that a small finding counts, and less than the maximum, so that more than one pixel learns.

    Args:
        findings: names, in the order of the outputs.
        spatial_dims: 2 or 3.
        image_channels: channels of the images.
        levels: number of halvings, 1 to 5.

    Attributes:
        thresholds: (K,) operating points: scores above which a finding counts as seen.
        threshold_images: (K,) number of images that each of these was chosen on.
        set_aside: (K,) bool, whether these were not trained on.
    """

    form = "monai_segdiff finding classifier 1"
    kind = "a classifier of findings"
    remedy = "remove it, and it is trained again"

    thresholds: torch.Tensor
    threshold_images: torch.Tensor
    set_aside: torch.Tensor

    def __init__(self, findings: Sequence[str], spatial_dims: int, image_channels: int = 1, levels: int = 3) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "findings": list(findings),
            "spatial_dims": spatial_dims,
            "image_channels": image_channels,
            "levels": levels,
        }
        self.findings = tuple(findings)
        self.network = TrainedSegmenter(findings, spatial_dims, image_channels, levels)
        number = len(self.findings)
        self.log_scale = nn.Parameter(torch.zeros(number))
        self.offset = nn.Parameter(torch.zeros(number))
        self.register_buffer("thresholds", torch.zeros(number))
        self.register_buffer("threshold_images", torch.zeros(number, dtype=torch.int64))
        self.register_buffer("set_aside", torch.zeros(number, dtype=torch.bool))

    def forward(self, images: torch.Tensor) -> FindingMaps:
        """Scores of pixels and images.

        Args:
            images: (B, C, *spatial) in [-1, 1].
        """
        classes = self.network(images)
        odds = (classes[:, 1:] - classes[:, :1]).flatten(2)
        pooled = odds.logsumexp(2) - math.log(odds.shape[2])
        return FindingMaps(classes, self.log_scale.exp() * pooled + self.offset)

    @torch.inference_mode()
    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """Scores (B, K) of images (B, C, *spatial) in [-1, 1], in evaluation mode; higher where a finding is seen."""
        self.eval()
        return self(images).scores

    def sees(self, images: torch.Tensor) -> torch.Tensor:
        """Which findings it sees, (B, K) bool, in images (B, C, *spatial) in [-1, 1]."""
        return self.scores(images) > self.thresholds


def save_finding_classifier(classifier: FindingClassifier, path: str | Path) -> None:
    """Write a classifier to a file, atomically.

    Raises:
        OSError: if it cannot be written.
    """
    classifier.save(path)


def load_finding_classifier(path: str | Path) -> FindingClassifier:
    """Load what `save_finding_classifier` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is something else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"classifier file {path} does not exist")
    content = read_tensors(path, FindingClassifier.kind, FindingClassifier.remedy)
    if not FindingClassifier.wrote(content):
        raise ValueError(f"{path} is no classifier of findings: remove it, or give another folder")
    return FindingClassifier.restored(content, path)
