"""What is measured on every image of a data set, in one pass; all figures of the report follow from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from tqdm import tqdm

from monai_segdiff.data import Case
from monai_segdiff.evaluation.others import OtherMasks
from monai_segdiff.evaluation.pairs import PairReader, batches
from monai_segdiff.evaluation.segmenter import Segmenter
from monai_segdiff.metrics import detail_share, dice_per_class, foreground_dice, noise_level, pixel_share

__all__ = ["Features", "Measurements", "measure"]

_BATCH_PIXELS = 2**18  # 64 images of 64x64: large enough for speed, small enough for any memory


@dataclass(frozen=True)
class Features:
    """A feature space for FID and KID.

    Args:
        name: how figures in it are labeled.
        function: images (B, C, *spatial) in [-1, 1] to (B, D).
    """

    name: str
    function: Callable[[torch.Tensor], torch.Tensor]


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
    """

    cases: tuple[Case, ...]
    mask_ids: tuple[str, ...]
    dice: torch.Tensor
    share: torch.Tensor
    noise: torch.Tensor
    detail: torch.Tensor
    features: torch.Tensor | None
    advantage: torch.Tensor | None = None

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


def measure(
    cases: Sequence[Case],
    reader: PairReader,
    segmenter: Segmenter,
    features: Features | None,
    description: str,
    progress: bool = True,
    others: OtherMasks | None = None,
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

    Raises:
        ValueError: if a file is not as it should be, or segmenter or features do not fit the images.
    """
    names = ("dice", "share", "noise", "detail", "features", "advantage")
    columns: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    mask_ids: list[str] = []
    number = len(reader.classes)
    size = max(_BATCH_PIXELS // reader(cases[0]).image.numel(), 1)
    with tqdm(total=len(cases), desc=description, unit="img", disable=not progress) as bar:
        for batch in batches(reader, cases, size):
            images, masks = torch.stack([p.image for p in batch]), torch.stack([p.mask for p in batch])
            finite = torch.isfinite(images).flatten(1).all(1)
            # What is not finite counts as empty for the networks; it is reported as failed.
            clean = images.nan_to_num(nan=-1.0, posinf=1.0, neginf=-1.0)
            readings = segmenter.predict(clean)
            columns["dice"].append(dice_per_class(readings, masks, number))
            if others is not None:
                patients = [pair.case.patient for pair in batch]
                columns["advantage"].append(others.advantage(readings, masks, patients, number))
            columns["share"].append(pixel_share(masks, number))
            columns["noise"].append(noise_level(images))
            columns["detail"].append(detail_share(images))
            if features is not None:
                found = features.function(clean)
                columns["features"].append(torch.where(finite[:, None], found, torch.nan))
            mask_ids.extend(pair.mask_id for pair in batch)
            bar.update(len(batch))
    joined = {name: torch.cat(parts) if parts else None for name, parts in columns.items()}
    return Measurements(tuple(cases), tuple(mask_ids), **joined)
