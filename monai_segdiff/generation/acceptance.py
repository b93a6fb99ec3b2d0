"""Filtered generation: images that are judged, and drawn again where they fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from monai_segdiff.data import Case
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.generation.job import GenerationJob
from monai_segdiff.generation.shaping import Draw, Sample, Shaping
from monai_segdiff.inferers import RegressionInferer

__all__ = ["Acceptance"]

Judge = Callable[[torch.Tensor, Sequence[Path]], Sequence[float]]


@dataclass(frozen=True)
class Acceptance(Shaping):
    """Which images are kept.

    Args:
        judge: ``judge(images, label_files)`` gives a score in [0, 1] for each of the images (n, 1, *spatial), in the
            training images' intensities, held to the label map that is written beside it; NaN where there is nothing to
            hold an image to, which is then kept.
        threshold: the lowest score that is kept, 0 to 1.
        max_tries: how often an image is drawn at most, at least 1.
        about: who judges, for the manifest.

    Raises:
        ValueError: when threshold or number of tries are out of range.
    """

    key = "accept"
    judge: Judge
    threshold: float
    max_tries: int = 10
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(
                f"the threshold of acceptance (--accept-dice) must lie between 0 and 1, got {self.threshold}"
            )
        if self.max_tries < 1:
            raise ValueError(f"at least one try (--max-tries) is needed, got {self.max_tries}")

    def header(self, generator: TrainedGenerator, masks: Sequence[Case] = ()) -> dict[str, Any]:
        """What the manifest says of it.

        Args:
            generator: what draws.
            masks: not needed.

        Raises:
            ValueError: when its images are no draws.
        """
        if isinstance(generator.inferer, RegressionInferer):
            raise ValueError(f"{generator.name} has one image for each mask, so none can be drawn again")
        return {"threshold": self.threshold, "max_tries": self.max_tries, **self.about}

    def wrap(self, job: GenerationJob, draw: Draw) -> Draw:
        """Have those samples drawn again that are not accepted.

        The first try has the noise of the sample's own index, as without a filter, try ``k`` that of index
        ``k * number + index``: what is kept depends neither on the batch nor on the process.

        Args:
            job: what is made, and how many samples it has.
            draw: draws samples.

        Returns:
            Draws samples, whose image is None where none was accepted; score, number of tries and index of the noise
            are told of each.
        """

        def draw_accepted(samples: Sequence[Sample], noise: Sequence[int]) -> list[Sample]:
            found: dict[int, Sample] = {}
            best: dict[int, float] = {}
            for attempt in range(self.max_tries):
                positions = [position for position in range(len(samples)) if position not in found]
                if not positions:
                    break
                indices = [attempt * job.number + noise[position] for position in positions]
                drawn = draw([samples[position] for position in positions], indices)
                for position, index, sample, score in zip(positions, indices, drawn, self._scores(drawn), strict=True):
                    best[position] = max(best.get(position, 0.0), score)
                    if not score < self.threshold:  # NaN is kept
                        shown = None if score != score else round(score, 6)
                        found[position] = _told(sample, score=shown, tries=attempt + 1, noise_index=index)
            return [
                found.get(position) or _told(sample, score=round(best[position], 6), tries=self.max_tries)
                for position, sample in enumerate(samples)
            ]

        return draw_accepted

    def _scores(self, drawn: Sequence[Sample]) -> list[float]:
        images = [sample.image for sample in drawn if sample.image is not None]
        labels = [sample.label for sample in drawn]
        if len({image.shape for image in images}) == 1:
            return [float(score) for score in self.judge(torch.stack(images), labels)]
        # Label maps of several grids, and so the images.
        return [float(self.judge(one[None], [label])[0]) for one, label in zip(images, labels, strict=True)]

    def finish(self, job: GenerationJob) -> None:
        """Refuse a data set in which there is nothing.

        Args:
            job: what was made.

        Raises:
            ValueError: when no image at all was accepted.
        """
        if not (job.root / "dataset.json").is_file():
            raise ValueError(
                f"no image reached {self.threshold:g} in {self.max_tries} tries, see {job.root / 'manifest.json'}: "
                "lower the threshold (--accept-dice), or train the generator for longer"
            )


def _told(sample: Sample, **facts: Any) -> Sample:
    return replace(sample, about={**sample.about, **facts})
