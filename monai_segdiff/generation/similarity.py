"""How like a real image the generated ones are to be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monai_segdiff.data import Case
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.generation.job import GenerationJob
from monai_segdiff.generation.shaping import Shaping, need
from monai_segdiff.inferers import InterpolationStart, NoiseStart, SamplingInferer

__all__ = ["Similarity", "check_time"]

DEFAULT_LEVEL = 0.25  # of the images' range


def check_time(t0: float | None, what: str) -> None:
    """Refuse what is no time of a parameterization.

    Args:
        t0: time in (0, 1], or None.
        what: what it says, for the message.

    Raises:
        ValueError: for any other.
    """
    if t0 is not None and not 0.0 < t0 <= 1.0:
        raise ValueError(f"{what} must be above 0 and at most 1, got {t0:g}")


@dataclass(frozen=True)
class Similarity(Shaping):
    """How far each image is drawn to the real image of its case, and where on its way.

    Args:
        value: 0 (not at all) to 1.
        t0: time in (0, 1] of the parameterization at which it is; by default where the standard deviation of the noise
            is a quarter of the images' range.
        independent_noise: as published, see :class:`~monai_segdiff.inferers.InterpolationStart`.

    Raises:
        ValueError: when the similarity is not in [0, 1], or ``t0`` not in (0, 1].
    """

    key = "similarity"
    value: float
    t0: float | None = None
    independent_noise: bool = False

    def __post_init__(self) -> None:
        check_time(self.t0, "when a run meets its image (t0, --similarity-level)")
        self.start(torch.zeros(1, 1, 1, 1), (-1.0, 1.0))  # which refuses what is out of range

    def start(self, images: torch.Tensor, network_range: tuple[float, float]) -> InterpolationStart:
        """Give the start of a run.

        Args:
            images: the real image of each sample, (B, C, *spatial), in the network's range.
            network_range: that range.
        """
        sigma = DEFAULT_LEVEL * (network_range[1] - network_range[0]) if self.t0 is None else None
        return InterpolationStart(images, self.value, self.t0, sigma, self.independent_noise)

    def header(self, generator: TrainedGenerator, masks: Sequence[Case] = ()) -> dict[str, Any]:
        """What the manifest says of it, the noise level that the run has for it included.

        Args:
            generator: what samples.
            masks: not needed.

        Raises:
            ValueError: when the generator's runs do not start from noise.
        """
        inferer = generator.inferer
        if not isinstance(inferer, SamplingInferer) or not isinstance(inferer.start, NoiseStart):
            raise ValueError(
                f"{generator.name} does not sample from noise, so its images cannot be drawn to a real one: "
                "leave the similarity out, or use a bundle whose inferer is a SamplingInferer without a start"
            )
        grid = inferer.grid()
        start = self.start(torch.zeros(1, 1, 1, 1), generator.network_range)
        level = float(grid[start.grid_index(grid, inferer.parameterization)])
        return {"value": self.value, "sigma": round(level, 6), "independent_noise": self.independent_noise}

    def inputs(self, mask: Case) -> dict[str, Path]:
        """The real image of a case.

        Args:
            mask: the case.

        Raises:
            ValueError: when it has none.
        """
        first = {"image": need(mask.image, "image", mask)}
        return first | {f"image of channel {k}": file for k, file in enumerate(mask.channel_files[1:], start=2)}

    def arguments(self, masks: Sequence[Case], generator: TrainedGenerator) -> dict[str, Any]:
        """Where the runs of some samples start.

        Args:
            masks: the case of each.
            generator: what samples.
        """
        like = torch.stack([generator.image(mask.channel_files or need(mask.image, "image", mask)) for mask in masks])
        return {"start": self.start(like, generator.network_range)}

    def source(self, job: GenerationJob, mask: Case) -> dict[str, str]:
        """The real image, for the record.

        Args:
            job: what is made.
            mask: its case.
        """
        return {"image": os.path.relpath(need(mask.image, "image", mask), job.root.resolve())}
