"""What is measured on every image of a data set, in one pass; all figures of the report follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from tqdm import tqdm

from monai_segdiff.data import Case
from monai_segdiff.evaluation.measure.other_masks import OtherMasks
from monai_segdiff.evaluation.pairs import Pair, PairReader, batches
from monai_segdiff.evaluation.readers.segmenter import Segmenter
from monai_segdiff.metrics import (
    FailedSampleDetector,
    bootstrap_mean,
    channel_detail,
    channel_noise,
    dice_per_class,
    foreground_dice,
    pixel_share,
)

__all__ = [
    "Batch",
    "Embedded",
    "Features",
    "Measurements",
    "PerImageMeasure",
    "detector_of",
    "embed",
    "measure",
    "require_finite",
]


@dataclass(frozen=True)
class Features:
    """A feature space for FID, KID and the memorized share.

    Args:
        name: how figures in it are labeled.
        function: images (B, C, *spatial) in [-1, 1] to (B, D).
    """

    name: str
    function: Callable[[torch.Tensor], torch.Tensor]

    def of(self, batch: Batch) -> torch.Tensor:
        """Features of a batch, (B, D); rows of NaN where an image is not finite.

        Raises:
            ValueError: if the features of a finite image are not finite.
        """
        found = self.function(batch.images)
        if not torch.isfinite(found[batch.finite]).all():
            raise ValueError(
                f"{self.name} gave NaN or infinite features for an image in the batch that starts with "
                f"{batch.pairs[0].case.image}: give another extractor"
            )
        return torch.where(batch.finite[:, None], found, torch.nan)


@dataclass(frozen=True)
class Batch:
    """What lies in memory at once.

    Args:
        pairs: images and label maps as they were read.
        images: (B, C, *spatial) in [-1, 1]; a pixel that was not finite is the nearest end of the range, NaN is -1.
        masks: (B, 1, *spatial) class indices.
        finite: (B,) bool, which images had only finite pixels.
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
        finite: (N,) bool, which images have neither NaN nor infinite values.
        features: (N, D), rows of NaN where the image is not finite; None without a feature space.
        extras: further figures of each image, (N, ...), by name.
    """

    cases: tuple[Case, ...]
    mask_ids: tuple[str, ...]
    finite: torch.Tensor
    features: torch.Tensor | None
    extras: Mapping[str, torch.Tensor]

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def patients(self) -> list[str]:
        """Patient of each image: what the bootstrap resamples as a whole."""
        return [case.patient for case in self.cases]

    def take(self, indices: Sequence[int]) -> Embedded:
        """Where some of the images lie, in that order."""
        return Embedded(
            tuple(self.cases[i] for i in indices),
            tuple(self.mask_ids[i] for i in indices),
            self.finite[list(indices)],
            None if self.features is None else self.features[list(indices)],
            {name: values[list(indices)] for name, values in self.extras.items()},
        )


@dataclass(frozen=True)
class Measurements(Embedded):
    """Everything measured on N images of one data set: where they lie, and how a segmenter reads them.

    Args:
        dice: (N, C) of the segmenter's reading to the image's own label map; NaN where that has none of the class.
        share: (N, C) share of the pixels in the label map.
        noise: (N,) noise level, or (N, C) of each channel; NaN where the image is not finite.
        detail: (N,) share of fine detail, or (N, C) of each channel; NaN where the image is not finite.
        advantage: (N,) by how much Dice a mask of another patient fits better than the own one; NaN where there are
            too few such masks, None where they were not compared.
    """

    dice: torch.Tensor
    share: torch.Tensor
    noise: torch.Tensor
    detail: torch.Tensor
    advantage: torch.Tensor | None = None

    @property
    def foreground(self) -> torch.Tensor:
        """(N,) mean Dice over the classes of each image."""
        return foreground_dice(self.dice)

    def failures(self, detector: FailedSampleDetector) -> dict[str, torch.Tensor]:
        """Which images failed, (N,) bool by reason."""
        return detector.reasons(self.noise, self.detail, self.foreground, self.advantage)


def detector_of(real: Measurements) -> FailedSampleDetector:
    """What tells failed samples, with limits from held-out real images."""
    ceiling = bootstrap_mean(real.foreground, draws=1).value  # None where they show no class
    return FailedSampleDetector.fit(real.noise, real.detail, ceiling, real.advantage)


def require_finite(real: Embedded) -> None:
    """Refuse real images that are not finite.

    Raises:
        ValueError: if one is not; names it.
    """
    for case, finite in zip(real.cases, real.finite.tolist(), strict=True):
        if not finite:
            raise ValueError(
                f"real image {case.image} holds NaN or infinite values: repair the file, or remove the case"
            )


def measure(
    cases: Sequence[Case],
    reader: PairReader,
    segmenter: Segmenter,
    features: Features | None,
    bar: str | None,
    others: OtherMasks | None = None,
    extras: Mapping[str, PerImageMeasure] | None = None,
) -> Measurements:
    """Read every case once and measure it.

    Args:
        cases: at least one.
        reader: reads them.
        segmenter: reads the images as label maps.
        features: feature space, or None.
        bar: title of the progress bar; None for none.
        others: masks of other patients to compare with, or None.
        extras: what is measured beside, by name.

    Raises:
        ValueError: if a file is not as it should be, or segmenter or features do not fit the images.
    """
    number = len(reader.classes)
    own: dict[str, PerImageMeasure] = {
        "dice": lambda batch: dice_per_class(batch.readings, batch.masks, number),
        "share": lambda batch: pixel_share(batch.masks, number),
        "noise": lambda batch: _of_finite(batch, channel_noise(batch.images)),
        "detail": lambda batch: _of_finite(batch, channel_detail(batch.images)),
    }
    if others is not None:
        own["advantage"] = lambda batch: others.advantage(
            batch.readings, batch.masks, [pair.case.patient for pair in batch.pairs], number
        )
    return Measurements(**_fields(_batches(cases, reader, bar, segmenter), features, extras or {}, own))


def embed(
    cases: Sequence[Case],
    reader: PairReader,
    features: Features | None,
    bar: str | None,
    extras: Mapping[str, PerImageMeasure] | None = None,
) -> Embedded:
    """Read every case once and place it in the spaces that distances are taken in; no segmenter reads it.

    Args:
        cases: at least one.
        reader: reads them.
        features: feature space, or None.
        bar: title of the progress bar; None for none.
        extras: what is measured beside, by name; none that needs a reading.

    Raises:
        ValueError: if a file is not as it should be, or features do not fit the images.
    """
    return Embedded(**_fields(_batches(cases, reader, bar), features, extras or {}, {}))


def _of_finite(batch: Batch, values: torch.Tensor) -> torch.Tensor:
    """NaN where the image is not finite."""
    return torch.where(batch.finite.reshape(-1, *[1] * (values.ndim - 1)), values, torch.nan)


def _batches(
    cases: Sequence[Case], reader: PairReader, bar: str | None, segmenter: Segmenter | None = None
) -> Iterator[Batch]:
    with tqdm(total=len(cases), desc=bar, unit="img", disable=bar is None) as shown:
        for pairs in batches(reader, cases):
            images, masks = torch.stack([p.image for p in pairs]), torch.stack([p.mask for p in pairs])
            finite = torch.isfinite(images).flatten(1).all(1)
            # What is not finite counts as empty for the networks; it is reported as failed.
            images = images.nan_to_num(nan=-1.0, posinf=1.0, neginf=-1.0)
            yield Batch(pairs, images, masks, finite, None if segmenter is None else segmenter.predict(images))
            shown.update(len(pairs))


def _fields(
    read: Iterable[Batch],
    features: Features | None,
    extras: Mapping[str, PerImageMeasure],
    own: Mapping[str, PerImageMeasure],
) -> dict[str, Any]:
    """The fields of `Embedded` and the fields `own`, for the images of all batches."""
    measures: dict[str, PerImageMeasure] = {"finite": lambda batch: batch.finite, **own}
    if features is not None:
        measures["features"] = features.of
    images: list[tuple[Case, str]] = []
    columns: dict[str, list[torch.Tensor]] = {name: [] for name in measures}
    beside: dict[str, list[torch.Tensor]] = {name: [] for name in extras}
    for batch in read:
        images += [(pair.case, pair.mask_id) for pair in batch.pairs]
        for name, one in measures.items():
            columns[name].append(one(batch))
        for name, one in extras.items():
            beside[name].append(one(batch))
    return {
        "cases": tuple(case for case, _ in images),
        "mask_ids": tuple(mask_id for _, mask_id in images),
        "features": None,
        **{name: torch.cat(parts) for name, parts in columns.items()},
        "extras": {name: torch.cat(parts) for name, parts in beside.items()},
    }
