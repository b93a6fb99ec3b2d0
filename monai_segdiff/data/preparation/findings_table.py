"""What is found in each image, from a table of labels such as CheXpert's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from monai_segdiff.data.case_files import case_name
from monai_segdiff.data.cases import Case
from monai_segdiff.documents import Table, read_table

__all__ = ["read_findings"]

_NOTHING = "No Finding"
_STATES = {"1": True, "1.0": True, "0": False, "0.0": False, "-1": None, "-1.0": None}
_KEYS = ("id", "path", "dicom_id", "study_id")
_SHOWN = 3


def read_findings(table: str | Path, names: Sequence[str], cases: Sequence[Case]) -> list[Case]:
    """Give cases their findings, from a table with one line an image (or study) and one column a finding.

    Cells are those of the CheXpert labeler (Irvin et al. 2019, arXiv 1901.07031), as MIMIC-CXR-JPG has them: 1 stated
    to be there, 0 stated to be absent, -1 uncertain, blank not mentioned. What they say of a case:

    - findings that are there are named, whatever the other cells say;
    - else, one that is uncertain makes the whole case unknown (None), as it is then neither healthy nor ill;
    - else, nothing is found, (), where the column `No Finding` holds 1 or at least one finding is stated to be absent;
    - else, the case is unknown.

    Columns that are not asked for do not count: a case with nothing but a finding outside `names` has none of them.

    Args:
        table: CSV file with a header line. The first of these columns that it has, capital or not, tells whose line it
            is: `id` (the case's name), `path` (the end of the image's path), `dicom_id` (the image's file name without
            extension), `study_id` (the name of the image's folder, with or without a leading `s`, as in
            MIMIC-CXR-JPG).
        names: the columns of the findings, in the order of the vocabulary.
        cases: the cases.

    Returns:
        The cases, in their order, with their findings in the order of the vocabulary.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the table lacks a column, a heading or a case, has two lines for one, or a cell is none of the
            above; names the file, column and line.
    """
    if _NOTHING in names:
        raise ValueError(f"{_NOTHING!r} is not a finding but says that there is none; leave it out of the findings")
    content = read_table(table, "a table of findings (CSV)", short_lines=True)
    key, column = _key_column(content, cases)
    lacking = [name for name in names if name not in content.columns]
    if lacking:
        others = ", ".join(name for name in content.columns if name.lower() not in _KEYS) or "no others"
        raise ValueError(f"{table} has no column {lacking[0]!r}; it has {others}")
    found: dict[str, tuple[str, ...] | None] = {}
    for number, row in content:
        where = f"{table}, line {number}"
        name = _normal(row[column], key)
        if not name:
            raise ValueError(f"{where}: the column {column!r} is blank, so whose line it is is unknown; fill it in")
        if name in found:
            raise ValueError(f"{where}: {key} {row[column]!r} is there twice; keep one line")
        found[name] = _findings(row, names, where)
    owners = [_owner(case, key, found) for case in cases]
    missing = [case.id for case, owner in zip(cases, owners, strict=True) if owner is None]
    if missing:
        owned = set(owners)
        unused = [name for name in found if name not in owned]
        also = f" ({len(unused)} of its lines are of no case, such as {unused[0]!r})" if unused else ""
        raise ValueError(
            f"{table} says nothing of case {', '.join(map(repr, missing[:_SHOWN]))} by its column {key} ("
            f"{len(missing)} such cases){also}; add a line, with blank cells where its findings are unknown"
        )
    return [replace(case, findings=found[str(owner)]) for case, owner in zip(cases, owners, strict=True)]


def _key_column(table: Table, cases: Sequence[Case]) -> tuple[str, str]:
    """Which of the keys the table has, and how its column is spelled."""
    spelled = {name.lower(): name for name in table.columns}  # CheXpert writes Path
    key = next((name for name in _KEYS if name in spelled), None)
    if key is None:
        heading = ""
        if {case.id for case in cases} & set(table.columns):
            heading = " (its first line names a case: put a heading above it)"
        raise ValueError(
            f"{table.file} has none of the columns {', '.join(_KEYS)}, so whose its lines are is unknown{heading}"
        )
    return key, spelled[key]


def _normal(value: str, key: str) -> str:
    value = value.strip()
    if key == "path":
        return value.replace("\\", "/").removeprefix("./")
    return value.removeprefix("s") if key == "study_id" else value


def _findings(row: Mapping[str, str], names: Sequence[str], where: str) -> tuple[str, ...] | None:
    """What one line says of the findings."""
    states = {}
    for name in (*names, *([_NOTHING] if _NOTHING in row else [])):
        cell = row[name]
        if cell and cell not in _STATES:
            raise ValueError(f"{where}, column {name!r}: {cell!r} is none of 1, 0, -1 (uncertain), blank (unknown)")
        if cell:
            states[name] = _STATES[cell]
    nothing = states.pop(_NOTHING, None)
    there = tuple(name for name in names if states.get(name))
    if there:
        return there
    stated = bool(states) or nothing is True
    return () if stated and None not in states.values() else None


def _owner(case: Case, key: str, found: Mapping[str, object]) -> str | None:
    """The line's key that is the case's, if there is one."""
    image = case.image
    if key == "id" or image is None:
        candidates = [case.id]
    elif key == "path":
        candidates = ["/".join(image.parts[-n:]).replace("//", "/") for n in range(1, len(image.parts) + 1)]
    elif key == "dicom_id":
        candidates = [case_name(image)]
    else:
        candidates = [image.parent.name.removeprefix("s")]
    return next((name for name in candidates if name in found), None)
