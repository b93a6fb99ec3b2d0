"""What a data set is prepared from: its cases, what their label ids and findings mean, and how to know them again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_segdiff.data.case_names import distinct_cases
from monai_segdiff.data.cases import Case
from monai_segdiff.data.description.classes import BODY, MOST_CLASSES, check_classes, check_name
from monai_segdiff.data.dicom.studies import DicomStudies, find_studies, holds_studies
from monai_segdiff.data.layout import case_name, default_patient, read_dataset, unread_files
from monai_segdiff.data.patients import contradictions, guess_patients, with_patients
from monai_segdiff.data.preparation.findings_table import read_findings

__all__ = ["Source", "fingerprint", "open_source"]


@dataclass(frozen=True)
class Source:
    """What is prepared, read once.

    Args:
        name: of the folder.
        cases: with distinct names; each has a label map.
        classes: class name to source id or ids.
        parents: as the source says, of classes that are wanted.
        findings: the vocabulary.
        digest: tells a changed source from the same one.
        files_of: gives a case whose image and label map are files, for as long as its block lasts.
        remarks: what is left out.
    """

    name: str
    cases: list[Case]
    classes: dict[str, int | list[int]]
    parents: dict[str, str]
    findings: tuple[str, ...]
    digest: str
    files_of: Callable[[Case], AbstractContextManager[Case]]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Given:
    """What a kind of source says."""

    cases: list[Case]
    classes: Mapping[str, int | Sequence[int]]
    parents: Mapping[str, str]
    findings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def open_source(
    source: str | Path | Sequence[Case | Mapping[str, Any]],
    classes: Mapping[str, int | Sequence[int]] | None = None,
    *,
    patients: str | Path | None = None,
    body: bool = False,
    findings: Sequence[str] | None = None,
    findings_table: str | Path | None = None,
    segments: Mapping[str, str | Sequence[str]] | None = None,
    precedence: Sequence[str] = (),
    drop_others: bool = False,
    progress: bool = False,
) -> Source:
    """Read what a source says of itself, and check it; opens no image.

    Args:
        source: as for `prepare_dataset`, like the rest.
        classes: class name to source label id or ids.
        patients: table of patients.
        body: whether a class of this name is to be added.
        findings: the vocabulary of findings.
        findings_table: table of findings.
        segments: class name to the names of DICOM segments.
        precedence: classes in their order.
        drop_others: whether DICOM segments of no class are left out.
        progress: whether to show a progress bar.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if something cannot be understood, contradicts itself, or has no effect for this source.
    """
    if findings_table is not None and not findings:
        raise ValueError(f"findings (--findings) must name the columns of {findings_table} that are wanted")
    dicom = _studies(source, classes, segments, precedence, drop_others, progress)
    if dicom is not None:
        given = _Given(dicom.cases, dicom.classes, {})
    elif isinstance(source, str | Path):
        given = _from_folder(source, classes)
    else:
        given = _Given(_from_list(source), classes or {}, {})
    if not given.cases:
        raise ValueError("the source holds no case with a label map; check the path")
    vocabulary = _vocabulary(given.classes, body, source)
    cases = distinct_cases(given.cases)
    if patients is not None:
        cases = with_patients(cases, patients)
    if wrong := contradictions(cases):
        raise ValueError(wrong[0])
    names = _findings(source, given, cases, findings)
    if findings_table is not None:
        cases = read_findings(findings_table, names, cases)
    elif findings is not None and all(case.findings is None for case in cases):
        raise ValueError(
            "findings (--findings) name what a table or the source says of each case, and nothing is said: give the "
            "table, too (findings_table, --findings-table), or leave them out"
        )
    return Source(
        name=Path(source).name if isinstance(source, str | Path) else "prepared data set",
        cases=cases,
        classes=vocabulary,
        parents={child: parent for child, parent in given.parents.items() if {child, parent} <= vocabulary.keys()},
        findings=names,
        digest=fingerprint(cases) if dicom is None else _dicom_fingerprint(dicom, cases, patients is not None),
        files_of=nullcontext if dicom is None else dicom.files_of,
        remarks=given.remarks,
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


def _dicom_fingerprint(dicom: DicomStudies, cases: Sequence[Case], told: bool) -> str:
    of_files = dicom.fingerprint(cases)
    owners = "".join(f"\n{case.id} {case.patient}" for case in cases)
    return hashlib.sha256(f"{of_files}{owners}".encode()).hexdigest() if told else of_files


def _studies(
    source: Any,
    classes: Mapping[str, int | Sequence[int]] | None,
    segments: Mapping[str, str | Sequence[str]] | None,
    precedence: Sequence[str],
    drop_others: bool,
    progress: bool,
) -> DicomStudies | None:
    """The studies of a folder of DICOM files; None for any other source."""
    if not (isinstance(source, str | Path) and holds_studies(source)):
        if segments or precedence:
            what = source if isinstance(source, str | Path) else "the list of cases"
            raise ValueError(
                f"segments and precedence (--segments, --precedence) are for DICOM studies, which {what} does not "
                "hold; leave them out"
            )
        return None
    named = {name: [parts] if isinstance(parts, str) else list(parts) for name, parts in (segments or {}).items()}
    return DicomStudies(find_studies(source, progress), classes, named or None, precedence, drop_others)


def _from_folder(source: str | Path, classes: Mapping[str, int | Sequence[int]] | None) -> _Given:
    dataset = read_dataset(source, classes)
    every = [case for members in dataset.splits.values() for case in members]
    cases = [case for case in every if case.label is not None]
    without = [case for case in every if case.label is None]
    if cases and (alone := next((case for case in cases if case.image is None), None)):
        raise ValueError(f"{alone.label} has no image; add it, or leave the case out")
    if not cases:
        raise ValueError(f"{source} holds no label maps; add them, or say which folder holds them (--labels)")
    remarks = unread_files(dataset)
    if without:
        remarks.append(f"{len(without)} cases have no label map and are left out, such as {without[0].image}")
    return _Given(cases, dataset.classes, dataset.parents, dataset.findings, tuple(remarks))


def _vocabulary(classes: Mapping[str, int | Sequence[int]], body: bool, source: object) -> dict[str, int | list[int]]:
    if not classes:
        where = source if isinstance(source, str | Path) else "the source"
        if isinstance(source, str | Path) and (Path(source) / "dataset.json").is_file():
            where = Path(source) / "dataset.json"
        raise ValueError(
            f"{where} does not say what the label ids mean; give classes (--classes), such as liver=1 kidneys=2,3"
        )
    vocabulary = check_classes(classes)
    if body and (named := next((name for name in vocabulary if name.casefold() == BODY), None)):
        raise ValueError(
            f"classes already hold {named!r}; leave it out, or do not give body_threshold (--body-threshold)"
        )
    if body and len(vocabulary) == MOST_CLASSES:
        raise ValueError(
            f"with the body (--body-threshold) there are more than {MOST_CLASSES} classes, which is what a label map "
            "of bytes holds; leave it out, or join some classes"
        )
    return vocabulary


def _findings(source: Any, given: _Given, cases: Sequence[Case], names: Sequence[str] | None) -> tuple[str, ...]:
    """The vocabulary of findings: the one given, or the source's own, which region maps refer to."""
    own = given.findings
    vocabulary = own if names is None else tuple(names)
    if own and vocabulary != own and any(case.region for case in cases):
        raise ValueError(
            f"the region maps of {source} refer to its own findings, {', '.join(own)}; leave findings out (--findings)"
        )
    for name in vocabulary:
        check_name(name, "finding")
    if len(set(vocabulary)) < len(vocabulary):
        raise ValueError(f"findings (--findings) must be named once each, got {', '.join(vocabulary)}")
    return vocabulary


def _from_list(source: Sequence[Case | Mapping[str, Any]]) -> list[Case]:
    named = [entry if isinstance(entry, Case) else _as_case(entry) for entry in source]
    guessed = iter(guess_patients([case for case, entry in zip(named, source, strict=True) if case is not entry]))
    return [case if case is entry else next(guessed) for case, entry in zip(named, source, strict=True)]


def _as_case(entry: Mapping[str, Any]) -> Case:
    try:
        image, label = (Path(entry[key]).expanduser().resolve() for key in ("image", "label"))
    except (KeyError, TypeError) as error:
        raise ValueError(f"a case needs 'image' and 'label', got {str(entry)[:80]}") from error
    name = str(entry.get("id", case_name(label)))
    findings = entry.get("findings")
    told = entry.get("patient") is not None
    return Case(
        name,
        image,
        label,
        str(entry["patient"]) if told else default_patient(name),
        None if findings is None else tuple(findings),
        Path(entry["region"]).expanduser().resolve() if entry.get("region") else None,
        patient_known=told,
    )
