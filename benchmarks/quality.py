"""Images for held-out masks, and how good they are beside the held-out real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.common import Cell, Column
from monai_segdiff.data import Case, SegmentationDataset
from monai_segdiff.evaluation.measure.measure import Features, Measurements, PerImageMeasure, measure
from monai_segdiff.evaluation.measure.other_masks import draw_other_masks
from monai_segdiff.evaluation.pairs import PairReader
from monai_segdiff.evaluation.readers.train_segmenter import train_segmenter
from monai_segdiff.files import atomic_file
from monai_segdiff.generation import TrainedGenerator, generate_dataset
from monai_segdiff.metrics import (
    Estimate,
    FailedSampleDetector,
    PairedErrors,
    bootstrap_mean,
    exact_rate,
    kid,
    kid_difference,
    paired_errors,
)
from monai_segdiff.pictures.lettering import lettered
from monai_segdiff.pictures.tiles import class_color, color_labels, gray_levels, picture_grid, upright

__all__ = ["COLUMNS", "PAIRED_COLUMNS", "Judge", "Sampled", "sample", "spread_over_patients"]

COLUMNS = {
    "evaluations": Column("evaluations", "{:,d}"),
    "seconds": Column("seconds per image", "{:.4g}"),
    "images": Column("images", "{:,d}"),
    "dice": Column("Dice to mask", "{:.3f}"),
    "failed": Column("failed samples", "{:.1%}"),
    "kid": Column("KID to held-out real images", "{:.5f}"),
}
"""Columns of every table of quality; figures in brackets are 95% intervals from resampling patients."""
PAIRED_COLUMNS = {
    "psnr": Column("PSNR in dB to the mask's real image", "{:.2f}"),
    "mae": Column("MAE", "{:.4f}"),
}
"""Further columns where the real image of each mask is what a model is to come near."""


def spread_over_patients(masks: Sequence[Case]) -> list[Case]:
    """Order masks so that the first few of them belong to as many patients as possible.

    Args:
        masks: any number of label maps.
    """
    seen: dict[str, int] = {}
    order = []
    for mask in masks:
        seen[mask.patient] = seen.get(mask.patient, 0) + 1
        order.append((seen[mask.patient], mask))
    return [mask for _, mask in sorted(order, key=lambda pair: pair[0])]


@dataclass(frozen=True)
class Sampled:
    """Generated images.

    Args:
        cases: image and label map of each, in the order of the masks.
        seconds: time per image, reading and writing of files left out.
        evaluations: evaluations of the network for each image.
    """

    cases: list[Case]
    seconds: float
    evaluations: int


def sample(
    generator: TrainedGenerator,
    masks: Sequence[Case],
    folder: Path,
    *,
    per_mask: int = 1,
    batch_size: int = 16,
    **options: Any,
) -> Sampled:
    """Generate images for masks, or take what a run before has generated with the same settings.

    Args:
        generator: what generates; its ``settings`` name all that matters.
        masks: the label maps.
        folder: for the images.
        per_mask: images for each mask.
        batch_size: images sampled at once.
        **options: further arguments of ``generate_dataset``.
    """
    dataset = generate_dataset(generator, masks, folder, per_mask=per_mask, batch_size=batch_size, **options)
    seconds = list(json.loads((folder / "manifest.seconds.json").read_text()).values())
    records = json.loads((folder / "manifest.json").read_text())["samples"]
    return Sampled(dataset.splits["training"], sum(seconds) / len(seconds), records[0]["evaluations"])


class Judge:
    """Measures images of one data set with a segmenter trained on its real training images.

    Args:
        dataset: real images: split ``training`` for the segmenter, ``validation`` and ``test`` to compare with.
        segmenter_images: length of the segmenter's training in images; by default as ``evaluate`` has it.
        cache_dir: where trained segmenters are kept.
        seed: of segmenter and bootstrap.
        paired: hold each generated image to the real one of its mask, too.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        segmenter_images: int | None,
        cache_dir: Path,
        seed: int = 0,
        *,
        paired: bool = False,
    ) -> None:
        assert dataset.intensity_range is not None
        self.seed = seed
        self.paired = paired
        self.reader = PairReader(dataset.classes, dataset.intensity_range, dataset.spatial_dims)
        self.segmenter: Any = train_segmenter(
            dataset.splits["training"], self.reader, segmenter_images, seed=seed, cache_dir=cache_dir
        )
        self.features = Features("segmenter's bottleneck", self.segmenter.features)
        held_out = dataset.splits.get("validation", []) + dataset.splits["test"]
        self._partners = {case.id: case for case in held_out}
        self.real = self.measure(held_out, "held-out real images")
        self.ceiling = bootstrap_mean(self.real.foreground, self.real.patients, seed=seed)
        self.detector = FailedSampleDetector.fit(
            self.real.noise, self.real.detail, self.ceiling.value, self.real.advantage
        )

    @property
    def notes(self) -> list[str]:
        """What stands below every table."""
        assert self.ceiling.value is not None
        return [
            f"Segmenter's ceiling: Dice {self.ceiling.value:.3f} on {len(self.real)} held-out real images of "
            f"{self.ceiling.groups} patients.",
            f"KID in the space of the {self.features.name} ({self._real.shape[1]} features); intervals are 95% from "
            "resampling patients, those of failed samples exact binomial ones.",
        ]

    def measure(
        self, cases: Sequence[Case], name: str, extras: Mapping[str, PerImageMeasure] | None = None
    ) -> Measurements:
        """Measure images.

        Args:
            cases: image and label map of each.
            name: shown with the progress bar.
            extras: what to measure beside.
        """
        others = draw_other_masks(cases, self.reader, self.seed)
        return measure(cases, self.reader, self.segmenter, self.features, name, others=others, extras=extras)

    def cells(self, sampled: Sampled, measured: Measurements) -> dict[str, Cell]:
        """Figures of generated images, by the keys of ``COLUMNS``."""
        cells: dict[str, Cell] = {
            "evaluations": sampled.evaluations,
            "seconds": sampled.seconds,
            "images": len(measured),
            "dice": bootstrap_mean(measured.foreground, measured.patients, seed=self.seed),
            "failed": self.failed(measured, measured.foreground, measured.advantage),
            "kid": self.distance(measured),
        }
        if self.paired:
            errors = self._errors(measured.cases)
            cells |= {
                key: bootstrap_mean(getattr(errors, key), measured.patients, seed=self.seed) for key in PAIRED_COLUMNS
            }
        return cells

    def failed(self, measured: Measurements, dice: torch.Tensor, advantage: torch.Tensor | None = None) -> Estimate:
        """Share of images that failed.

        Args:
            measured: the images.
            dice: (N,) Dice that is held to half the ceiling.
            advantage: (N,) of the masks of other patients; None leaves them out.
        """
        found = self.detector.reasons(measured.noise, measured.detail, dice, advantage)
        return exact_rate(torch.stack(list(found.values())).any(0))

    def distance(self, measured: Measurements) -> Estimate:
        """KID of images to the held-out real ones."""
        assert measured.features is not None
        kept = measured.finite
        patients = _kept(measured.patients, kept)
        return kid(self._real, measured.features[kept], self.real.patients, patients, seed=self.seed)

    def differences(self, measured: Measurements, reference: Measurements) -> dict[str, Cell]:
        """Figures minus those of a reference, on the masks and starts that both have: the first ones.

        Args:
            measured: images; negative Dice differences are losses, negative KID differences gains.
            reference: images for the same masks from the same starts, or for the first of them.

        Raises:
            ValueError: if the two do not begin with the same label maps.
        """
        n = min(len(measured), len(reference))
        if measured.mask_ids[:n] != reference.mask_ids[:n]:
            raise ValueError("the two sets were not generated for the same masks in the same order")
        patients = measured.patients[:n]
        both = measured.finite[:n] & reference.finite[:n]
        cells: dict[str, Cell] = {}
        if self.paired:
            own, other = self._errors(measured.cases[:n]), self._errors(reference.cases[:n])
            for key in PAIRED_COLUMNS:
                differences = getattr(own, key) - getattr(other, key)
                cells[f"{key}_difference"] = bootstrap_mean(differences, patients, seed=self.seed)
        return {
            **cells,
            "pairs": n,
            "dice_difference": bootstrap_mean(
                measured.foreground[:n] - reference.foreground[:n], patients, seed=self.seed
            ),
            "kid_difference": kid_difference(
                self._real,
                measured.features[:n][both],
                reference.features[:n][both],
                self.real.patients,
                _kept(patients, both),
                seed=self.seed,
            ),
        }

    def picture(
        self, masks: Sequence[Case], rows: Mapping[str, Sequence[Case]], file: Path, tile_size: int = 96
    ) -> None:
        """Draw masks, their real images and generated ones.

        Args:
            masks: cases with their real images: the columns.
            rows: name to generated cases, a row each, as many as there are masks.
            file: PNG file to write.
            tile_size: smallest side of an image in the picture, in pixels.
        """
        real = [self.reader(case) for case in masks]
        tiles = [
            [color_labels(upright(pair.mask, pair.affine)[0]) for pair in real],
            [gray_levels(upright(pair.image, pair.affine)) for pair in real],
        ]
        for row in rows.values():
            pairs = [self.reader(case) for case in row]
            tiles.append([gray_levels(upright(pair.image, pair.affine)) for pair in pairs])
        with atomic_file(file) as temporary:
            grid = picture_grid(tiles, tile_size, synthetic=range(2, len(tiles)))
            legend = {name: class_color(index) for index, name in enumerate(self.reader.classes, start=1)}
            drawn = lettered(grid, ("label map", "real", *rows), legend=legend)
            Image.fromarray(drawn).save(temporary, format="PNG")

    def _errors(self, cases: Sequence[Case]) -> PairedErrors:
        """Distances to the real images; what is generated for mask `a` is called `a_000`, `a_001` and so on."""
        pairs = [(self.reader(case), self.reader(self._partners[case.id.rpartition("_")[0]])) for case in cases]
        made, real = (torch.stack([pair.image for pair in side]) for side in zip(*pairs, strict=True))
        return paired_errors((made + 1) / 2, (real + 1) / 2)

    @property
    def _real(self) -> torch.Tensor:
        assert self.real.features is not None
        return self.real.features


def _kept(items: Sequence[str], flags: torch.Tensor) -> list[str]:
    return [item for item, keep in zip(items, flags.tolist(), strict=True) if keep]
