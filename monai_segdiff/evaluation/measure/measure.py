"""What is measured on every image of a data set, in one pass; all figures of the report follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from tqdm import tqdm

from monai_segdiff.data import Case
from monai_segdiff.evaluation.measure.other_masks import OtherMasks
from monai_segdiff.evaluation.pairs import Pair, PairReader, batches
from monai_segdiff.evaluation.readers.segmenter import Segmenter
from monai_segdiff.metrics import (
    bootstrap_mean,
    detail_share,
    dice_per_class,
    foreground_dice,
    noise_level,
    pixel_share,
)

__all__ = ["Batch", "Embedded", "Features", "Measurements", "PerImageMeasure", "ceiling_of", "embed", "measure"]

_BATCH_PIXELS = 2**18  # 64 images of 64x64: large enough for speed, small enough for any memory


@dataclass(frozen=True)
class Features:
    """A feature space for FID, KID and the memorized share.

    Args:
        name: how figures in it are labeled.
        function: images (B, C, *spatial) in [-1, 1] to (B, D).
    """

    name: str
    function: Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Batch:
    """What lies in memory at once.

    Args:
        pairs: images and label maps as they were read.
        images: (B, C, *spatial) in [-1, 1]; a pixel that was not finite is the nearest end of the range, NaN is -1.
        masks: (B, 1, *spatial) class indices.
        finite: (B,) bool, which images held only finite pixels.
        readings: (B, 1, *spatial), the segmenter's; None where nothing reads.
    """

    pairs: Sequence[Pair]
    images: torch.Tensor
    masks: torch.Tensor
    finite: torch.Tensor
    readings: torch.Tensor | None = None


PerImageMeasure: TypeAlias = Callable[[Batch], torch.Tensor]
"""What a section of the report wants measured beside: a batch to one row for each image."""


@dataclass(frozen=True)
class Embedded:
    """Where N images of one data set lie in the spaces that distances are taken in.

    Args:
        cases: the N cases.
        mask_ids: the same for images of one label map.
        finite: (N,) bool, which images hold neither NaN nor infinite values.
        features: (N, D), rows of NaN where the image is not finite; None without a feature space.
        extras: further figures of each image, (N, ...), by name.
    """

    cases: tuple[Case, ...]
    mask_ids: tuple[str, ...]
    finite: torch.Tensor
    features: torch.Tensor | None
    extras: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def patients(self) -> list[str]:
        """Patient of each image: what the bootstrap resamples as a whole."""
        return [case.patient for case in self.cases]

    def take(self, indices: Sequence[int]) -> Embedded:
        """Some of the images, in that order."""
        return Embedded(
            tuple(self.cases[i] for i in indices),
            tuple(self.mask_ids[i] for i in indices),
            self.finite[list(indices)],
            None if self.features is None else self.features[list(indices)],
            {name: values[list(indices)] for name, values in self.extras.items()},
        )


@dataclass(frozen=True)
class Measurements:
    """Everything measured on N images of one data set.

    Args:
        cases: the N cases.
        mask_ids: the same for images of one label map.
        dice: (N, C) of the segmenter's reading to the image's own label map; NaN where that has none of the class.
        share: (N, C) share of the pixels in the label map.
        noise: (N,) noise level; NaN where the image is not finite.
        detail: (N,) share of fine detail; NaN where the image is not finite.
        features: (N, D), rows of NaN where the image is not finite; None without a feature space.
        advantage: (N,) by how much Dice a mask of another patient fits better than the own one; NaN where there are
            too few such masks, None where they were not compared.
        extras: further figures of each image, (N, ...), by name.
    """

    cases: tuple[Case, ...]
    mask_ids: tuple[str, ...]
    dice: torch.Tensor
    share: torch.Tensor
    noise: torch.Tensor
    detail: torch.Tensor
    features: torch.Tensor | None
    advantage: torch.Tensor | None = None
    extras: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def patients(self) -> list[str]:
        """Patient of each image: what the bootstrap resamples as a whole."""
        return [case.patient for case in self.cases]

    @property
    def foreground(self) -> torch.Tensor:
        """(N,) mean Dice over the classes of each image."""
        return foreground_dice(self.dice)

    @property
    def finite(self) -> torch.Tensor:
        """(N,) bool: which images hold neither NaN nor infinite values."""
        return torch.isfinite(self.noise)

    @property
    def embedded(self) -> Embedded:
        """Where the images lie in the spaces that distances are taken in."""
        return Embedded(self.cases, self.mask_ids, self.finite, self.features, self.extras)


def ceiling_of(real: Measurements) -> float | None:
    """Mean Dice of the segmenter on held-out real images, or None where they show no class."""
    return bootstrap_mean(real.foreground, draws=1).value


def measure(
    cases: Sequence[Case],
    reader: PairReader,
    segmenter: Segmenter,
    features: Features | None,
    description: str,
    progress: bool = True,
    others: OtherMasks | None = None,
    extras: Mapping[str, PerImageMeasure] | None = None,
) -> Measurements:
    """Read every case once and measure it.

    Args:
        cases: at least one.
        reader: reads them.
        segmenter: reads the images as label maps.
        features: feature space, or None.
        description: of the progress bar.
        progress: whether to show it.
        others: masks of other patients to compare with, or None.
        extras: what is measured beside, by name.

    Raises:
        ValueError: if a file is not as it should be, or segmenter or features do not fit the images.
    """
    columns: dict[str, list[torch.Tensor]] = {}
    mask_ids: list[str] = []
    number = len(reader.classes)
    for batch in _batches(cases, reader, description, progress):
        readings = segmenter.predict(batch.images)
        found = {
            "dice": dice_per_class(readings, batch.masks, number),
            "share": pixel_share(batch.masks, number),
            "noise": torch.where(batch.finite, noise_level(batch.images), torch.nan),
            "detail": torch.where(batch.finite, detail_share(batch.images), torch.nan),
        }
        if others is not None:
            patients = [pair.case.patient for pair in batch.pairs]
            found["advantage"] = others.advantage(readings, batch.masks, patients, number)
        found |= _placed(batch, features)
        _append(columns, found)
        read = Batch(batch.pairs, batch.images, batch.masks, batch.finite, readings)
        _append(columns, {f"extra {name}": extra(read) for name, extra in (extras or {}).items()})
        mask_ids.extend(pair.mask_id for pair in batch.pairs)
    joined = {name: torch.cat(parts) for name, parts in columns.items()}
    beside = {name: joined.pop(f"extra {name}") for name in extras or {}}
    return Measurements(tuple(cases), tuple(mask_ids), **{"features": None, "advantage": None, **joined}, extras=beside)


def embed(
    cases: Sequence[Case],
    reader: PairReader,
    features: Features | None,
    description: str,
    progress: bool = True,
    extras: Mapping[str, PerImageMeasure] | None = None,
) -> Embedded:
    """Read every case once and place it in the spaces that distances are taken in; no segmenter reads it.

    Args:
        cases: at least one.
        reader: reads them.
        features: feature space, or None.
        description: of the progress bar.
        progress: whether to show it.
        extras: what is measured beside, by name; none that needs a reading.

    Raises:
        ValueError: if a file is not as it should be, or features do not fit the images.
    """
    columns: dict[str, list[torch.Tensor]] = {"finite": []}
    mask_ids: list[str] = []
    for batch in _batches(cases, reader, description, progress):
        _append(columns, {"finite": batch.finite, **_placed(batch, features)})
        _append(columns, {f"extra {name}": extra(batch) for name, extra in (extras or {}).items()})
        mask_ids.extend(pair.mask_id for pair in batch.pairs)
    joined = {name: torch.cat(parts) for name, parts in columns.items()}
    beside = {name: joined[f"extra {name}"] for name in extras or {}}
    return Embedded(tuple(cases), tuple(mask_ids), joined["finite"], joined.get("features"), beside)


def _batches(cases: Sequence[Case], reader: PairReader, description: str, progress: bool) -> Iterator[Batch]:
    size = max(_BATCH_PIXELS // reader(cases[0]).image.numel(), 1)
    with tqdm(total=len(cases), desc=description, unit="img", disable=not progress) as bar:
        for pairs in batches(reader, cases, size):
            images, masks = torch.stack([p.image for p in pairs]), torch.stack([p.mask for p in pairs])
            finite = torch.isfinite(images).flatten(1).all(1)
            # What is not finite counts as empty for the networks; it is reported as failed.
            yield Batch(pairs, images.nan_to_num(nan=-1.0, posinf=1.0, neginf=-1.0), masks, finite)
            bar.update(len(pairs))


def _placed(batch: Batch, features: Features | None) -> dict[str, torch.Tensor]:
    if features is None:
        return {}
    found = features.function(batch.images)
    if not torch.isfinite(found[batch.finite]).all():
        raise ValueError(
            f"{features.name} gave features that are NaN or infinite for an image of {batch.pairs[0].case.image} and "
            "those after it: give another extractor"
        )
    return {"features": torch.where(batch.finite[:, None], found, torch.nan)}


def _append(columns: dict[str, list[torch.Tensor]], found: Mapping[str, torch.Tensor]) -> None:
    for name, values in found.items():
        columns.setdefault(name, []).append(values)
