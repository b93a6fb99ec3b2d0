"""Images on the label maps' own grids: what goes through the network in batches, and what comes back of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from monai_segdiff.data.description.classes import OUTSIDE_VIEW
from monai_segdiff.data.load import as_slice, is_raster, load_label_map
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.generation.placement import PlacedLabels
from monai_segdiff.generation.trained_grid import place_labels
from monai_segdiff.inferers import Windows, seam_gradient
from monai_segdiff.transforms import channel_ranges, clamp_channels
from monai_segdiff.transforms.covariates import CovariateValue

__all__ = ["Drawn", "OwnGrid", "draw"]

_SLICE_STEP = 1_000_003  # from one slice's index of noise to the next one's: more samples than a run has


@dataclass(frozen=True)
class Drawn:
    """An image on its label map's grid.

    Args:
        image: (C, *spatial), in the training images' intensities.
        seam_gradient: see :func:`~monai_segdiff.inferers.seam_gradient`; None where there was one window.
    """

    image: torch.Tensor
    seam_gradient: float | None = None


@dataclass(frozen=True)
class OwnGrid:
    """A label map, and what the network sees of it.

    Args:
        generator: for which.
        labels: the label map, (1, *spatial).
        placed: the same on the network's grid, None where it is on that already.
        known: which classes are known, see :meth:`TrainedGenerator.condition`.
        covariates: those that are known, see there, too.
        remark: what cannot be right about it, in words.
    """

    generator: TrainedGenerator
    labels: MetaTensor = field(repr=False)
    placed: PlacedLabels | None
    known: Sequence[bool] | None = None
    remark: str = ""
    covariates: Mapping[str, CovariateValue] = field(default_factory=dict)

    @classmethod
    def of_file(
        cls,
        file: Path,
        generator: TrainedGenerator,
        known: Sequence[bool] | None = None,
        covariates: Mapping[str, CovariateValue] | None = None,
    ) -> OwnGrid:
        """Place the label map of a file.

        Args:
            file: the file.
            generator: for which.
            known: which classes are known.
            covariates: those that are known.

        Raises:
            ValueError: if it cannot be read, or cannot be brought onto the network's grid; names it.
        """
        try:
            own = cls.of_labels(load_label_map(file), generator, known, measured=not is_raster(file))
            return replace(own, covariates=dict(covariates or {}))
        except ValueError as error:
            if str(file) in str(error):
                raise
            raise ValueError(f"{file}: {error}") from error

    @classmethod
    def of_labels(
        cls, labels: MetaTensor, generator: TrainedGenerator, known: Sequence[bool] | None = None, measured: bool = True
    ) -> OwnGrid:
        """Place a label map.

        Args:
            labels: (1, *spatial), ids of the generator's classes, with its RAS affine.
            generator: for which.
            known: which classes are known.
            measured: whether its voxels have a known size.

        Raises:
            ValueError: if it cannot be brought onto the network's grid.
        """
        outside = int(np.atleast_1d(generator.classes.get(OUTSIDE_VIEW, 0))[0])
        size, windows = generator.image_size, generator.draws_windows
        placed, remark = place_labels(labels, size, generator.grid, measured=measured, windows=windows, outside=outside)
        own = cls(generator, labels, placed, known, remark)
        if lost := own.lost():
            text = f"these classes are too small for the bundle's grid and missing in the image: {', '.join(lost)}"
            return replace(own, remark=f"{remark}; {text}" if remark else text)
        return own

    def lost(self) -> list[str]:
        """Classes that are lost in resampling."""
        if self.placed is None:
            return []
        gone = {*np.unique(np.asarray(self.labels)).tolist()} - {*np.unique(self.placed.labels).tolist()}
        return [name for name, own in self.generator.classes.items() if gone & {*np.atleast_1d(own).tolist()}]

    @property
    def number(self) -> int:
        """How many images the network draws for it: one, or one for each slice."""
        return 1 if self.placed is None else len(self.placed.labels)

    @property
    def windowed(self) -> bool:
        """Whether these are larger than the network's."""
        return self.placed is not None and self.placed.labels.shape[1:] != self.generator.image_size

    def condition(self, index: int) -> torch.Tensor:
        """The condition of one of them, (channels, *spatial).

        Args:
            index: which one.

        Raises:
            ValueError: for labels that the generator was not trained on; names the file.
        """
        if self.placed is None:
            return self._whole
        labels, affine = torch.from_numpy(self.placed.labels[index])[None], torch.as_tensor(self.placed.affines[index])
        about = {key: value for key, value in self.labels.meta.items() if key == "filename_or_obj"}
        return self.generator.encode(MetaTensor(labels, affine=affine, meta=about), self.known, self.covariates)

    @cached_property
    def _whole(self) -> torch.Tensor:
        if (file := self.labels.meta.get("filename_or_obj")) is not None:
            return self.generator.condition(file, self.known, self.covariates)
        return self.generator.encode(as_slice(self.labels, len(self.generator.image_size)), self.known, self.covariates)

    def facts(self) -> dict[str, Any]:
        """How it was placed, for the record of a sample; nothing where it was on the network's grid."""
        if self.placed is None:
            return {}
        facts: dict[str, Any] = {
            "grid": list(self.placed.labels.shape[1:]),
            "spacing": [round(length, 5) for length in self.placed.spacing],
        }
        if self.placed.axis is not None:
            facts |= {"slices": self.number, "slice_axis": self.placed.axis}
        if self.windowed:
            windows = Windows(self.generator.image_size)
            facts["windows"] = len(windows.places(self.placed.labels.shape[1:]))
        return facts | ({"remark": self.remark} if self.remark else {})

    def back(self, images: torch.Tensor) -> Drawn:
        """Bring what was drawn onto the label map's grid.

        Args:
            images: (N, C, *spatial), one for each condition.
        """
        if self.placed is None:
            return Drawn(images[0])
        limits = self.generator.intensity_range
        lowest = [low for low, _ in channel_ranges(limits, images.shape[1])]
        channels = [self.placed.onto_source(images[:, c].cpu().numpy(), fill=low) for c, low in enumerate(lowest)]
        # Interpolation is a weighted mean, whose rounded weights may sum to a little more than one.
        image = clamp_channels(torch.from_numpy(np.stack(channels))[None], limits)[0]
        if not self.windowed:
            return Drawn(image)
        windows = Windows(self.generator.image_size)
        ratios = [ratio for one in images if (ratio := seam_gradient(one.cpu(), windows)) is not None]
        return Drawn(image, float(np.mean(ratios)) if ratios else None)


def draw(
    grids: Sequence[OwnGrid],
    noise: Sequence[int],
    batch_size: int,
    arguments: Mapping[str, Any] | None = None,
    tell: Callable[[int], object] | None = None,
) -> Iterator[Drawn]:
    """Draw an image for each label map, on its own grid.

    Slices of a volume have noise of their own. What is larger than the network's images is drawn one by one, in windows
    of which as many go through the network at once as images would.

    Args:
        grids: the label maps, of one generator.
        noise: index of the noise of each.
        batch_size: images that go through the network at once.
        arguments: what the inferer is told beside conditions, where all label maps are on the network's grid and fill
            one batch.
        tell: called with the number of images that the network has drawn, after each batch.

    Yields:
        The images, in their order.
    """
    generator, drawn = grids[0].generator, []
    for batch in _batches(grids, batch_size):
        conditions = torch.stack([grids[number].condition(index) for number, index in batch])
        indices = [noise[number] + index * _SLICE_STEP for number, index in batch]
        more = dict(arguments or {})
        if grids[batch[0][0]].windowed:
            more["windows"] = Windows(generator.image_size, batch_size=batch_size)
        for (number, index), image in zip(batch, generator.sample(conditions, indices, **more), strict=True):
            drawn.append(image)
            if index == grids[number].number - 1:
                yield grids[number].back(torch.stack(drawn))
                drawn.clear()
        if tell is not None:
            tell(len(batch))


def _batches(grids: Sequence[OwnGrid], batch_size: int) -> Iterator[list[tuple[int, int]]]:
    """What goes through the network at once: numbers of label maps and of their slices, in order."""
    batch: list[tuple[int, int]] = []
    for number, grid in enumerate(grids):
        for index in range(grid.number):
            if grid.windowed and batch:
                yield batch
                batch = []
            batch.append((number, index))
            if grid.windowed or len(batch) == batch_size:
                yield batch
                batch = []
    if batch:
        yield batch
