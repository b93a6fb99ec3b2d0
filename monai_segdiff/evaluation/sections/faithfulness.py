"""Faithfulness: Dice and Hausdorff distance of what a segmenter reads to the mask, beside its own ceiling."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from monai_segdiff.evaluation.evidence import Evidence, ReportSection, Side
from monai_segdiff.evaluation.measure.extras import hausdorff_measure, length_unit
from monai_segdiff.evaluation.measure.few_images import few_image_warnings, patients_text
from monai_segdiff.evaluation.measure.inputs import Inputs
from monai_segdiff.evaluation.measure.measure import Measurements, PerImageMeasure
from monai_segdiff.evaluation.report.report import Cell, Column, Headline, Row, Section
from monai_segdiff.metrics import Estimate, bootstrap_mean, bootstrap_ratio

__all__ = ["Faithfulness"]


class Faithfulness(ReportSection):
    """Dice and 95% Hausdorff distance to the mask per class, beside what the segmenter reaches on real images."""

    headline = Headline(
        "Dice to mask", ("faithfulness", "mean", "dice"), "number", ("faithfulness", "mean", "ceiling"), "ceiling"
    )

    def measures(self, side: Side, inputs: Inputs) -> Mapping[str, PerImageMeasure]:
        """Hausdorff distances of what the segmenter reads."""
        if side is Side.TRAINING:
            return {}
        return {"hausdorff": hausdorff_measure(len(inputs.classes), length_unit(inputs))}

    def __call__(self, evidence: Evidence) -> Section:
        """The section."""
        real, synthetic, seed, unit = evidence.held_out, evidence.synthetic, evidence.seed, evidence.unit
        classes = evidence.inputs.classes
        columns = {
            "dice": Column("Dice to mask [95% interval]"),
            "ceiling": Column("ceiling on real images"),
            "ratio": Column("share of ceiling", "percent"),
            "hausdorff": Column(f"Hausdorff 95%, {unit} [95% interval]", "length"),
            "hausdorff_ceiling": Column("on real images", "length"),
            "share": Column("share of image", "percent"),
            "images": Column("images with class", "count"),
        }
        units, real_units = synthetic.patients, real.patients
        scores = [(name, name, synthetic.dice[:, i], real.dice[:, i]) for i, name in enumerate(classes)]
        scores.append(("mean", "mean of the image's classes", synthetic.foreground, real.foreground))
        outlines = [
            [*measured.extras["hausdorff"].T, measured.extras["hausdorff"].nanmean(1)] for measured in (synthetic, real)
        ]
        rows = []
        for index, (key, label, values, reference) in enumerate(scores):
            dice = bootstrap_mean(values, units, seed=seed)
            dice = dice.or_missing("no synthetic mask holds this class", len(synthetic))
            ceiling = bootstrap_mean(reference, real_units, seed=seed)
            ceiling = ceiling.or_missing("no held-out real image shows this class", len(real))
            ratio = bootstrap_ratio(values, reference, units, real_units, seed=seed)
            share = float(synthetic.share[:, index].mean() if index < len(classes) else synthetic.share.sum(1).mean())
            cells: dict[str, Cell] = {
                "dice": dice,
                "ceiling": ceiling,
                "ratio": ratio,
                "hausdorff": _or_missing(bootstrap_mean(outlines[0][index], units, seed=seed), dice),
                "hausdorff_ceiling": _or_missing(bootstrap_mean(outlines[1][index], real_units, seed=seed), ceiling),
                "share": share,
                "images": int(torch.isfinite(values).sum()),
            }
            rows.append(Row(key, label, cells))
        missing = [
            f"{row.label}: {what} not computable, {cell.reason}."
            for row in rows
            for what in ("dice", "ceiling")
            if isinstance(cell := row.cells[what], Estimate) and cell.reason is not None
        ]
        return Section(
            key="faithfulness",
            title="Faithfulness to the mask",
            text="A segmenter that has seen only real training images reads each generated image; Dice compares its "
            "reading with the mask that the image was generated from (1 is perfect agreement). The segmenter errs too: "
            "its "
            "Dice on real held-out images is the ceiling. An image counts for a class only if its mask holds it.",
            columns=columns,
            rows=rows,
            notes=[
                f"Segmenter: {evidence.segmenter}.",
                *evidence.inputs.of_channels("The segmenter reads all channels at once."),
                f"{len(synthetic)} synthetic images ({_units(synthetic)}), {len(real)} held-out real images "
                f"({_units(real)}); intervals from resampling patients.",
                "A class of the mask that the segmenter does not find counts with the image's diagonal as its "
                "Hausdorff "
                "distance.",
            ],
            warnings=few_image_warnings(real, synthetic, "Faithfulness") + missing,
        )


def _or_missing(estimate: Estimate, like: Estimate) -> Estimate:
    """An estimate, or why there is none, as of a figure that is missing for the same reason."""
    return estimate.or_missing(like.reason or "no image has a value", like.n)


def _units(measured: Measurements) -> str:
    masks = len(set(measured.mask_ids))
    return f"{masks} masks of {patients_text(len(set(measured.patients)))}"
