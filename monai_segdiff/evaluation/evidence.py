"""The measurements for the report's sections, and the interface of a section."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import ClassVar

import torch

from monai_segdiff.evaluation.measure.extras import length_unit
from monai_segdiff.evaluation.measure.inputs import Inputs
from monai_segdiff.evaluation.measure.measure import (
    Embedded,
    Features,
    Measurements,
    PerImageMeasure,
    detector_of,
    embed,
    measure,
    require_finite,
)
from monai_segdiff.evaluation.measure.origins import mask_origins
from monai_segdiff.evaluation.measure.other_masks import draw_other_masks
from monai_segdiff.evaluation.readers.segmenter import Segmenter
from monai_segdiff.evaluation.report.report import Headline, Section
from monai_segdiff.metrics import FailedSampleDetector

__all__ = ["Evidence", "ReportSection", "Side", "gather"]


class Side(Enum):
    """Which images a measure is taken of."""

    HELD_OUT = "held-out real images"
    SYNTHETIC = "synthetic images"
    TRAINING = "training images"


@dataclass(frozen=True)
class Evidence:
    """Everything that was measured, once, for all sections.

    Args:
        inputs: both data sets.
        held_out: held-out real images.
        synthetic: generated images.
        training: real training images; None where there are none.
        segmenter: name of what reads the images.
        features: name of the feature space, or why there is none.
        seed: of every resampling and of every draw.
        with_real: whether real images may be shown.
    """

    inputs: Inputs
    held_out: Measurements
    synthetic: Measurements
    training: Embedded | None
    segmenter: str
    features: str
    seed: int = 0
    with_real: bool = True

    @cached_property
    def unit(self) -> str:
        """Unit of lengths, "mm" or "pixels"."""
        return length_unit(self.inputs)

    @cached_property
    def origins(self) -> list[str]:
        """Where the mask of each generated image comes from, a key of `ORIGINS`."""
        training = self.training.mask_ids if self.training else ()
        return mask_origins(self.inputs, self.synthetic.mask_ids, self.held_out.mask_ids, training)

    @cached_property
    def detector(self) -> FailedSampleDetector:
        """What tells failed samples, with limits from the held-out real images."""
        return detector_of(self.held_out)

    @cached_property
    def failures(self) -> dict[str, torch.Tensor]:
        """(N,) bool by reason: which generated images failed."""
        return self.synthetic.failures(self.detector)

    @property
    def failed(self) -> torch.Tensor:
        """(N,) bool: which generated images failed, for whatever reason."""
        return torch.stack(list(self.failures.values())).any(0)


class ReportSection(ABC):
    """One subject of the report: the measures that it needs of each image, and the section made of them.

    Attributes:
        headline: the section's figure that is read first, if it has one.
    """

    headline: ClassVar[Headline | None] = None

    def measures(self, side: Side, inputs: Inputs) -> Mapping[str, PerImageMeasure]:
        """Measures to take of every image of one side, by their name in `extras`.

        Args:
            side: whose images. No segmenter reads those that were trained on.
            inputs: both data sets.
        """
        return {}

    @abstractmethod
    def __call__(self, evidence: Evidence) -> Section:
        """The section.

        Args:
            evidence: what was measured.
        """


def gather(
    inputs: Inputs,
    segmenter: Segmenter,
    features: Features | str,
    sections: Sequence[ReportSection],
    *,
    seed: int = 0,
    with_real: bool = True,
    progress: bool = True,
) -> Evidence:
    """Read every image once and measure what the sections want.

    Args:
        inputs: both data sets.
        segmenter: reads images as label maps.
        features: feature space, or why there is none.
        sections: of the report.
        seed: of every draw.
        with_real: whether real images may be shown.
        progress: whether to show progress bars.

    Raises:
        ValueError: if a file is not as it should be, or a real image is not finite; names it.
    """
    space, named = (None, features) if isinstance(features, str) else (features, features.name)

    def extras(side: Side) -> dict[str, PerImageMeasure]:
        return {name: one for section in sections for name, one in section.measures(side, inputs).items()}

    def bar(side: Side) -> str | None:
        return side.value if progress else None

    def measured(side: Side) -> Measurements:
        real = side is Side.HELD_OUT
        cases, reader = (inputs.held_out, inputs.real_reader) if real else (inputs.generated, inputs.synthetic_reader)
        others = None if inputs.within_one_patient else draw_other_masks(cases, reader, seed)
        return measure(cases, reader, segmenter, space, bar(side), others, extras(side))

    held_out = measured(Side.HELD_OUT)
    require_finite(held_out)
    synthetic = measured(Side.SYNTHETIC)
    training = None
    if inputs.training:
        side = Side.TRAINING
        training = embed(inputs.training, inputs.real_reader, space, bar(side), extras(side))
        require_finite(training)
    return Evidence(inputs, held_out, synthetic, training, segmenter.name, named, seed, with_real)
