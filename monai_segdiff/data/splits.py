"""Splits of a data set: by patient, so that no patient is on both sides, unless something else is asked for by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral

import numpy as np

from monai_segdiff.data.layout import SPLITS, Case

__all__ = [
    "BY_FILE",
    "BY_IMAGE",
    "BY_PATIENT",
    "WITHIN_PATIENT",
    "check_kept_split",
    "check_split",
    "split_as_given",
    "split_by_image",
    "split_cases",
    "splits_of_patients",
]

BY_FILE = "by file"  # each counts as another patient's, as nothing says whose it is
BY_IMAGE = "by image"
BY_PATIENT = "by patient"
WITHIN_PATIENT = "within one patient"


def split_cases(
    cases: Sequence[Case],
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    *,
    within_patient: bool = False,
    gap: int = 2,
) -> tuple[dict[str, list[Case]], str]:
    """Split cases into training, validation and test, by patient.

    Where there is one patient only, and `within_patient` allows it, a contiguous block of the cases (in the given
    order, i.e. neighboring slices) is held out in the middle, with `gap` cases dropped at each of its borders.

    Args:
        cases: cases with their patients; the slices of a patient in their order in space.
        fractions: shares of training, validation and test; they sum to 1.
        seed: determines the split together with the patients' names.
        within_patient: whether a single patient may be split.
        gap: number of cases left out between two splits of a single patient.

    Returns:
        Cases by split name (splits with no cases left out), and the kind: "by patient"; "by file" where nothing says
        whose some cases are; or "within one patient".

    Raises:
        ValueError: if there are no cases, the fractions do not sum to 1, or the split is not possible.
    """
    check_split(cases, fractions, seed, within_patient=within_patient)
    kind = BY_PATIENT if all(case.patient_known for case in cases) else BY_FILE
    patients = sorted({case.patient for case in cases})
    held_out = [(name, share) for name, share in zip(SPLITS[1:], fractions[1:], strict=True) if share > 0]
    rng = np.random.default_rng(seed)
    if not held_out:
        return {"training": list(cases)}, kind
    if len(patients) > 1:
        rng.shuffle(patients)
        taken: dict[str, str] = {}
        for name, share in held_out:
            # Each split gets a patient at least, but the last patient is for training.
            count = min(max(1, round(share * len(patients))), len(patients) - len(taken) - 1)
            taken.update(dict.fromkeys(patients[len(taken) : len(taken) + count], name))
        splits = {name: [c for c in cases if taken.get(c.patient, "training") == name] for name in SPLITS}
        return {name: members for name, members in splits.items() if members}, kind
    return _block_split(list(cases), held_out, rng, gap), WITHIN_PATIENT


def split_as_given(cases: Sequence[Case], split_of: Mapping[str, str]) -> tuple[dict[str, list[Case]], str]:
    """Sort cases into the splits that their patients have.

    Args:
        cases: the cases.
        split_of: patient to split, see :func:`splits_of_patients`.

    Returns:
        As for :func:`split_cases`.
    """
    splits = {name: [case for case in cases if split_of[case.patient] == name] for name in SPLITS}
    kind = BY_PATIENT if all(case.patient_known for case in cases) else BY_FILE
    return {name: members for name, members in splits.items() if members}, kind


def splits_of_patients(splits: Mapping[str, Sequence[Case]]) -> dict[str, str]:
    """Which split each patient is in.

    Args:
        splits: cases by split.

    Raises:
        ValueError: if a patient is in two, or nothing is for training.
    """
    found: dict[str, str] = {}
    for split, cases in splits.items():
        for case in cases:
            if (other := found.setdefault(case.patient, split)) != split:
                raise ValueError(
                    f"patient {case.patient!r} is in {other} and in {split}, so the source's split (--keep-split, "
                    "--fold) "
                    "would test on patients that were trained on: correct it, or have a split drawn"
                )
    if "training" not in found.values():
        raise ValueError(
            "the source's split (--keep-split) has no training cases with label maps: leave the option out, and a "
            "split is "
            "drawn"
        )
    return found


def split_by_image(
    cases: Sequence[Case], fractions: Sequence[float], seed: int = 0
) -> tuple[dict[str, list[Case]], str]:
    """Split cases at random, whoever they are of: held-out images then resemble training images of the same patients.

    Args:
        cases: the cases.
        fractions: shares of training, validation and test; they sum to 1.
        seed: determines the split together with the number of cases.

    Returns:
        Cases by split name (splits with no cases left out), and the kind, "by image".

    Raises:
        ValueError: if there are no cases, or the fractions do not sum to 1.
    """
    _check_fractions(fractions)
    if not cases:
        raise ValueError("there are no cases to split")
    order = np.random.default_rng(seed).permutation(len(cases))
    last = np.round(np.cumsum(fractions) * len(cases)).astype(int)
    splits = {
        name: [cases[i] for i in sorted(order[start:stop])]
        for name, start, stop in zip(SPLITS, [0, *last], last, strict=False)
    }
    return {name: members for name, members in splits.items() if members}, BY_IMAGE


def check_split(
    cases: Sequence[Case], fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0, *, within_patient: bool = False
) -> None:
    """Refuse a split that is not possible, before any work is done for it.

    Args:
        cases: as for `split_cases`; volumes or their slices.
        fractions: shares of training, validation and test; they sum to 1.
        seed: not negative.
        within_patient: whether a single patient may be split.

    Raises:
        ValueError: if there are no cases, fractions or seed are out of range, there is one patient only and
            `within_patient` does not allow to split it, or it is asked for and there are several.
    """
    _check_fractions(fractions)
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"the seed (--seed) must be a whole number from 0 on, got {seed!r}")
    if not cases:
        raise ValueError("there are no cases to split")
    patients = sorted({case.patient for case in cases})
    holds_out = any(fractions[1:])
    if within_patient and not (holds_out and len(patients) == 1):
        why = f"there are {len(patients)}" if holds_out else "nothing is held out (--fractions)"
        raise ValueError(
            f"within_patient (--within-patient) is for holding out a part of one patient, and {why}; leave it out"
        )
    if holds_out and len(patients) == 1 and not within_patient:
        raise ValueError(
            f"there is one patient only ({patients[0]!r}), so nothing can be held out by patient; give "
            "--within-patient (within_patient=True) to hold out a block of this patient's slices instead, or hold "
            "nothing out (--fractions 1 0 0)"
        )


def check_kept_split(kept: bool, fractions: Sequence[float] | None, seed: int | None) -> None:
    """Refuse what says how a split is drawn where none is.

    Args:
        kept: whether the source's own split is kept.
        fractions: shares of training, validation and test; None where none are asked for.
        seed: None where none is asked for.

    Raises:
        ValueError: if something is asked for that has no effect.
    """
    idle = [f"{name} (--{name})" for name, value in (("fractions", fractions), ("seed", seed)) if value is not None]
    if kept and idle:
        verb = "say" if len(idle) > 1 else "says"
        raise ValueError(
            f"{' and '.join(idle)} {verb} how a split is drawn, and the source's own is kept (--keep-split, --fold): "
            "leave out one or the other"
        )


def _check_fractions(fractions: Sequence[float]) -> None:
    sound = len(fractions) == len(SPLITS) and all(0 <= share <= 1 for share in fractions)  # NaN is in no range
    if not sound or abs(sum(fractions) - 1) > 1e-6 or fractions[0] == 0:
        raise ValueError(
            "the fractions (--fractions) must be three shares, of training, validation and test, that sum to 1, the "
            f"first above 0; got {' '.join(f'{share:g}' for share in fractions)}"
        )


def _block_split(
    cases: list[Case], held_out: Sequence[tuple[str, float]], rng: np.random.Generator, gap: int
) -> dict[str, list[Case]]:
    counts = {name: max(1, round(share * len(cases))) for name, share in held_out}
    width = sum(counts.values()) + gap * (len(counts) + 1)
    room = len(cases) - width
    if room < 2:
        raise ValueError(
            f"{len(cases)} slices of one patient are too few to hold out {sum(counts.values())} with gaps of {gap}; "
            "prepare more slices, or hold out smaller fractions"
        )
    # Training cases on both sides, so that the held-out anatomy is within what was seen.
    start = int(rng.integers(max(1, room // 4), room - max(1, room // 4) + 1))
    splits = {"training": cases[:start] + cases[start + width :]}
    position = start + gap
    for name, count in counts.items():
        splits[name] = cases[position : position + count]
        position += count + gap
    return splits
