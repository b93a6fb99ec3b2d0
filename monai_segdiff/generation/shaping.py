"""The contract of what shapes the samples of a data set: each way is a part that says what it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from monai_segdiff.data import Case
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.transforms import CovariateValue

if TYPE_CHECKING:
    from monai_segdiff.generation.job import GenerationJob

__all__ = ["Draw", "Sample", "Shaping", "need"]


@dataclass(frozen=True)
class Sample:
    """One sample of a data set, before and after it is drawn.

    Args:
        index: its number; with the seed it decides the noise.
        mask: the case that it is made for.
        label: the label map that is written beside its image.
        condition_file: what its condition is read from: the mask's own, which messages then name, or the one written.
        about: how it came about, for its record: mask, patient, seed, and what was found out when it was drawn.
        image: (C, *spatial), in the training images' intensities; None until it is drawn, or if no image was kept.
        measured: what was measured on the image, for its record.
    """

    index: int
    mask: Case
    label: Path
    condition_file: Path
    about: Mapping[str, Any]
    image: torch.Tensor | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)


Draw = Callable[[Sequence[Sample], Sequence[int]], list[Sample]]
"""Draws samples under given indices of noise, one for each, and gives them with their images."""


class Shaping:
    """One way to shape samples. All but ``header`` leaves them as they are, until a subclass says otherwise.

    :class:`~monai_segdiff.generation.job.GenerationJob` asks its parts one after the other, in the order of its list.

    Attributes:
        key: under which the manifest has what ``header`` says.
    """

    key: ClassVar[str]

    def header(self, generator: TrainedGenerator, masks: Sequence[Case] = ()) -> dict[str, Any]:
        """What the manifest says of it: all that decides a sample, so that none is added to another's.

        Args:
            generator: what is to generate.
            masks: all masks.

        Raises:
            ValueError: if it does not go with the generator or a mask; before anything is written.
        """
        raise NotImplementedError

    def inputs(self, mask: Case) -> Mapping[str, Any]:
        """What decides a sample beside its label map: files, by kind, of which names and contents do, and facts.

        Args:
            mask: the case that it is made for.
        """
        return {}

    def files(self, masks: Sequence[Case]) -> Iterable[Path | None]:
        """Files that it reads beside images and label maps, which must not lie where the results go.

        Args:
            masks: all masks.
        """
        return ()

    def as_written(self, generator: TrainedGenerator) -> TrainedGenerator:
        """The generator, with the classes and parents of the label maps that are written.

        Args:
            generator: what generates.
        """
        return generator

    def write_label(self, job: GenerationJob, mask: Case, target: Path) -> bool:
        """Write the label map of a sample, where it is another one than the mask's.

        Args:
            job: what is made.
            mask: the case that the sample is made for.
            target: file to write.

        Returns:
            Whether it was written. The first part that writes it is the last one asked; if none does, the mask's own
            is copied.
        """
        return False

    def told(self, mask: Case, generator: TrainedGenerator) -> Mapping[str, CovariateValue]:
        """Covariates that the condition of a mask's samples holds.

        Args:
            mask: the case that they are made for.
            generator: what generates.
        """
        return {}

    def arguments(self, masks: Sequence[Case], generator: TrainedGenerator) -> Mapping[str, Any]:
        """What the inferer is told of some samples beside their conditions.

        Args:
            masks: the case of each.
            generator: what generates.
        """
        return {}

    def wrap(self, job: GenerationJob, draw: Draw) -> Draw:
        """Put something around what draws samples: look at what comes, or have some drawn again.

        Args:
            job: what is made.
            draw: draws samples, wrapped by the parts before this one.
        """
        return draw

    def source(self, job: GenerationJob, mask: Case) -> Mapping[str, str]:
        """Where a sample that is more than an image for its mask comes from: files by kind, for its record.

        Args:
            job: what is made.
            mask: the case that the sample is made for.
        """
        return {}

    def record(self, job: GenerationJob, sample: Sample, image: torch.Tensor) -> Mapping[str, Any]:
        """Write files of a sample whose image is kept, and say what its record has of it.

        Args:
            job: what is made.
            sample: the sample.
            image: its image, (C, *spatial).

        Returns:
            Entries of the record; one of a name that the record has already takes its place.
        """
        return {}

    def discard(self, job: GenerationJob, sample: Sample) -> None:
        """Remove what was written for a sample of which no image was kept.

        Args:
            job: what is made.
            sample: the sample.
        """

    def finish(self, job: GenerationJob) -> None:
        """Judge the finished data set.

        Args:
            job: what was made.

        Raises:
            ValueError: if it is not what was asked for.
        """


def need(file: Path | None, what: str, case: Case) -> Path:
    """A file that a case must have.

    Args:
        file: the file, or None.
        what: what it is, for the message.
        case: whose it is.

    Raises:
        ValueError: if there is none.
    """
    if file is None:
        raise ValueError(f"case {case.id!r} has no {what}: add it, or leave the case out")
    return file
