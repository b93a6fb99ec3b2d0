"""What a data set is prepared from: its cases, what their label ids and findings mean, and how to know them again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from monai_segdiff.data.dicom_studies import DicomStudies, find_studies, holds_studies
from monai_segdiff.data.layout import Case, case_name, default_patient, read_dataset

__all__ = ["cases_of", "classes_of", "dicom_of", "findings_of", "fingerprint"]


def classes_of(
    source: Any, classes: Mapping[str, int | Sequence[int]] | None, body_threshold: float | None
) -> dict[str, int | list[int]]:
    """Class name to source ids, checked for ids that two classes claim."""
    if classes is None:
        classes = read_dataset(source).classes if isinstance(source, str | Path) else {}
    vocabulary = {name: i if isinstance(i, int) else [int(j) for j in i] for name, i in classes.items()}
    if not vocabulary:
        raise ValueError("the source does not say what its label ids mean; give classes, e.g. {'liver': 1}")
    if body_threshold is not None and "body" in vocabulary:
        raise ValueError("classes already hold 'body'; leave it out, or do not give body_threshold")
    counts = Counter(i for ids in vocabulary.values() for i in np.atleast_1d(ids).tolist())
    twice = sorted(i for i, count in counts.items() if count > 1 or i == 0)
    if twice:
        raise ValueError(f"label ids {twice} cannot be used: each id belongs to one class, and 0 is the background")
    return vocabulary


def dicom_of(
    source: Any,
    classes: Mapping[str, int | Sequence[int]] | None,
    segments: Mapping[str, str | Sequence[str]] | None,
    precedence: Sequence[str],
    drop_others: bool,
    progress: bool,
) -> DicomStudies | None:
    """The studies of a folder of DICOM files; None for any other source.

    Raises:
        ValueError: if segments or an order of precedence are given for something else, or a study is unsound.
    """
    if not (isinstance(source, str | Path) and holds_studies(source)):
        if segments or precedence:
            raise ValueError(f"segments and precedence are for DICOM studies, which {source} does not hold; leave them")
        return None
    named = {name: [parts] if isinstance(parts, str) else list(parts) for name, parts in (segments or {}).items()}
    return DicomStudies(find_studies(source, progress), classes, named or None, precedence, drop_others)


def cases_of(source: str | Path | Sequence[Case | Mapping[str, Any]]) -> list[Case]:
    """Cases of a data set folder or of an explicit list, with distinct names."""
    if isinstance(source, str | Path):
        cases = [case for members in read_dataset(source).splits.values() for case in members if case.label]
    else:
        cases = [entry if isinstance(entry, Case) else _as_case(entry) for entry in source]
    if not cases:
        raise ValueError("the source holds no case with a label map; check the path")
    if len({case.id for case in cases}) < len(cases):
        # Files are often named alike in one folder per patient.
        cases = [replace(case, id=f"{case.patient}_{case.id}") for case in cases]
    repeated = [name for name, count in Counter(case.id for case in cases).items() if count > 1]
    if repeated:
        raise ValueError(f"{len(repeated)} case names occur more than once, e.g. {repeated[0]!r}; give each an 'id'")
    return cases


def findings_of(source: Any, cases: Sequence[Case], names: Sequence[str] | None) -> tuple[str, ...]:
    """The vocabulary of findings: the one given, or the source's own, which region maps refer to."""
    own = read_dataset(source).findings if isinstance(source, str | Path) else ()
    vocabulary = own if names is None else tuple(names)
    if own and vocabulary != own and any(case.region for case in cases):
        raise ValueError(f"the region maps of {source} refer to its own findings, {', '.join(own)}; leave findings out")
    if len(set(vocabulary)) < len(vocabulary):
        raise ValueError(f"findings must be named once each, got {', '.join(vocabulary)}")
    return vocabulary


def _as_case(entry: Mapping[str, Any]) -> Case:
    try:
        image, label = (Path(entry[key]).expanduser().resolve() for key in ("image", "label"))
    except KeyError as error:
        raise ValueError(f"a case needs 'image' and 'label', got {dict(entry)}") from error
    name = str(entry.get("id", case_name(label)))
    findings = entry.get("findings")
    return Case(
        name,
        image,
        label,
        str(entry.get("patient", default_patient(name))),
        None if findings is None else tuple(findings),
        Path(entry["region"]).expanduser().resolve() if entry.get("region") else None,
    )


def fingerprint(cases: Sequence[Case]) -> str:
    """Digest of the source files' names, sizes and times, which tells a changed source from the same one."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(f"{case.id}\n{case.patient}\n".encode())
        # What is unknown stays unnamed, so that data sets made before it could be known are found again.
        if case.findings is not None:
            digest.update(f"findings {sorted(case.findings)}\n".encode())
        for file in (case.image, case.label, *([] if case.region is None else [case.region])):
            status = file.stat() if file is not None and file.is_file() else None
            digest.update(f"{file and file.name} {status and (status.st_size, status.st_mtime_ns)}\n".encode())
    return digest.hexdigest()
