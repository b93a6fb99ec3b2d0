"""What a data set consists of, measured: the ground that a plan stands on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from monai_segdiff.data.preparation.source import Source
from monai_segdiff.documents import read_json
from monai_segdiff.evenly import evenly
from monai_segdiff.files import atomic_file
from monai_segdiff.workflows.plan.case_facts import CaseFacts, facts_of

__all__ = ["Fingerprint", "read_fingerprint", "take_fingerprint", "write_fingerprint"]

_MOST_CASES = 1000  # that are read
_ENCLOSED = 0.9  # of a class's outer border: the rest is where two classes touch, or partial volume
_HU_LOWEST, _HU_HIGHEST = -200.0, 32767.0
_ALIKE = 1.5  # ratio of the upper ends of intensity ranges that count as one scale


@dataclass(frozen=True)
class Fingerprint:
    """A data set as it was measured.

    Args:
        source: digest of the files' names, sizes and times.
        name: of the data set.
        modality: as the source says; empty where it does not.
        channels: names of the images' channels; empty for one without a name.
        classes: class names, in their order.
        parents: class name to that of the class around it, as the source says.
        findings: the vocabulary of findings.
        number: of cases.
        patients: patient to number of cases.
        patients_known: whether the source says whose each case is.
        cases: those that were read: all, or 1000 of them, evenly spaced.
    """

    source: str
    name: str
    modality: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    parents: dict[str, str]
    findings: tuple[str, ...]
    number: int
    patients: dict[str, int]
    patients_known: bool
    cases: tuple[CaseFacts, ...]

    @property
    def spatial_dims(self) -> int:
        """Axes of the files: 3 if most have three, and more than one voxel along each."""
        return 3 if np.median([sum(n > 1 for n in case.shape) for case in self.cases]) >= 3 else 2

    @property
    def has_spacing(self) -> bool:
        """Whether files say how large a voxel is."""
        return all(case.orientation for case in self.cases)

    @property
    def scale(self) -> str:
        """What intensities mean: "HU", "shared" where all images have one range, or "own" where each has its own."""
        lows = np.array([case.intensities[0][1] for case in self.cases])
        highs = np.array([case.intensities[0][-1] for case in self.cases])
        wholes = np.mean([case.whole_numbers for case in self.cases])
        if np.median(lows) <= _HU_LOWEST and highs.max() <= _HU_HIGHEST and (wholes > 0.5 or self.modality == "CT"):
            return "HU"
        if all(case.whole_numbers for case in self.cases) and lows.min() >= 0 and highs.max() <= 255:
            if np.percentile(highs, 10) > 255 / _ALIKE:
                return "shared"
            return "own"
        tops = np.array([case.intensities[0][3] for case in self.cases])
        bottoms = np.percentile(tops, (5, 95))
        return "shared" if bottoms[0] > 0 and bottoms[1] / bottoms[0] <= _ALIKE else "own"

    def pooled(self, index: int) -> list[float]:
        """One of the percentiles of every channel of every case."""
        return [channel[index] for case in self.cases for channel in case.intensities]

    def spacing(self) -> tuple[float, ...]:
        """Median voxel size in mm per axis."""
        dims = len(self.cases[0].shape)
        return tuple(float(np.median([case.spacing[axis] for case in self.cases])) for axis in range(dims))

    def occurrences(self) -> dict[str, tuple[int, float]]:
        """Class name to the number of patients that have it, and its median volume in mm^3 (mm^2 in 2D) there."""
        found: dict[str, tuple[int, float]] = {}
        for name in self.classes:
            held = [case for case in self.cases if name in case.volumes]
            volume = float(np.median([case.volumes[name] for case in held])) if held else 0.0
            found[name] = len({case.patient for case in held}), volume
        return found

    def surroundings(self) -> dict[str, dict[str, float]]:
        """Class name to the shares of its outer border that touch each other class, "" being the background."""
        counts: dict[str, Counter[str]] = {name: Counter() for name in self.classes}
        for case in self.cases:
            for name, around in case.borders.items():
                counts[name].update(around)
        return {
            name: {other: count / found.total() for other, count in found.most_common()}
            for name, found in counts.items()
            if found
        }

    def enclosing(self) -> dict[str, tuple[str, float]]:
        """Class name to the class that at least 90% of its outer border touch, and the share; never in a circle."""
        shares = sorted(
            (
                (share, name, other)
                for name, around in self.surroundings().items()
                for other, share in around.items()
                if other and share >= _ENCLOSED
            ),
            reverse=True,
        )
        found: dict[str, tuple[str, float]] = {}
        for share, name, other in shares:
            above = other
            while above in found and above != name:
                above = found[above][0]
            if above != name and name not in found:
                found[name] = other, share
        return found


def take_fingerprint(source: Source, *, progress: bool = True) -> Fingerprint:
    """Read the cases of a source and describe them.

    Args:
        source: the source.
        progress: whether to show a progress bar.

    Raises:
        ValueError: if a file is unsound; names it and the remedy.
    """
    chosen = evenly(source.cases, _MOST_CASES)
    facts = []
    for case in tqdm(chosen, desc="fingerprint", unit="case", disable=not progress):
        with source.files_of(case) as files:
            facts.append(facts_of(files, source.classes, source.channels))
    return Fingerprint(
        source=source.fingerprint,
        name=source.name,
        modality=source.modality,
        channels=source.channels,
        classes=tuple(source.classes),
        parents=dict(source.parents),
        findings=tuple(source.findings),
        number=len(source.cases),
        patients=dict(Counter(case.patient for case in source.cases)),
        patients_known=all(case.patient_known for case in source.cases),
        cases=tuple(facts),
    )


def write_fingerprint(file: Path, fingerprint: Fingerprint) -> None:
    """Write a fingerprint as JSON."""
    content = asdict(fingerprint)
    cases = ",\n  ".join(json.dumps(case) for case in content.pop("cases"))
    with atomic_file(file) as temporary:
        head = json.dumps(content, indent=1).rstrip("\n}")
        temporary.write_text(f'{head},\n "cases": [\n  {cases}\n ]\n}}\n', encoding="utf-8")


def read_fingerprint(file: Path) -> Fingerprint:
    """Read what :func:`write_fingerprint` wrote.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged.
    """
    content = read_json(file, "a fingerprint (JSON)", remedy="remove it, and it is taken again")
    try:
        cases = tuple(CaseFacts(**_tuples(case, CaseFacts)) for case in content.pop("cases"))
        return Fingerprint(**_tuples(content, Fingerprint), cases=cases)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{file} is no fingerprint ({error}): remove it, and it is taken again") from error


def _tuples(content: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """The same with tuples for lists, as the fields have them."""
    known = {field.name for field in fields(kind)}
    if unknown := set(content) - known:
        raise KeyError(min(unknown))
    return {name: _tuple(value) for name, value in content.items()}


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value
