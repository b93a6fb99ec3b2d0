"""The report's subjects: each function turns measurements into one section."""

from __future__ import annotations

import torch
from scipy.stats import binomtest

from monai_segdiff.evaluation.measure.measure import Embedded, Measurements
from monai_segdiff.evaluation.report.report import Cell, Column, Row, Section
from monai_segdiff.metrics import (
    FEWEST_OTHERS,
    MOST_OTHERS,
    REASONS,
    Estimate,
    FailedSampleDetector,
    bootstrap_mean,
    bootstrap_ratio,
)

__all__ = ["ceiling_of", "failed_section", "faithfulness_section", "size_warnings"]

_FEW_IMAGES = 50
_FEW_UNITS = 10

_EXPLAINED = {
    "not finite": "not finite (NaN or infinite pixels)",
    "noise": "noise (above 1.5 × the real images' 99th percentile)",
    "blurred": "blurred (fine detail below a third of the real images' 1st percentile)",
    "off mask": "off mask (Dice below half the ceiling, or another patient's mask fits better)",
}


def ceiling_of(real: Measurements) -> float | None:
    """Mean Dice of the segmenter on held-out real images, or None where they show no class."""
    return bootstrap_mean(real.foreground, draws=1).value


def faithfulness_section(
    classes: list[str], real: Measurements, synthetic: Measurements, segmenter: str, seed: int, unit: str
) -> Section:
    """Dice and 95% Hausdorff distance to the mask per class, beside what the segmenter reaches on real images.

    Args:
        classes: class names in index order.
        real: held-out real images, with the extra "hausdorff".
        synthetic: generated images, with the same.
        segmenter: its name.
        seed: of the resampling.
        unit: of the distances.
    """
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
        if dice.value is None:
            dice = Estimate.missing("no synthetic mask holds this class", len(synthetic))
        ceiling = bootstrap_mean(reference, real_units, seed=seed)
        if ceiling.value is None:
            ceiling = Estimate.missing("no held-out real image shows this class", len(real))
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
        "reading with the mask that the image was generated from (1 is perfect agreement). The segmenter errs too: its "
        "Dice on real held-out images is the ceiling. An image counts for a class only if its mask holds it.",
        columns=columns,
        rows=rows,
        notes=[
            f"Segmenter: {segmenter}.",
            f"{len(synthetic)} synthetic images ({_units(synthetic)}), {len(real)} held-out real images "
            f"({_units(real)}); intervals from resampling patients.",
            "A class of the mask that the segmenter does not find counts with the image's diagonal as its Hausdorff "
            "distance.",
        ],
        warnings=size_warnings(real, synthetic, "Faithfulness") + missing,
    )


def failed_section(real: Measurements, synthetic: Measurements) -> tuple[Section, dict[str, torch.Tensor]]:
    """Share of failed samples by reason; also which samples those are."""
    detector = FailedSampleDetector.fit(real.noise, real.detail, ceiling_of(real), real.advantage)
    found = detector.reasons(synthetic.noise, synthetic.detail, synthetic.foreground, synthetic.advantage)
    found_real = detector.reasons(real.noise, real.detail, real.foreground, real.advantage)
    rows = []
    for reason in REASONS:
        rows.append(_failed_row(reason.replace(" ", "_"), _EXPLAINED[reason], found[reason], found_real[reason]))
    either, either_real = (torch.stack([flags[r] for r in REASONS]).any(0) for flags in (found, found_real))
    rows.append(_failed_row("any", "any of these", either, either_real))
    section = Section(
        key="failed",
        title="Failed samples",
        text="A sample failed if it is noise, blurred, not finite, or does not show what its mask asks for. The limits "
        "come from the held-out real images, whose own rate stands beside.",
        columns={
            "rate": Column("synthetic [95% interval]", "percent"),
            "count": Column("images", "count"),
            "real": Column("held-out real", "percent"),
        },
        rows=rows,
        notes=[
            f"Limits: noise {detector.noise_limit:.4f} (images span 2), fine detail {detector.detail_limit:.2%} of the "
            f"spectral power" + (f", Dice {detector.dice_limit:.3f}." if detector.dice_limit is not None else "."),
            *_others_notes(detector, real, synthetic),
            "Intervals are exact binomial ones.",
        ],
        warnings=_limit_warnings(real),
    )
    return section, found


def _or_missing(estimate: Estimate, like: Estimate) -> Estimate:
    """An estimate, or why there is none, as of a figure that is missing for the same reason."""
    return estimate if estimate.value is not None else Estimate.missing(like.reason or "no image has a value", like.n)


def _limit_warnings(real: Measurements) -> list[str]:
    found = [] if len(real) >= _FEW_IMAGES else [f"The limits rest on only {len(real)} real images."]
    constant = int((real.detail == 0).sum())
    if constant:
        found.append(f"Held-out real images left out of the limits because they are constant: {constant}.")
    return found


def _failed_row(key: str, label: str, flags: torch.Tensor, real_flags: torch.Tensor) -> Row:
    count, n = int(flags.sum()), len(flags)
    interval = binomtest(count, n).proportion_ci()
    rate = Estimate(count / n, float(interval.low), float(interval.high), n, n)
    return Row(key, label, {"rate": rate, "count": count, "real": float(real_flags.float().mean())})


def _others_notes(detector: FailedSampleDetector, real: Measurements, synthetic: Measurements) -> list[str]:
    """What the comparison with masks of other patients rests on, or why there is none."""
    if detector.advantage_limit is None:
        return ["Masks of other patients were not compared: all images come from one patient."]
    notes = [
        f"Each image was held to up to {MOST_OTHERS} masks of other patients of its own data set; one of them fits "
        f"better if its Dice to the segmenter's reading is higher by more than {detector.advantage_limit:.3f}."
    ]
    for name, measured in (("held-out real", real), ("synthetic", synthetic)):
        if measured.advantage is None:
            continue
        left_out = int(torch.isnan(measured.advantage).sum())
        if left_out:
            notes.append(
                f"Not so {left_out} of {len(measured)} {name} images: their mask is empty, or there are fewer than "
                f"{FEWEST_OTHERS} masks of other patients."
            )
    return notes


def size_warnings(real: Measurements | Embedded, synthetic: Measurements | Embedded, what: str) -> list[str]:
    """What there is too little of to tell small differences."""
    warnings = []
    for name, measured in (("held-out real", real), ("synthetic", synthetic)):
        units = len(set(measured.patients))
        if len(measured) < _FEW_IMAGES or units < _FEW_UNITS:
            warnings.append(
                f"{what} rests on {len(measured)} {name} images of {_plural(units)}: too few to tell small differences."
            )
    return warnings


def _units(measured: Measurements) -> str:
    masks = len(set(measured.mask_ids))
    return f"{masks} masks of {_plural(len(set(measured.patients)))}"


def _plural(patients: int) -> str:
    return f"{patients} patient{'s' if patients != 1 else ''}"
