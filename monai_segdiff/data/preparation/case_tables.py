"""Tables with a line for each case: whose line is whose, by the case's name, its image's path or its patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monai_segdiff.data.case_files import case_name
from monai_segdiff.data.cases import Case
from monai_segdiff.data.patients import PATIENT_COLUMNS
from monai_segdiff.documents import Table

__all__ = ["KEYS", "check_columns", "lines_of_cases"]

KEYS = ("id", "path", "dicom_id", "study_id")
_SHOWN = 3

Line = tuple[int, Mapping[str, str]]


def lines_of_cases(
    table: Table, cases: Sequence[Case], what: str, *, by_patient: bool = False
) -> tuple[dict[str, Line], list[str]]:
    """Find the line of each case.

    Args:
        table: the first of the columns `id`, `path`, `dicom_id`, `study_id` that it has, capital or not, tells whose
            line it is.
        cases: the cases.
        what: what the table says of them, for messages.
        by_patient: whether a column of patients (`patient`, `subject_id`, ...) may tell it, where there is none of
            these.

    Returns:
        Lines, as number and cells, by name; and for each case the name of its line.

    Raises:
        ValueError: if there is no such column, it is blank, or there is no line or more than one for a case; names the
            file and the line.
    """
    key, column = _key_column(table, cases, (*KEYS, *PATIENT_COLUMNS) if by_patient else KEYS)
    lines: dict[str, Line] = {}
    for number, row in table:
        where = f"{table.file}, line {number}"
        name = _normal(row[column], key)
        if not name:
            raise ValueError(f"{where}: the column {column!r} is blank, so whose line it is is unknown; fill it in")
        if name in lines:
            raise ValueError(f"{where}: {key} {row[column]!r} is there twice; keep one line")
        lines[name] = number, row
    owners = [_owner(case, key, lines) for case in cases]
    missing = [case.id for case, owner in zip(cases, owners, strict=True) if owner is None]
    if missing:
        owned = set(owners)
        unused = [name for name in lines if name not in owned]
        also = f" ({len(unused)} of its lines are of no case, such as {unused[0]!r})" if unused else ""
        raise ValueError(
            f"{table.file} says nothing of case {', '.join(map(repr, missing[:_SHOWN]))} by its column {key} ("
            f"{len(missing)} such cases){also}; add a line, with blank cells where its {what} are unknown"
        )
    return lines, [str(owner) for owner in owners]


def check_columns(table: Table, names: Sequence[str]) -> None:
    """Refuse names of which the table has no column.

    Raises:
        ValueError: naming the first, and the columns that there are.
    """
    lacking = [name for name in names if name not in table.columns]
    if lacking:
        others = ", ".join(name for name in table.columns if name.lower() not in KEYS) or "no others"
        raise ValueError(f"{table.file} has no column {lacking[0]!r}; it has {others}")


def _key_column(table: Table, cases: Sequence[Case], keys: Sequence[str]) -> tuple[str, str]:
    """Which of the keys the table has, and how its column is spelled."""
    spelled = {name.lower(): name for name in table.columns}  # CheXpert writes Path
    key = next((name for name in keys if name in spelled), None)
    if key is None:
        heading = ""
        if {case.id for case in cases} & set(table.columns):
            heading = " (its first line names a case: put a heading above it)"
        raise ValueError(
            f"{table.file} has none of the columns {', '.join(keys)}, so whose its lines are is unknown{heading}"
        )
    return key, spelled[key]


def _normal(value: str, key: str) -> str:
    value = value.strip()
    if key == "path":
        return value.replace("\\", "/").removeprefix("./")
    return value.removeprefix("s") if key == "study_id" else value


def _owner(case: Case, key: str, lines: Mapping[str, object]) -> str | None:
    """The line's key that is the case's, if there is one."""
    image = case.image
    if key in PATIENT_COLUMNS:
        candidates = [case.patient]
    elif key == "id" or image is None:
        candidates = [case.id]
    elif key == "path":
        candidates = ["/".join(image.parts[-n:]).replace("//", "/") for n in range(1, len(image.parts) + 1)]
    elif key == "dicom_id":
        candidates = [case_name(image)]
    else:
        candidates = [image.parent.name.removeprefix("s")]
    return next((name for name in candidates if name in lines), None)
