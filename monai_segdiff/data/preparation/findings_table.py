"""What is found in each image, from a table of labels such as CheXpert's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from monai_segdiff.data.cases import Case
from monai_segdiff.data.preparation.case_tables import check_columns, lines_of_cases
from monai_segdiff.documents import read_table

__all__ = ["read_findings"]

_NOTHING = "No Finding"
_STATES = {"1": True, "1.0": True, "0": False, "0.0": False, "-1": None, "-1.0": None}


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
    lines, owners = lines_of_cases(content, cases, "findings")
    check_columns(content, names)
    found = {name: _findings(row, names, f"{table}, line {number}") for name, (number, row) in lines.items()}
    return [replace(case, findings=found[owner]) for case, owner in zip(cases, owners, strict=True)]


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
