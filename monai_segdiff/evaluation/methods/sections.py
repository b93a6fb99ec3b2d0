"""The comparison's subjects: each function turns the rows' measurements into one section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, groupby

import torch

from monai_segdiff.evaluation.measure.few_images import patients_text
from monai_segdiff.evaluation.measure.measure import detector_of
from monai_segdiff.evaluation.methods.rows import MethodRow, Views
from monai_segdiff.evaluation.report.limits import limits_text
from monai_segdiff.evaluation.report.report import Cell, Column, Headline, Row, Section
from monai_segdiff.metrics import REASONS, bootstrap_mean, exact_rate

__all__ = ["difference_section", "error_section", "failure_section", "method_headlines", "view_section"]

_FEW_PATIENTS = 10
_FIGURES = {"mae": ("MAE", "error"), "psnr": ("PSNR (dB)", "decibel"), "ssim": ("SSIM", "number")}


def error_section(rows: Sequence[MethodRow], published: Mapping[str, Mapping[str, float]], seed: int) -> Section:
    """MAE, PSNR and SSIM to the real images, beside published figures, and what an image costs."""
    columns: dict[str, Column] = {}
    for key, (title, style) in _FIGURES.items():
        columns[key] = Column(f"{title} [95% interval]", style)
        if key != "ssim":
            columns[f"{key}_sd"] = Column("standard deviation", style)
            if published:
                columns[f"{key}_published"] = Column(f"published {title}", style)
    columns |= {
        "failed": Column("failed samples", "percent"),
        "images": Column("images", "count"),
        "evaluations": Column("evaluations", "count"),
        "seconds": Column("seconds per image", "seconds"),
    }
    found = []
    for row in rows:
        cells: dict[str, Cell] = {}
        for key in _FIGURES:
            values = getattr(row.errors, key)
            cells[key] = bootstrap_mean(values, row.patients, seed=seed)
            if f"{key}_sd" in columns:
                cells[f"{key}_sd"] = _deviation(values)
            if f"{key}_published" in columns:
                cells[f"{key}_published"] = published.get(row.name, {}).get(key)
        flags = torch.stack(list(row.measured.failures(detector_of(row.condition.limits)).values())).any(0)
        cells |= {
            "failed": exact_rate(flags),
            "images": len(flags),
            "evaluations": _common([match.evaluations for match in row.matches]),
            "seconds": _mean([match.seconds for match in row.matches]),
        }
        found.append(Row(row.name, row.name, cells))
    units = len(set(rows[0].patients))
    notes = [
        f"{len(rows[0].matches)} images of {patients_text(units)} in each row, on the same masks; "
        "intensities mapped to 0 to 1, PSNR with a peak of 1, SSIM with a Gaussian window of 11 pixels.",
        "Intervals are of the mean, from resampling patients; standard deviations are over images. Seconds are those "
        "of the run that made the images, reading and writing left out.",
    ]
    if published:
        notes.append("Published figures were found on other data; they show the order of size, not a target.")
    warnings = [
        f"{row.name}: {left} of {len(row.errors)} images have no figure, because they are not finite or equal their "
        "real image."
        for row in rows
        if (left := int((~torch.isfinite(row.errors.psnr)).sum()))
    ]
    if units < _FEW_PATIENTS:
        warnings.append(f"The table rests on {patients_text(units)}: too few to tell small differences.")
    return Section(
        key="table",
        title="Distance to the real images",
        text="Every generated image is held to the real image that its mask belongs to. Where a mask leaves room, an "
        "image can be right without being near: MAE and PSNR favor the average of what is possible.",
        columns=columns,
        rows=found,
        notes=notes,
        warnings=warnings,
    )


def difference_section(rows: Sequence[MethodRow], seed: int) -> Section:
    """Differences between the methods of one condition, image by image."""
    found = []
    for condition, members in groupby(rows, key=lambda row: row.condition.name):
        for first, second in combinations(members, 2):
            cells: dict[str, Cell] = {
                key: bootstrap_mean(
                    getattr(second.errors, key) - getattr(first.errors, key), second.patients, seed=seed
                )
                for key in _FIGURES
            }
            label = f"{second.method} minus {first.method}"
            key = " / ".join(part for part in (condition, label) if part)
            found.append(Row(key, key, cells))
    styles = {"mae": "error difference", "psnr": "decibel difference", "ssim": "error difference"}
    return Section(
        key="differences",
        title="Differences between methods",
        text="Means of the differences between two images for one mask. A method is better where the difference of MAE "
        "is below 0, and those of PSNR and SSIM are above.",
        columns={key: Column(f"{title} [95% interval]", styles[key]) for key, (title, _) in _FIGURES.items()},
        rows=found,
        notes=["Intervals are from resampling patients."],
    )


def failure_section(rows: Sequence[MethodRow], segmenter: str) -> Section:
    """Share of failed samples by reason, beside that of the held-out real images."""
    found, notes = [], [f"Segmenter: {segmenter}."]
    for condition, grouped in groupby(rows, key=lambda row: row.condition):
        members = list(grouped)
        detector = detector_of(condition.limits)
        limits = limits_text(detector, condition.reader.channels)
        if detector.dice_limit is not None:
            limits += f", Dice {detector.dice_limit:.3f} for {' and '.join(condition.reader.classes)}"
        if condition.limits_from is not None:
            limits += f", from {len(condition.limits)} held-out images of {condition.limits_from}"
        notes.append(f"Limits{f', {condition.name}' if condition.name else ''}: {limits}.")
        found += [Row(row.name, row.name, _failures(row.measured.failures(detector))) for row in members]
        real = " / ".join(part for part in (condition.name, "held-out real images") if part)
        found.append(Row(real, real, _failures(condition.real.failures(detector))))
    return Section(
        key="failed",
        title="Failed samples",
        text="A sample failed if it is noise, blurred, not finite, or does not show what its mask asks for, by limits "
        "from held-out real images. The rate of those that the masks belong to stands beside. A network that learns "
        "the average of what is possible may be called blurred.",
        columns={
            **{reason.replace(" ", "_"): Column(reason, "percent") for reason in REASONS},
            "any": Column("any [95% interval]", "percent"),
            "count": Column("images", "count"),
        },
        rows=found,
        notes=[*notes, "Intervals are exact binomial ones."],
    )


def view_section(rows: Sequence[MethodRow], real: Views, seed: int) -> Section:
    """How consistent the views of each volume are, beside the real ones."""
    found = [
        Row(
            name,
            name,
            {"deviation": bootstrap_mean(views.deviations, views.patients, seed=seed), "sets": len(views.views)},
        )
        for name, views in [*((row.name, row.views) for row in rows), ("real images", real)]
        if views is not None
    ]
    fewest, most = min(real.views), max(real.views)
    return Section(
        key="views",
        title="Several views of one patient",
        text="The mass that a view shows at each height along the axis of rotation, its normalization undone, does not "
        "depend on the angle. The figure is the root mean square of a view's difference from the mean of the others, "
        "as a share of that of the mean, averaged over views. What it is on the real images comes from the cone of the "
        "beam, which lets mass near the source count more, and is the floor.",
        columns={
            "deviation": Column("deviation [95% interval]", "percent"),
            "sets": Column("sets of views", "count"),
        },
        rows=found,
        notes=[
            f"{fewest if fewest == most else f'{fewest} to {most}'} views in each set, of "
            f"{len(set(real.patients))} patients; intervals from resampling patients."
        ],
    )


def method_headlines(rows: Sequence[MethodRow]) -> list[Headline]:
    """The figures that are read first: PSNR of each condition's last method against its first, and what failed."""
    found = []
    for _, grouped in groupby(rows, key=lambda row: row.condition.name):
        members = list(grouped)
        first, last = members[0], members[-1]
        found.append(
            Headline(
                f"PSNR in dB, {last.name}",
                ("table", last.name, "psnr"),
                "decibel",
                ("table", first.name, "psnr"),
                first.name,
            )
        )
    last = rows[-1]
    real = " / ".join(part for part in (last.condition.name, "held-out real images") if part)
    failed = Headline(
        f"Failed samples, {last.name}", ("failed", last.name, "any"), "percent", ("failed", real, "any"), "real images"
    )
    return [*found[-2:], failed]


def _failures(flags: Mapping[str, torch.Tensor]) -> dict[str, Cell]:
    cells: dict[str, Cell] = {r.replace(" ", "_"): float(flags[r].float().mean()) for r in REASONS}
    either = torch.stack(list(flags.values())).any(0)
    return {**cells, "any": exact_rate(either), "count": int(either.sum())}


def _deviation(values: torch.Tensor) -> float | None:
    finite = values[torch.isfinite(values)]
    return float(finite.std()) if len(finite) > 1 else None


def _common(values: Sequence[int | None]) -> int | None:
    """The one value that all have, or None."""
    return values[0] if len(set(values)) == 1 else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
