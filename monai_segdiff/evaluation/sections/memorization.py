"""Memorization: the share of generated images that come nearer to the training set than unseen real images do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from monai_segdiff.evaluation.evidence import Evidence, ReportSection, Side
from monai_segdiff.evaluation.measure.extras import pixels, pooled_shape
from monai_segdiff.evaluation.measure.inputs import Inputs
from monai_segdiff.evaluation.measure.measure import Embedded, PerImageMeasure
from monai_segdiff.evaluation.measure.origins import HELD_OUT, ORIGINS, TRAINING, UNKNOWN
from monai_segdiff.evaluation.report.pictures import closest_picture
from monai_segdiff.evaluation.report.report import Cell, Column, Headline, Row, Section
from monai_segdiff.metrics import MEMORIZATION_QUANTILE, Estimate, memorized_share, nearest_distances

__all__ = ["Memorization"]

_FEW_IMAGES, _FEW_PATIENTS = 100, 10
_CLOSEST = 10


@dataclass(frozen=True)
class _Space:
    """Distances to the nearest training image in one space; NaN where an image is not finite."""

    synthetic: torch.Tensor
    nearest: torch.Tensor
    held_out: torch.Tensor

    @property
    def limit(self) -> float:
        finite = self.held_out[torch.isfinite(self.held_out)]
        return float(np.quantile(finite.numpy(), MEMORIZATION_QUANTILE, method="weibull")) if len(finite) else 0.0


class Memorization(ReportSection):
    """Memorized share in feature and in pixel space, by the origin of the masks, and the closest pairs."""

    headline = Headline(
        "Memorized share",
        ("memorization", HELD_OUT, "features"),
        "percent",
        ("memorization", HELD_OUT, "pixels"),
        "in feature space; in pixel space",
    )

    def measures(self, side: Side, inputs: Inputs) -> Mapping[str, PerImageMeasure]:
        """Pixels, at the size that they are compared at."""
        return {"pixels": pixels}

    def __call__(self, evidence: Evidence) -> Section:
        """The section."""
        inputs, training = evidence.inputs, evidence.training
        held_out, synthetic = evidence.held_out, evidence.synthetic
        pixel_size = pooled_shape(inputs.real_reader(inputs.held_out[0]).image.shape[1:])
        spaces = _spaces(evidence)
        rows = []
        for origin, label in ORIGINS.items():
            chosen = torch.tensor([found == origin for found in evidence.origins])
            if origin == UNKNOWN and not chosen.any():
                continue
            cells: dict[str, Cell] = {
                key: _share(evidence, spaces.get(key), chosen, label) for key in ("features", "pixels")
            }
            rows.append(Row(origin, f"images {label}", {**cells, "images": int((chosen & synthetic.finite).sum())}))
        size = "×".join(map(str, pixel_size))
        section = Section(
            key="memorization",
            title="Memorization",
            text="Distance of each image to its nearest training image. The memorized share is the share of synthetic "
            "images that come nearer than the nearest 5% of held-out real images do, minus these 5%: near 0 where the "
            "generator draws new images, above 0 where it repeats training images. Images made from training masks "
            "share "
            "the anatomy of training images and stand apart.",
            columns={
                "features": Column("in feature space [95% interval]", "percent"),
                "pixels": Column("in pixel space [95% interval]", "percent"),
                "images": Column("synthetic images", "count"),
            },
            rows=rows,
            notes=[
                f"Held to {0 if training is None else len(training)} training and {len(held_out)} held-out real "
                "images. "
                f"Features: {evidence.features}. Pixels: root mean square difference at {size}.",
                *inputs.of_channels("Distances are over all channels together, in pixel space as in feature space."),
                "Intervals from resampling patients, held-out ones too, so that they cover the uncertainty of the "
                "limit.",
            ],
            warnings=_warnings(rows, held_out),
        )
        if spaces:
            closest = _closest(spaces)
            section.notes += _closest_notes(closest, spaces, synthetic, training)
            if evidence.with_real and training is not None and closest:
                section.pictures = [
                    closest_picture(inputs, [(synthetic.cases[i], training.cases[j]) for i, j, _, _ in closest])
                ]
        return section


def _spaces(evidence: Evidence) -> dict[str, _Space]:
    found = {}
    for key in ("features", "pixels"):
        sides = evidence.training, evidence.held_out, evidence.synthetic
        training, held_out, synthetic = (None if side is None else _located(side, key) for side in sides)
        if training is None or held_out is None or synthetic is None:
            continue
        distances, nearest = _nearest(synthetic, training)
        found[key] = _Space(distances, nearest, _nearest(held_out, training)[0])
    return found


def _located(embedded: Embedded, key: str) -> torch.Tensor | None:
    return embedded.features if key == "features" else embedded.extras[key]


def _nearest(queries: torch.Tensor, references: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    finite = torch.isfinite(queries).all(1)
    distances = torch.full((len(queries),), torch.nan, dtype=torch.float64)
    indices = torch.zeros(len(queries), dtype=torch.int64)
    distances[finite], indices[finite] = nearest_distances(queries[finite], references)
    return distances, indices


def _share(evidence: Evidence, space: _Space | None, chosen: torch.Tensor, label: str) -> Estimate:
    if evidence.training is None:
        return Estimate.missing("there are no real training images to compare with")
    if not chosen.any():
        return Estimate.missing(f"there are no synthetic images {label}")
    if space is None:
        return Estimate.missing(f"no feature space ({evidence.features})")
    kept = (chosen & torch.isfinite(space.synthetic)).nonzero().flatten().tolist()
    patients = evidence.synthetic.patients
    return memorized_share(
        space.synthetic[kept],
        space.held_out,
        [patients[i] for i in kept],
        evidence.held_out.patients,
        seed=evidence.seed,
    )


def _closest(spaces: Mapping[str, _Space]) -> list[tuple[int, int, str, float]]:
    """Synthetic and training image, space, and distance in shares of that space's limit, the nearest first."""
    best: dict[int, tuple[int, int, str, float]] = {}
    for key, space in spaces.items():
        if not space.limit:
            continue
        shares = (space.synthetic / space.limit).nan_to_num(nan=torch.inf)
        for i in shares.argsort(stable=True)[:_CLOSEST].tolist():
            found = (i, int(space.nearest[i]), key, float(shares[i]))
            if np.isfinite(found[3]) and (i not in best or found[3] < best[i][3]):
                best[i] = found
    return sorted(best.values(), key=lambda pair: pair[3])[:_CLOSEST]


def _closest_notes(
    closest: Sequence[tuple[int, int, str, float]],
    spaces: Mapping[str, _Space],
    synthetic: Embedded,
    training: Embedded | None,
) -> list[str]:
    if training is None or not closest:
        return []
    names = [f"{synthetic.cases[i].id} to {training.cases[j].id} ({share:.2f}, {key})" for i, j, key, share in closest]
    limits = ", ".join(f"{space.limit:.4g} ({key})" for key, space in spaces.items())
    return [
        f"Limits: {limits}. Closest pairs of a synthetic and a training image, distances in shares of the limit: "
        f"{'; '.join(names)}."
    ]


def _warnings(rows: Sequence[Row], held_out: Embedded) -> list[str]:
    cells = [(row.key, cell) for row in rows for cell in row.cells.values() if isinstance(cell, Estimate)]
    found = [f"Not computable: {reason}." for reason in dict.fromkeys(cell.reason for _, cell in cells if cell.reason)]
    # Nobody needs images from training masks; without them the figure is none the worse.
    found = [text for text in found if ORIGINS[TRAINING] not in text]
    patients = len(set(held_out.patients))
    if len(held_out) < _FEW_IMAGES or patients < _FEW_PATIENTS:
        found.append(
            f"The limit rests on {len(held_out)} held-out real images of {patients} "
            f"patient{'s' if patients != 1 else ''}: too few to tell small shares."
        )
    row = next(row for row in rows if row.key == HELD_OUT)
    for key, name in (("features", "feature"), ("pixels", "pixel")):
        cell = row.cells[key]
        if isinstance(cell, Estimate) and cell.low is not None and cell.low > 0:
            found.append(
                f"In {name} space more synthetic images are near to training images than unseen real ones are: look at "
                "the closest pairs."
            )
    return found
