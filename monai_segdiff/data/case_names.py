"""Names of cases that tell them apart, and names of the files that they are written to."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from monai_segdiff.data.case_files import default_patient
from monai_segdiff.data.cases import Case
from monai_segdiff.data.patients import guess_patients

__all__ = ["distinct_cases", "written_name"]

_SHOWN = 3


def distinct_cases(cases: Sequence[Case]) -> list[Case]:
    """The cases under names that tell them apart, in the files that they are written to as well.

    Files are often named alike in one folder per patient: where names repeat, the patient's is put before them, or that
    of the folder where it is not known whose they are.

    Raises:
        ValueError: if names still repeat; names the files.
    """
    for renamed in _candidates(cases):
        repeated = _repeated(renamed)
        if not repeated:
            return renamed
    files = ", ".join(str(case.label or case.image) for case in repeated[:_SHOWN])
    raise ValueError(
        f"{len(repeated)} cases have names that occur more than once, such as {repeated[0].id!r} ({files}): give each "
        "a file name of its own, told apart by more than case and signs, and list none twice in "
        "dataset.json"
    )


def written_name(case: str) -> str:
    """Name of a case as that of a file: letters and digits of any script, and ``._+-``, with ``_`` for other signs."""
    return re.sub(r"[^\w.+-]", "_", unicodedata.normalize("NFC", case)).lstrip("._+-") or "case"


def _candidates(cases: Sequence[Case]) -> Iterator[list[Case]]:
    yield list(cases)
    if all(case.patient_known for case in cases):
        yield [replace(case, id=f"{case.patient}_{case.id}") for case in cases]
        yield [replace(case, id=f"{case.patient}_{_folder(case)}_{case.id}") for case in cases]
    else:
        yield [_in_folder(case) for case in cases]


def _repeated(cases: Iterable[Case]) -> list[Case]:
    """Cases whose names, as those of files, others have too."""
    by_name: dict[str, list[Case]] = {}
    for case in cases:
        by_name.setdefault(written_name(case.id).casefold(), []).append(case)
    return [case for group in by_name.values() if len(group) > 1 for case in group]


def _in_folder(case: Case) -> Case:
    named = replace(case, id=f"{_folder(case)}_{case.id}")
    return guess_patients([named])[0] if case.patient == default_patient(case.id) else named


def _folder(case: Case) -> str:
    file = case.label or case.image
    assert file is not None
    return file.parent.name
