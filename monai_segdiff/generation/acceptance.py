"""Filtered generation: images that are judged, and drawn again where they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

__all__ = ["Acceptance", "Drawn", "draw_accepted"]

Judge = Callable[[torch.Tensor, Sequence[Path]], Sequence[float]]
Sampler = Callable[[list[int], list[int]], torch.Tensor]


@dataclass(frozen=True)
class Acceptance:
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

    def header(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {"threshold": self.threshold, "max_tries": self.max_tries, **self.about}


@dataclass(frozen=True)
class Drawn:
    """What came of one sample.

    Args:
        image: the image that was kept, (1, *spatial), or None.
        facts: score, number of tries and index of the noise, for its record.
    """

    image: torch.Tensor | None
    facts: dict[str, Any]


def draw_accepted(
    sample: Sampler, indices: Sequence[int], labels: Sequence[Path], number: int, accept: Acceptance
) -> Iterator[Drawn]:
    """Draw some samples, and those again that are not accepted.

    The first try has the noise of the sample's own index, as without a filter, try ``k`` that of index
    ``k * number + index``: what is kept depends neither on the batch nor on the process.

    Args:
        sample: gives the images (n, 1, *spatial) of some positions in ``indices``, under given indices of noise.
        indices: index of each sample.
        labels: the label map of each.
        number: number of samples in the whole data set.
        accept: what is kept.

    Yields:
        The samples in order.
    """
    found: dict[int, Drawn] = {}
    best: dict[int, float] = {}
    for attempt in range(accept.max_tries):
        open_positions = [position for position in range(len(indices)) if position not in found]
        if not open_positions:
            break
        noise = [attempt * number + indices[position] for position in open_positions]
        images = sample(open_positions, noise)
        scores = accept.judge(images, [labels[position] for position in open_positions])
        for position, index, image, score in zip(open_positions, noise, images, map(float, scores), strict=True):
            best[position] = max(best.get(position, 0.0), score)
            if not score < accept.threshold:  # NaN is kept
                shown = None if score != score else round(score, 6)
                found[position] = Drawn(image, {"score": shown, "tries": attempt + 1, "noise_index": index})
    for position in range(len(indices)):
        lost = Drawn(None, {"score": round(best[position], 6), "tries": accept.max_tries})
        yield found.get(position, lost)
