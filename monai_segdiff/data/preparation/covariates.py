"""What is told of patients and images beside label maps and findings, collected from a table, DICOM and the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from monai_segdiff.data.cases import Case
from monai_segdiff.data.preparation.case_tables import lines_of_cases
from monai_segdiff.documents import Table, first_repeated, read_table
from monai_segdiff.transforms.covariates import MOST_VALUES, CovariateValue, check_covariates

__all__ = ["SPACING", "define_covariates", "with_covariates"]

SPACING = "spacing"  # which is measured
_SHOWN = 5

Values = dict[str, CovariateValue]  # of a case, by name of the covariate


def with_covariates(
    cases: Sequence[Case],
    names: Sequence[str],
    table: str | Path | None = None,
    own: Sequence[str] = (),
    tags: Callable[[Sequence[str]], Sequence[Mapping[str, CovariateValue]]] | None = None,
) -> list[Case]:
    """Give cases their covariates; `spacing`, where nothing else says it, is measured when images are read.

    Args:
        cases: the cases.
        names: the covariates, each once.
        table: CSV file with a column for each. Whose a line is tells the first of the columns `id`, `path`, `dicom_id`,
            `study_id` (see `read_findings`) or a patient's (`patient`, `subject_id`, ...) that it has. A blank cell is
            unknown.
        own: covariates that the cases bring along.
        tags: reads DICOM attributes of each case, where the source is DICOM.

    Returns:
        The cases, in their order, with their covariates in the order of the names. Where all values are numbers, they
        are numbers, and categories otherwise.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: if nothing says one of them, a case is not in the table, or numbers and text are mixed; names the
            file and the line.
    """
    for name in names:
        if not name.strip() or name != name.strip() or not name.isprintable() or "=" in name:
            raise ValueError(f"covariates (--covariates): {name!r} must be plain text without '='; rename the column")
    if (twice := first_repeated(names)) is not None:
        raise ValueError(f"covariates (--covariates) must be named once each, got {twice!r} twice")
    content = None if table is None else read_table(table, "a table of covariates (CSV)", short_lines=True)
    columns = [] if content is None else [name for name in names if name in content.columns]
    found: list[Values] = [{} for _ in cases] if content is None else _of_table(content, cases, columns)
    rest = [name for name in names if name not in columns]
    for values, case in zip(found, cases, strict=True):
        values |= {name: value for name, value in case.covariates if name in rest}
    rest = [name for name in rest if name not in own and name != SPACING]
    if rest and tags is None:
        known = [*(() if content is None else content.columns), *own, SPACING]
        raise ValueError(
            f"nothing says the covariate {rest[0]!r} (--covariates); it can be {', '.join(dict.fromkeys(known))}: give "
            "a table that has it as a column (--covariates-table)"
        )
    for values, told in zip(found, tags(rest) if rest and tags is not None else [{}] * len(found), strict=True):
        values |= told
    told_cases = [
        replace(case, covariates=tuple((name, _plain(values[name], name, case)) for name in names if name in values))
        for case, values in zip(cases, found, strict=True)
    ]
    for name in names:
        kinds = {type(value) for case in told_cases for key, value in case.covariates if key == name}
        if len(kinds) > 1:
            raise ValueError(
                f"the covariate {name!r} is a number of some cases and text of others; give all of one kind"
            )
    return told_cases


def define_covariates(
    names: Sequence[str], splits: Mapping[str, Sequence[Case]]
) -> tuple[dict[str, dict[str, Any]], dict[str, list[Case]], list[str]]:
    """Say what each covariate is, as the training images have it.

    Args:
        names: the covariates.
        splits: cases by split.

    Returns:
        The definitions; the cases without what nothing could be learned of; and what was left out, in words.

    Raises:
        ValueError: if a covariate has too many values for a category, or values that differ by case only.
    """
    training = splits.get("training", [])
    definitions: dict[str, dict[str, Any]] = {}
    remarks = []
    for name in names:
        values = [value for case in training for key, value in case.covariates if key == name]
        if len(set(values)) < 2:
            shown = f"it is {values[0]!r} in all training images of which it is known" if values else "nothing says it"
            remarks.append(f"the covariate {name!r} is left out, as {shown}")
        else:
            definitions[name] = _definition(name, values)
    kept: dict[str, list[Case]] = {}
    new: Counter[tuple[str, CovariateValue]] = Counter()
    for split, cases in splits.items():
        kept[split] = []
        for case in cases:
            told = [(name, value) for name, value in case.covariates if name in definitions]
            unseen = [pair for pair in told if pair[1] not in definitions[pair[0]].get("values", [pair[1]])]
            new.update(unseen)
            kept[split].append(replace(case, covariates=tuple(pair for pair in told if pair not in unseen)))
    remarks.extend(
        f"the covariate {name!r} is {value!r} in {count} held-out images and in none for training; it is unknown there"
        for (name, value), count in new.items()
    )
    return check_covariates(definitions), kept, remarks


def _definition(name: str, values: Sequence[CovariateValue]) -> dict[str, Any]:
    if all(isinstance(value, float) for value in values):
        numbers = np.array(values, dtype=np.float64)
        low, high = float(numbers.min()), float(numbers.max())
        mean = min(max(float(numbers.mean()), low), high)  # which rounding may put outside
        return {"min": low, "max": high, "mean": mean, "std": float(numbers.std())}
    texts = sorted({str(value) for value in values})
    if len(texts) > MOST_VALUES:
        raise ValueError(
            f"the covariate {name!r} has {len(texts)} values, such as {', '.join(texts[:_SHOWN])}, and a category has "
            f"{MOST_VALUES} at most: leave it out, or join some"
        )
    return {"values": texts}


def _of_table(table: Table, cases: Sequence[Case], columns: Sequence[str]) -> list[Values]:
    """What a table says of each case; blank cells are left out."""
    lines, owners = lines_of_cases(table, cases, "covariates", by_patient=True)
    values = {name: {} for name in lines}  # type: dict[str, Values]
    for column in columns:
        cells = {name: (number, row[column]) for name, (number, row) in lines.items() if row[column]}
        numeric = {name: _number(cell) for name, (_, cell) in cells.items()}
        texts = [name for name, number in numeric.items() if number is None]
        if texts and len(texts) < len(cells):
            number, cell = cells[texts[0]]
            raise ValueError(
                f"{table.file}, line {number}, column {column!r}: {cell[:80]!r} is no number, as others of the column "
                "are; correct it, or leave the cell blank where it is unknown"
            )
        _check_spelling(table, column, [cell for _, cell in cells.values()] if texts else [])
        for name, (_, cell) in cells.items():
            told = numeric[name]
            values[name][column] = cell if told is None else told
    return [values[owner] for owner in owners]


def _check_spelling(table: Table, column: str, cells: Sequence[str]) -> None:
    spelled: dict[str, str] = {}
    for cell in cells:
        if not cell.isprintable():
            raise ValueError(f"{table.file}, column {column!r}: {cell[:80]!r} is no plain text; correct it")
        if (other := spelled.setdefault(" ".join(cell.casefold().split()), cell)) != cell:
            raise ValueError(
                f"{table.file}, column {column!r} holds {other!r} and {cell!r}, which differ by case or blanks only; "
                "write one of them"
            )


def _plain(value: Any, name: str, case: Case) -> CovariateValue:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"case {case.id!r}: the covariate {name!r} must be a number or text, got {str(value)[:80]!r}")
    return value if isinstance(value, str) else float(value)


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if abs(number) <= 1e12 else None
