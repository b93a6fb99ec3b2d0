"""Findings: whether generated images show what they were asked for, as a classifier of real images sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from monai_segdiff.data import Case
from monai_segdiff.evaluation.evidence import Evidence, ReportSection, Side
from monai_segdiff.evaluation.measure.inputs import Inputs
from monai_segdiff.evaluation.measure.measure import Batch, Measurements, PerImageMeasure
from monai_segdiff.evaluation.readers.finding_classifier import FindingClassifier
from monai_segdiff.evaluation.readers.train_finding_classifier import (
    finding_flags,
    learnable_findings,
    train_finding_classifier,
)
from monai_segdiff.evaluation.report.report import Cell, Column, Headline, Row, Section
from monai_segdiff.evaluation.sections.finding_changes import FindingChanges
from monai_segdiff.evaluation.sections.finding_warnings import finding_warnings
from monai_segdiff.metrics import Estimate, bootstrap_mean, exact_rate

__all__ = ["ALL", "NONE", "Findings", "open_findings"]

ALL, NONE = "all", "none"  # rows beside those of single findings


def open_findings(
    inputs: Inputs, images: int | None, seed: int, cache_dir: str | Path, progress: bool = True
) -> Findings | None:
    """Train what reads findings, where both data sets name those of their images.

    Args:
        inputs: both data sets.
        images: length of the training in images seen; default: by image size.
        seed: of the training.
        cache_dir: folder of trained networks.
        progress: whether to show a progress bar.

    Returns:
        The section; None where the synthetic images, or the real training images, have no findings.

    Raises:
        ValueError: if a file is not as it should be.
    """
    known = [case for case in inputs.training if case.findings is not None]
    if not known or all(case.findings is None for case in inputs.generated):
        return None
    if not inputs.real.findings:  # the ids of region maps mean nothing then
        known = [replace(case, region=None) for case in known]
    asked = {name for case in inputs.generated for name in case.findings or ()}
    named = {name for case in [*inputs.training, *inputs.held_out] for name in case.findings or ()}
    vocabulary = list(dict.fromkeys([*inputs.real.findings, *sorted(named), *sorted(asked)]))
    classifier = None
    if learnable_findings(known, vocabulary):
        classifier = train_finding_classifier(
            known, inputs.real_reader, vocabulary, images, seed, cache_dir=cache_dir, progress=progress
        )
    return Findings(inputs, known, vocabulary, classifier)


class Findings(ReportSection):
    """Whether generated images show what they were asked for, as a classifier of real images sees it.

    Args:
        inputs: both data sets.
        training: real training cases of known findings.
        vocabulary: names of all findings.
        classifier: trained on these; None where they all show the same.
    """

    headline = Headline(
        "Findings seen", ("findings", ALL, "hit"), "percent", ("findings", ALL, "false"), "where not asked for"
    )

    def __init__(
        self, inputs: Inputs, training: Sequence[Case], vocabulary: Sequence[str], classifier: FindingClassifier | None
    ) -> None:
        self._training, self._vocabulary, self._classifier = list(training), list(vocabulary), classifier
        self._changes = FindingChanges(inputs)

    def measures(self, side: Side, inputs: Inputs) -> Mapping[str, PerImageMeasure]:
        """What is seen, and in generated images also what has changed where the image before is known."""
        if side is Side.TRAINING:
            return {}
        changes = {"changes": self._changes} if side is Side.SYNTHETIC and self._changes.known else {}
        return {"findings": self._seen, **changes}

    def _seen(self, batch: Batch) -> torch.Tensor:
        """Which findings of the vocabulary are seen, (B, V) bool; none in an image that is not finite."""
        seen = torch.zeros(len(batch.images), len(self._vocabulary), dtype=torch.bool)
        if self._classifier is not None:
            columns = [self._vocabulary.index(name) for name in self._classifier.findings]
            seen[:, columns] = self._classifier.sees(batch.images) & batch.finite[:, None]
        return seen

    def __call__(self, evidence: Evidence) -> Section:
        """Sensitivity and specificity on real images, and what is seen and changed in synthetic ones."""
        real, synthetic, seed = evidence.held_out, evidence.synthetic, evidence.seed
        with_changes = "changes" in synthetic.extras
        sides = {"inside": "change inside the region", "outside": "change outside"} if with_changes else {}
        rows = [self._row(name, real, synthetic, seed) for name in self._vocabulary]
        rows += self._summary_rows(real, synthetic, seed)
        return Section(
            key="findings",
            title="Findings",
            text="A classifier that has seen only real training images reads each generated image. The hit rate is the "
            "share of the images asked for a finding in which it sees it, the false rate that of the others. It errs "
            "too: a hit rate says as much as its sensitivity and specificity on real held-out images allow.",
            columns={
                "sensitivity": Column("sensitivity on real images [95% interval]", "percent"),
                "specificity": Column("specificity on real images [95% interval]", "percent"),
                "hit": Column("hit rate [95% interval]", "percent"),
                "false": Column("false rate [95% interval]", "percent"),
                **{side: Column(f"{title} [95% interval]", "small percent") for side, title in sides.items()},
                "images": Column("images asked for it", "count"),
            },
            rows=rows,
            notes=self._notes(with_changes),
            warnings=finding_warnings([row for row in rows if row.key not in (ALL, NONE)]),
        )

    def _row(self, name: str, real: Measurements, synthetic: Measurements, seed: int) -> Row:
        chosen = [self._vocabulary.index(name)]
        asked = self._flags(synthetic)[:, chosen[0]]
        told = _known(synthetic)
        cells = self._real_cells(real, chosen)
        hit = self._rate(synthetic, chosen, asked[:, None], "no synthetic image is asked for it")
        false = self._rate(synthetic, chosen, (told & ~asked)[:, None], "every synthetic image is asked for it")
        changes = _changes(synthetic, asked, seed)
        return Row(name, name, {**cells, "hit": hit, "false": false, **changes, "images": int(asked.sum())})

    def _summary_rows(self, real: Measurements, synthetic: Measurements, seed: int) -> list[Row]:
        """All findings taken together, image by image and finding by finding; and images asked for none."""
        every = list(range(len(self._vocabulary)))
        flags, told = self._flags(synthetic), _known(synthetic)
        rates: dict[str, Cell] = {
            **self._real_cells(real, every),
            "hit": self._rate(synthetic, every, flags, "no synthetic image is asked for one"),
            "false": self._rate(synthetic, every, told[:, None] & ~flags, "every synthetic image is asked for all"),
        }
        some, none = flags.any(1), told & ~flags.any(1)
        changes = _changes(synthetic, some, seed)
        rows = [Row(ALL, "all findings, pooled", {**rates, **changes, "images": int(some.sum())})]
        if none.any():
            seen = synthetic.extras["findings"].any(1)[:, None]
            false = _pooled(seen, none[:, None], synthetic.patients) if self._classifier is not None else _untold()
            changes = _changes(synthetic, none, seed)
            rows.append(Row(NONE, "asked for none (any seen)", {"false": false, **changes, "images": int(none.sum())}))
        return rows

    def _flags(self, measured: Measurements) -> torch.Tensor:
        return finding_flags(measured.cases, self._vocabulary)

    def _real_cells(self, real: Measurements, chosen: Sequence[int]) -> dict[str, Cell]:
        """Sensitivity and specificity for some findings, pooled."""
        shown, told = self._flags(real)[:, chosen], _known(real)[:, None]
        missed = self._rate(real, chosen, told & ~shown, "no held-out real image is said not to show it")
        return {
            "sensitivity": self._rate(real, chosen, shown, "no held-out real image shows it"),
            "specificity": _complement(missed),
        }

    def _rate(self, measured: Measurements, chosen: Sequence[int], where: torch.Tensor, nowhere: str) -> Estimate:
        """Share in which it sees the chosen findings; `where` (N, len(chosen)) says which image counts for which."""
        learned = () if self._classifier is None else self._classifier.findings
        kept = [i for i, k in enumerate(chosen) if self._vocabulary[k] in learned]
        if not kept:
            return _untold()
        if not where[:, kept].any():
            return Estimate.missing(nowhere)
        seen = measured.extras["findings"][:, chosen]
        return _pooled(seen[:, kept], where[:, kept], measured.patients)

    def _notes(self, with_changes: bool) -> list[str]:
        notes = []
        if self._classifier is not None:
            aside, numbers = self._classifier.set_aside, self._classifier.threshold_images
            notes.append(
                f"Classifier: small U-Net with pooled scores, from {len(self._training)} real training images; "
                "operating points where sensitivity plus specificity is highest: "
                + ", ".join(
                    f"{name} on {n} images {'set aside for it' if own else 'that were trained on, too'}"
                    for name, n, own in zip(self._classifier.findings, numbers.tolist(), aside.tolist(), strict=True)
                )
                + "."
            )
        notes.append("Intervals of rates are exact binomial ones; images of one patient count for fewer.")
        if with_changes:
            notes.append(
                "Change: mean absolute difference to the image before the finding, in shares of the intensity range; "
                "intervals from resampling patients. The region is what the region map labels."
            )
        return notes


def _known(measured: Measurements) -> torch.Tensor:
    """(N,) bool: which images have known findings."""
    return torch.tensor([case.findings is not None for case in measured.cases], dtype=torch.bool)


def _pooled(seen: torch.Tensor, where: torch.Tensor, patients: Sequence[str]) -> Estimate:
    images = where.nonzero()[:, 0].tolist()
    return exact_rate(seen[where], [patients[i] for i in images])


def _untold() -> Estimate:
    return Estimate.missing("the real training images all show it, or none does")


def _complement(estimate: Estimate) -> Estimate:
    value, low, high = (None if x is None else 1 - x for x in (estimate.value, estimate.high, estimate.low))
    return Estimate(value, low, high, estimate.n, estimate.groups, estimate.reason)


def _changes(synthetic: Measurements, where: torch.Tensor, seed: int) -> dict[str, Cell]:
    if "changes" not in synthetic.extras:
        return {}
    found: dict[str, Cell] = {}
    for side, values in zip(("inside", "outside"), synthetic.extras["changes"].T, strict=True):
        change = bootstrap_mean(torch.where(where, values, torch.nan), synthetic.patients, seed=seed)
        reason = "of no such image both the image before and the region are there"
        found[side] = change.or_missing(reason)
    return found
