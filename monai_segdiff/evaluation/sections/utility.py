"""Utility: how well a segmenter trained on synthetic images reads real ones, beside one trained on real images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monai_segdiff.data import Case
from monai_segdiff.evaluation.evidence import Evidence, ReportSection
from monai_segdiff.evaluation.measure.inputs import Inputs
from monai_segdiff.evaluation.measure.measure import Measurements, measure
from monai_segdiff.evaluation.measure.origins import HELD_OUT
from monai_segdiff.evaluation.pairs import Pair, PairReader
from monai_segdiff.evaluation.readers.train_segmenter import train_segmenter
from monai_segdiff.evaluation.report.report import Cell, Column, Row, Section
from monai_segdiff.metrics import Estimate, bootstrap_repeats, foreground_dice

__all__ = ["Utility"]

_FEW_PATIENTS, _FEW_SEEDS = 10, 3
_SOURCES = {"real": "real", "synthetic": "synthetic", "both": "real and synthetic"}


@dataclass(frozen=True)
class _Roles:
    """The cases for training and test: no patient of a test image contributes a mask to training."""

    real: list[Case]
    synthetic: list[Case]
    test: list[Case]


class _JoinedReader(PairReader):
    """Reads the cases of two data sets of the same classes, each as its own reader does."""

    def __init__(self, real: PairReader, synthetic: PairReader, generated: Sequence[Case]) -> None:
        super().__init__(real.classes, real.intensity_range, real.spatial_dims, channels=real.channels)
        self._real, self._synthetic, self._generated = real, synthetic, set(generated)

    @property
    def key(self) -> list[Any]:
        """Of both readers."""
        return [*self._real.key, *self._synthetic.key]

    def __call__(self, case: Case) -> Pair:
        """Read one case."""
        return (self._synthetic if case in self._generated else self._real)(case)


class Utility(ReportSection):
    """Dice on real held-out patients of segmenters trained on real, on synthetic, and on both kinds of images.

    All trainings have the same length in images seen and the settings of the evaluation's own segmenter, and are kept
    as this one is.

    Args:
        cache_dir: folder of trained segmenters.
        seeds: number of trainings of each kind, at least 1.
        images: length of each training in images seen; default: by image size.
        progress: whether to show progress bars.

    Raises:
        ValueError: if there is less than one seed.
    """

    def __init__(self, cache_dir: Path, seeds: int = 3, images: int | None = None, progress: bool = True) -> None:
        if seeds < 1:
            raise ValueError(f"utility needs at least one seed, got {seeds}")
        self._cache_dir, self._seeds, self._images, self._progress = cache_dir, seeds, images, progress

    def __call__(self, evidence: Evidence) -> Section:
        """The section."""
        return self.of(evidence.inputs, evidence.synthetic.finite, evidence.origins, evidence.seed)

    def of(self, inputs: Inputs, finite: torch.Tensor, origins: Sequence[str], seed: int = 0) -> Section:
        """The section, where nothing else was measured.

        Args:
            inputs: both data sets.
            finite: (N,) bool, which generated images can be trained on.
            origins: where the mask of each comes from, a key of `ORIGINS`.
            seed: of the first training of each kind, and of the resampling.
        """
        section = _empty_section(inputs)
        roles = _roles(inputs, finite, origins)
        if isinstance(roles, str):
            section.rows = [Row(key, label, {"mean": Estimate.missing(roles)}) for key, label in _rows()]
            section.warnings = [f"Not computable: {roles}."]
            return section
        cases = {"real": roles.real, "synthetic": roles.synthetic, "both": [*roles.real, *roles.synthetic]}
        reader = _JoinedReader(inputs.real_reader, inputs.synthetic_reader, inputs.generated)
        readers = {"real": inputs.real_reader, "synthetic": inputs.synthetic_reader, "both": reader}
        scores: dict[str, torch.Tensor] = {}
        measured: Measurements | None = None
        for source, label in _SOURCES.items():
            found = []
            for k in range(self._seeds):
                segmenter = train_segmenter(
                    cases[source],
                    readers[source],
                    self._images,
                    seed + k,
                    cache_dir=self._cache_dir,
                    progress=self._progress,
                )
                bar = f"segmenter trained on {label} images, seed {seed + k}" if self._progress else None
                measured = measure(roles.test, inputs.real_reader, segmenter, None, bar)
                found.append(measured.dice)
            scores[source] = torch.stack(found)
        assert measured is not None
        patients = measured.patients
        for (key, label), (values, number) in zip(_rows(), _figures(scores, cases), strict=True):
            section.rows.append(Row(key, label, _cells(values, inputs.classes, patients, seed, number)))
        section.notes = _notes(roles, patients, self._seeds, seed)
        section.notes += inputs.of_channels("Segmenters read all channels at once.")
        section.warnings += _warnings(patients, self._seeds)
        return section


def _roles(inputs: Inputs, finite: torch.Tensor, origins: Sequence[str]) -> _Roles | str:
    """The cases for training and test, or why there are none."""
    if not inputs.training:
        return "there are no real training cases"
    sound = list(zip(inputs.generated, origins, finite.tolist(), strict=True))
    held_out = {case.patient for case in inputs.held_out}
    # An image made from a held-out mask shows the anatomy of a patient to be tested on.
    clean = [case for case, origin, good in sound if good and origin != HELD_OUT and case.patient not in held_out]
    if clean:
        return _Roles(list(inputs.training), clean, list(inputs.held_out))
    sources = {case.patient for case in inputs.generated}
    test = [case for case in inputs.held_out if case.patient not in sources]
    synthetic = [case for case, _, good in sound if good]
    if synthetic and test:
        return _Roles(list(inputs.training), synthetic, test)
    return (
        "every synthetic image was made from a mask of a held-out patient, whose anatomy the segmenter would know: "
        "generate images for training masks, too (generate --split training)"
    )


def _rows() -> list[tuple[str, str]]:
    trained = [(key, f"trained on {label}") for key, label in _SOURCES.items()]
    return [*trained, ("synthetic_difference", "synthetic minus real"), ("both_difference", "both minus real")]


def _figures(scores: dict[str, torch.Tensor], cases: dict[str, list[Case]]) -> list[tuple[torch.Tensor, int | None]]:
    """Dice (seeds, images, classes) of each row, and the number of images trained on."""
    figures: list[tuple[torch.Tensor, int | None]] = [(scores[source], len(cases[source])) for source in _SOURCES]
    return [*figures, *((scores[source] - scores["real"], None) for source in ("synthetic", "both"))]


def _cells(
    values: torch.Tensor, classes: Sequence[str], patients: Sequence[str], seed: int, number: int | None
) -> dict[str, Cell]:
    mean = torch.stack([foreground_dice(one) for one in values])
    cells: dict[str, Cell] = {"mean": bootstrap_repeats(mean, patients, seed=seed)}
    for index, name in enumerate(classes):
        found = bootstrap_repeats(values[:, :, index], patients, seed=seed)
        cells[f"class {name}"] = found.or_missing("no held-out real image shows this class")
    return {**cells, "images": number}


def _empty_section(inputs: Inputs) -> Section:
    return Section(
        key="utility",
        title="Utility",
        text="Segmenters trained on real images, on synthetic ones and on both read real images of held-out patients; "
        "all see equally many images in training. What is lost where synthetic images stand in for real ones, and "
        "what is gained where they join them, is the difference.",
        columns={
            "mean": Column("mean Dice [95% interval]"),
            **{f"class {name}": Column(name) for name in inputs.classes},
            "images": Column("training images", "count"),
        },
        rows=[],
    )


def _notes(roles: _Roles, patients: Sequence[str], seeds: int, seed: int) -> list[str]:
    return [
        f"Tested on {len(roles.test)} real images of {len(set(patients))} held-out patients; trained on "
        f"{len(roles.real)} real images, {len(roles.synthetic)} synthetic images, or both.",
        f"{seeds} training{'s' if seeds != 1 else ''} of each kind, seeds {seed} to {seed + seeds - 1}; intervals from "
        "resampling patients and seeds; differences are taken image by image, seed by seed.",
    ]


def _warnings(patients: Sequence[str], seeds: int) -> list[str]:
    found = []
    if len(set(patients)) < _FEW_PATIENTS:
        found.append(f"Utility rests on {len(set(patients))} held-out patients: too few to tell small differences.")
    if seeds < _FEW_SEEDS:
        found.append(f"Utility rests on {seeds} training{'s' if seeds != 1 else ''} of each kind: take 3 or more.")
    return found
