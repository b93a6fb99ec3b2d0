"""The report's subjects: each function turns measurements into one section."""

from __future__ import annotations

import torch
from scipy.stats import binomtest

from monai_segdiff.evaluation.measure import Measurements
from monai_segdiff.evaluation.report import Cell, Column, Row, Section
from monai_segdiff.metrics import (
    FEWEST_OTHERS,
    MOST_OTHERS,
    REASONS,
    Estimate,
    FailedSampleDetector,
    bootstrap_mean,
    bootstrap_ratio,
    frechet_distance,
    kid,
)

__all__ = ["ceiling_of", "failed_section", "faithfulness_section", "realism_section"]

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
    classes: list[str], real: Measurements, synthetic: Measurements, segmenter: str, seed: int
) -> Section:
    """Dice to the mask per class, beside the ceiling that the segmenter reaches on real held-out images."""
    columns = {
        "dice": Column("Dice to mask [95% interval]"),
        "ceiling": Column("ceiling on real images"),
        "ratio": Column("share of ceiling", "percent"),
        "share": Column("share of image", "percent"),
        "images": Column("images with class", "count"),
    }
    units, real_units = synthetic.patients, real.patients
    scores = [(name, name, synthetic.dice[:, i], real.dice[:, i]) for i, name in enumerate(classes)]
    scores.append(("mean", "mean of the image's classes", synthetic.foreground, real.foreground))
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
        cells: dict[str, Cell] = {"dice": dice, "ceiling": ceiling, "ratio": ratio, "share": share, "images": dice.n}
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
        ],
        warnings=_size_warnings(real, synthetic, "Faithfulness") + missing,
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
        warnings=[] if len(real) >= _FEW_IMAGES else [f"The limits rest on only {len(real)} real images."],
    )
    return section, found


def realism_section(
    real: Measurements, training: Measurements | None, synthetic: Measurements, features: str, seed: int
) -> Section:
    """FID and KID between synthetic and held-out real images, beside that between training and held-out real ones."""
    rows = []
    for key, label, distance in (("fid", "FID", frechet_distance), ("kid", "KID", kid)):
        cells: dict[str, Cell] = {}
        for column, other in (("synthetic", synthetic), ("training", training)):
            cells[column] = _distance(distance, real, other, features, seed)
        rows.append(Row(key, label, cells))
    warnings = _size_warnings(real, synthetic, "Realism")
    dim = None if synthetic.features is None else synthetic.features.shape[1]
    smaller = min(len(real), len(synthetic))
    value = rows[0].cells["synthetic"]
    if dim is not None and smaller <= 2 * dim and isinstance(value, Estimate) and value.value is not None:
        warnings.append(
            f"FID is biased upwards where images are few: {smaller} images for {dim} features. Compare it only with "
            "FIDs of the same N; KID has no such bias."
        )
    left_out = int((~synthetic.finite).sum())
    if left_out:
        warnings.append(f"Synthetic images left out of FID and KID because they are not finite: {left_out}.")
    reasons = {c.reason for row in rows for c in row.cells.values() if isinstance(c, Estimate) and c.reason}
    against = f"{len(synthetic)} synthetic against {len(real)} held-out real images"
    if training is not None:
        against += f"; {len(training)} real training images against the same"
    return Section(
        key="realism",
        title="Realism",
        text="Distances between the synthetic and the real held-out images in a feature space; smaller is better. The "
        "right column shows the same distance for the real training images: what no generator needs to beat.",
        columns={
            "synthetic": Column("synthetic [95% interval]", "distance"),
            "training": Column("real training images", "distance"),
        },
        rows=rows,
        notes=[f"Features: {features}" + ("." if dim is None else f" ({dim} features)."), f"N: {against}."],
        warnings=warnings + [f"Not computable: {reason}." for reason in sorted(reasons)],
    )


def _distance(distance, real: Measurements, other: Measurements | None, features: str, seed: int) -> Estimate:  # type: ignore[no-untyped-def]
    if other is None:
        return Estimate.missing("there are no real training images to compare with")
    if real.features is None or other.features is None:
        return Estimate.missing(f"no feature space ({features})")
    kept = other.finite
    units = [unit for unit, keep in zip(other.patients, kept.tolist(), strict=True) if keep]
    estimate: Estimate = distance(real.features, other.features[kept], real.patients, units, seed=seed)
    return estimate


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


def _size_warnings(real: Measurements, synthetic: Measurements, what: str) -> list[str]:
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
