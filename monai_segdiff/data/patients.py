"""Whose each case is: from a table, or as far as the files' names tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from monai_segdiff.data.case_files import case_name, default_patient
from monai_segdiff.data.cases import Case
from monai_segdiff.documents import Table, read_table

__all__ = [
    "PATIENT_COLUMNS",
    "alike",
    "contradictions",
    "guess_patients",
    "read_patients",
    "unknown_patients",
    "with_patients",
]

PATIENT_COLUMNS = ("patient", "patient_id", "patientid", "patient id", "subject", "subject_id", "participant_id")
_SHOWN = 5
_LONGEST = 255  # of a file's name

# What stands at the end of a name where it is one of several images of a patient.
_NUMBERED = (
    "frame|visit|v|timepoint|time|tp|t|session|sess|ses|scan|exam|study|series|phase|run|view|"
    "day|d|week|w|month|m|year|y"
)
_WORDS = (
    "left|right|lt|rt|l|r|od|os|dx|sx|pre|post|before|after|baseline|followup|follow|up|fu|ed|es|ap|pa|lat|lateral|"
    "frontal|cc|mlo|lcc|rcc|lmlo|rmlo|arterial|venous|portal|delayed|native|contrast|plain|inspiration|expiration|insp|"
    "exp|flair|t1|t1c|t1ce|t1gd|t1n|t2|t2w|t1w|t2f|dwi|adc"
)
_SEPARATOR = r"[_\-. ]+"
_APART = rf"{_SEPARATOR}(?:(?:{_NUMBERED})[_\-. ]*\d+|(?:{_WORDS})\d*|(?:19|20)\d{{6}})"
_ENDING = re.compile(rf"(?:{_APART}|(?<=\d)(?:left|right|pre|post|l|r))$")


def read_patients(table: str | Path, names: Iterable[str]) -> dict[str, str]:
    """Read whose each case is.

    Args:
        table: CSV file with a header line. Patients are in the column named `patient` (`patient_id`, `subject`, ...),
            else in the second one; names of cases in the first other one.
        names: the cases.

    Returns:
        Case to patient.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no header line, lacks a case or a patient, or gives a case to two patients.
    """
    wanted = list(names)
    content = read_table(table, "a table of patients (CSV)")
    case_column, patient_column = _columns(content, set(wanted))
    owner: dict[str, str] = {}
    for number, row in content:
        case, patient = row[case_column], row[patient_column]
        if not case or not patient:
            blank = patient_column if case else case_column
            raise ValueError(f"{table}, line {number}: the column {blank!r} is blank; fill it in, or remove the line")
        if owner.setdefault(case, patient) != patient:
            raise ValueError(
                f"{table}, line {number}: case {case!r} is of {patient!r} here and of {owner[case]!r} above; keep one"
            )
    folded: dict[str, str] = {}
    for patient in owner.values():
        if (other := folded.setdefault(patient.casefold(), patient)) != patient:
            raise ValueError(
                f"{table}: patients {other!r} and {patient!r} differ by upper and lower case only; name one"
            )
    lacking = [name for name in wanted if name not in owner]
    if lacking:
        known = set(wanted)
        raise ValueError(_not_found(table, lacking, [name for name in owner if name not in known]))
    return {name: owner[name] for name in wanted}


def with_patients(cases: Sequence[Case], table: str | Path) -> list[Case]:
    """The cases, with the patients that a table gives them, see `read_patients`."""
    owner = read_patients(table, [case.id for case in cases])
    return [replace(case, patient=owner[case.id], patient_known=True) for case in cases]


def guess_patients(cases: Sequence[Case]) -> list[Case]:
    """Take slices that are named alike (`p1_slice003`) for those of one patient, as far as names tell.

    Args:
        cases: cases; those whose patient is not known are looked at.

    Returns:
        The cases. Whose they are counts as known where names tell which volume they are slices of, unless the names of
        several volumes look like those of one patient.
    """
    guessed = {case.id: default_patient(case.id) for case in cases if not case.patient_known}
    unsure = {name for group in alike(set(guessed.values())) for name in group}
    return [
        case
        if case.patient_known
        else replace(
            case,
            patient=guessed[case.id],
            patient_known=guessed[case.id] != case.id and guessed[case.id] not in unsure,
        )
        for case in cases
    ]


def unknown_patients(cases: Iterable[Case]) -> str:
    """Say that it is unknown whose the cases are, and how to tell; nothing where it is known of all.

    Args:
        cases: those of a data set.
    """
    names = sorted({case.patient for case in cases if not case.patient_known})
    if not names:
        return ""
    remedy = 'say whose each is: by a table (--patients-csv of prepare and make-drr), or "patient" in dataset.json'
    if groups := alike(names):
        shown = " and ".join(map(repr, groups[0][:2]))
        return (
            f"{shown} look like images of one patient ({len(groups)} such groups), but nothing says whose the "
            f"{len(names)} files are, so one patient's may be in training and held out; {remedy}"
        )
    return f"nothing says whose the {len(names)} files are, so each counts as another patient's; {remedy}"


def contradictions(cases: Iterable[Case]) -> list[str]:
    """Say which images are listed for more than one patient.

    Args:
        cases: those of a data set.
    """
    owners: dict[Path, dict[str, str]] = {}
    for case in cases:
        if case.image is not None:
            owners.setdefault(case.image, {}).setdefault(case.patient, case.id)
    return [
        f"{image} is the image of {len(names)} cases that count as different patients' "
        f'({", ".join(map(repr, list(names.values())[:_SHOWN]))}); list it once, or say whose it is ("patient" in '
        "dataset.json, --patients-csv of prepare)"
        for image, names in owners.items()
        if len(names) > 1
    ]


def alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that look like those of several images of one patient: frames, visits, sides, sequences.

    Args:
        names: names of cases.
    """
    groups: dict[str, list[str]] = {}
    by_last: dict[str, dict[str, str]] = {}
    for name in sorted(name for name in set(names) if len(name) <= _LONGEST):
        base = name.casefold()
        *first, last = re.split(_SEPARATOR, base)
        by_last.setdefault(" ".join(first), {})[last] = name
        while (shorter := _ENDING.sub("", base)) not in ("", base):
            base = shorter
        groups.setdefault(base, []).append(name)
    found = {
        base: group for base, group in groups.items() if len(group) > 1 and (len(groups) > 1 or re.search(r"\d", base))
    }
    # The same endings after several beginnings, such as a_1, a_2, b_1, b_2: patients, or sites where these are few.
    several = {base: members for base, members in by_last.items() if base and len(members) > 1}
    endings = [set(members) for members in several.values()]
    if len(endings) > 1 and len(several) >= len(set.union(*endings)) and set.intersection(*endings):
        for base, members in several.items():
            found.setdefault(base, list(members.values()))
    return list(found.values())


def _columns(table: Table, cases: set[str]) -> tuple[str, str]:
    """The columns of cases and of patients."""
    header = table.columns
    if any(name in cases for name in header):
        raise ValueError(
            f"{table.file}: its first line, {','.join(header)}, names a case where a heading is expected; put a line "
            "such as case,patient above it"
        )
    if len(header) < 2:
        raise ValueError(f"{table.file} has one column, {header[0]!r}; it needs two, for cases and their patients")
    named = [name for name in header if name.casefold() in PATIENT_COLUMNS]
    patient = named[0] if len(named) == 1 else header[1]
    return next(name for name in header if name != patient), patient


def _not_found(table: str | Path, lacking: Sequence[str], others: Sequence[str]) -> str:
    """Which cases a table lacks, and which of its names are none."""
    text = f"{table} names no patient for case {_listed(lacking)} ({len(lacking)} such cases)"
    if not others:
        return f"{text}; add a line for each"
    stems = {case_name(name.replace("\\", "/")).casefold() for name in others}
    near = any(name.casefold() in stems for name in lacking)
    remedy = "write names as the cases have them, without folder and extension" if near else "add a line for each"
    return f"{text}, and its {_listed(others)} ({len(others)} such lines) are no cases; {remedy}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
