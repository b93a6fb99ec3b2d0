"""Findings put into regions of chest phantoms: whether they are seen, and there, and what else changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.ndimage import binary_dilation

from benchmarks.common import Cell, Column
from benchmarks.quality import COLUMNS, Judge, Sampled, sample
from monai_segdiff.data import Case, SegmentationDataset, load_image
from monai_segdiff.evaluation import FindingClassifier
from monai_segdiff.evaluation.measure.measure import Measurements
from monai_segdiff.evaluation.readers.train_finding_classifier import finding_flags
from monai_segdiff.generation import Pathology, TrainedGenerator
from monai_segdiff.metrics import bootstrap_mean, exact_rate

__all__ = [
    "CLASSIFIER",
    "EDITS",
    "NONE",
    "Edits",
    "changes",
    "classifier_row",
    "draw_edits",
    "edit_rows",
    "peaks_inside",
]

NONE = "none"  # the row of edits under the empty prompt
CLASSIFIER = {
    "sensitivity": Column("sensitivity", "{:.1%}"),
    "specificity": Column("specificity", "{:.1%}"),
    "images": Column("held-out images that show it", "{:,d}"),
}
EDITS = {
    "hit": Column("seen", "{:.1%}"),
    "there": Column("seen, and surest inside the region", "{:.1%}"),
    "lungs": Column("Dice to lungs", "{:.3f}"),
    "outside": Column("mean change outside the region", "{:.3%}"),
    "own": Column("of which the autoencoder's own error", "{:.3%}"),
    "excess": Column("beyond it", "{:+.3%}"),
    "inside": Column("mean change inside", "{:.2%}"),
    "failed": COLUMNS["failed"],
    "evaluations": COLUMNS["evaluations"],
    "seconds": COLUMNS["seconds"],
    "images": COLUMNS["images"],
}
_CELL = 4  # pixels of one latent: where a block lies in the region with a part, its share of it changes


@dataclass(frozen=True)
class Edits:
    """Images with one finding, or under the empty prompt.

    Args:
        masks: the label maps with the regions.
        sampled: the images.
        images: (N, 1, *spatial) in 0..1.
        anatomies: the same before the finding.
        regions: (N, 1, *spatial), 0 or 1.
        measured: what the judge measured.
        lungs: (N,) Dice to the lungs.
    """

    masks: Sequence[Case]
    sampled: Sampled
    images: torch.Tensor
    anatomies: torch.Tensor
    regions: torch.Tensor
    measured: Measurements
    lungs: torch.Tensor


def changes(
    images: torch.Tensor, anatomies: torch.Tensor, regions: torch.Tensor, rebuilt: torch.Tensor
) -> dict[str, torch.Tensor]:
    """How much each image differs from its anatomy, as a share of the range.

    Args:
        images: (N, 1, *spatial), in a range of length 1.
        anatomies: the images before the findings.
        regions: where the findings were allowed, 0 or 1.
        rebuilt: the anatomies after autoencoder and back.

    Returns:
        (N,) each: mean absolute change ``outside`` and ``inside``, and the autoencoder's ``own`` error outside.
    """
    outside, axes = 1 - regions, tuple(range(1, images.ndim))

    def mean(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        return (values.abs() * where).sum(axes) / where.sum(axes)

    return {
        "outside": mean(images - anatomies, outside),
        "own": mean(rebuilt - anatomies, outside),
        "inside": mean(images - anatomies, regions),
    }


def peaks_inside(odds: torch.Tensor, regions: torch.Tensor, margin: int) -> torch.Tensor:
    """Whether the pixel in which something is surest lies in the region.

    Args:
        odds: (N, *spatial), higher where it is surer.
        regions: (N, *spatial), 0 or 1.
        margin: pixels by which the region is widened first.

    Returns:
        (N,) bool.
    """
    found = []
    for own, region in zip(odds, regions, strict=True):
        wide = torch.from_numpy(binary_dilation(region.numpy() > 0, iterations=margin)) if margin else region > 0
        found.append(bool(wide.flatten()[own.flatten().argmax()]))
    return torch.tensor(found)


def classifier_row(classifier: FindingClassifier, cases: Sequence[Case], judge: Judge) -> dict[str, dict[str, Cell]]:
    """Sensitivity and specificity of each finding on held-out images.

    Args:
        classifier: trained on training patients.
        cases: held-out cases.
        judge: reads them.
    """
    images = torch.stack([judge.reader(case).image for case in cases])
    seen = torch.cat([classifier.sees(part) for part in images.split(64)])
    shown = finding_flags(cases, classifier.findings)
    patients = [case.patient for case in cases]

    def rate(values: torch.Tensor, where: torch.Tensor) -> Cell:
        return exact_rate(values[where], [patients[i] for i in where.nonzero().flatten().tolist()])

    return {
        name: {
            "sensitivity": rate(seen[:, k], shown[:, k]),
            "specificity": rate(~seen[:, k], ~shown[:, k]),
            "images": int(shown[:, k].sum()),
        }
        for k, name in enumerate(classifier.findings)
    }


def draw_edits(
    generator: TrainedGenerator,
    name: str,
    masks: Sequence[Case],
    folder: Path,
    judge: Judge,
    dataset: SegmentationDataset,
    batch_size: int,
    lung_classes: Sequence[str],
) -> Edits:
    """Put a finding into the regions of the masks.

    Args:
        generator: the bundle.
        name: the finding, or `NONE` for the empty prompt.
        masks: label maps with a region map.
        folder: for the images; those that are there are taken over.
        judge: measures.
        dataset: of the masks.
        batch_size: images sampled at once.
        lung_classes: names of the lungs' classes.
    """
    findings = () if name == NONE else (name,)
    sampled = sample(generator, masks, folder, batch_size=batch_size, pathology=Pathology(findings))
    measured = judge.measure(sampled.cases, folder.name)
    assert dataset.intensity_range is not None
    low, high = dataset.intensity_range

    def read(file: Path) -> torch.Tensor:
        return (load_image(file).as_tensor().float() - low) / (high - low)

    files = [case.image for case in sampled.cases if case.image]
    columns = [list(judge.reader.classes).index(lung) for lung in lung_classes]
    return Edits(
        masks,
        sampled,
        torch.stack([read(file) for file in files]),
        torch.stack([read(folder / "anatomyTr" / file.name) for file in files]),
        torch.stack([(load_image(case.region).as_tensor() > 0).float() for case in masks if case.region]),
        measured,
        measured.dice[:, columns].nanmean(1),
    )


def edit_rows(
    edits: Mapping[str, Edits], classifier: FindingClassifier, generator: TrainedGenerator, judge: Judge
) -> dict[str, dict[str, Cell]]:
    """Figures of edits.

    Args:
        edits: by finding, `NONE` among them.
        classifier: reads findings off images.
        generator: the bundle, whose autoencoder's error is counted apart.
        judge: gives its part of the figures.
    """
    space = generator.inferer.latent_space
    rows: dict[str, dict[str, Cell]] = {}
    for name, edit in edits.items():
        with torch.no_grad():
            parts = [space.decode(space.encode(2 * part - 1)) for part in edit.anatomies.split(32)]
            odds = torch.cat([_odds(classifier, 2 * part - 1) for part in edit.images.split(64)])
        seen = torch.cat([classifier.sees(2 * part - 1) for part in edit.images.split(64)])
        figures = changes(edit.images, edit.anatomies, edit.regions, (torch.cat(parts).clamp(-1, 1) + 1) / 2)
        patients = edit.measured.patients
        cells: dict[str, Cell] = {
            key: bootstrap_mean(values, patients, seed=judge.seed) for key, values in figures.items()
        }
        cells["excess"] = bootstrap_mean(figures["outside"] - figures["own"], patients, seed=judge.seed)
        cells["lungs"] = bootstrap_mean(edit.lungs, patients, seed=judge.seed)
        if name == NONE:  # of every finding, image by image
            cells["hit"] = exact_rate(seen.flatten(), [p for p in patients for _ in classifier.findings])
        else:
            k = list(classifier.findings).index(name)
            cells["hit"] = exact_rate(seen[:, k], patients)
            cells["there"] = exact_rate(seen[:, k] & peaks_inside(odds[:, k], edit.regions[:, 0], _CELL), patients)
        cells |= {
            key: value
            for key, value in judge.cells(edit.sampled, edit.measured).items()
            if key in ("failed", "evaluations", "seconds", "images")
        }
        rows[name] = cells
    return rows


def _odds(classifier: FindingClassifier, images: torch.Tensor) -> torch.Tensor:
    classes = classifier.eval()(images).classes
    return classes[:, 1:] - classes[:, :1]
