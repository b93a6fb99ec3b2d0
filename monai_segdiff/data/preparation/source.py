"""What a data set is prepared from: its cases, what their label ids and findings mean, and how to know them again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from monai_segdiff.data.case_names import distinct_cases
from monai_segdiff.data.cases import Case, CaseFiles
from monai_segdiff.data.channels import check_channel_files
from monai_segdiff.data.description.channel_names import check_channels
from monai_segdiff.data.description.classes import BODY, MOST_CLASSES, check_classes, check_name
from monai_segdiff.data.description.dataset_json import DESCRIPTION
from monai_segdiff.data.forms.folders import channel_numbers
from monai_segdiff.data.forms.in_words import in_words
from monai_segdiff.data.layout import Choices, case_name, default_patient, read_labeled
from monai_segdiff.data.load import label_ids, load_label_map
from monai_segdiff.data.patients import contradictions, guess_patients, with_patients
from monai_segdiff.data.preparation.covariates import with_covariates
from monai_segdiff.data.preparation.findings_table import read_findings
from monai_segdiff.data.splits import splits_of_patients
from monai_segdiff.evenly import evenly

__all__ = ["Asked", "Source", "fingerprint"]

_LOOKED_AT = 20  # label maps, for an example of classes
_SHOWN = 6
_NAMED_FOLDER = re.compile(r"(?:masks?|labels?|segmentations?)[_-](\w+)", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """What is asked of a source; `prepare_dataset` says more of each.

    Args:
        classes: class name to source label id or ids; None where the source says it.
        body: whether a class of this name is to be added.
        patients: table of patients.
        findings: the vocabulary of findings; None where the source says it.
        findings_table: table of findings.
        segments: class name to the names of DICOM segments.
        precedence: classes in their order.
        drop_others: whether DICOM segments of no class are left out.
        progress: whether to show a progress bar.
        choices: names of files and the fold that decide where the source alone does not; its classes and segments are
            those named here.
        keep_split: whether the source's own split is wanted.
        channels: names of the images' channels, or of those that are wanted; None for all that the source names.
        covariates: names of those that are wanted; None for those that the source names.
        covariates_table: table of covariates.
    """

    classes: Mapping[str, int | Sequence[int]] | None = None
    body: bool = False
    patients: str | Path | None = None
    findings: Sequence[str] | None = None
    findings_table: str | Path | None = None
    segments: Mapping[str, str | Sequence[str]] | None = None
    precedence: Sequence[str] = ()
    drop_others: bool = False
    progress: bool = False
    choices: Choices = field(default_factory=Choices)
    keep_split: bool = False
    channels: Sequence[str] | None = None
    covariates: Sequence[str] | None = None
    covariates_table: str | Path | None = None


@dataclass(frozen=True)
class Source:
    """What is prepared, read once by `open`.

    Args:
        name: of the folder.
        cases: with distinct names; each has a label map.
        classes: class name to source id or ids.
        parents: as the source says, of classes that are wanted.
        findings: the vocabulary.
        fingerprint: tells a changed source from the same one.
        files_of: gives a case whose image and label map are files, for as long as its block lasts.
        remarks: what is left out.
        found: what the source is, in words; empty for a list of cases.
        modality: as the source says; empty where it does not.
        channels: names of the channels that its images have; none for one without a name.
        kept: those of them that are wanted.
        split_of: patient to split, where the source's own is wanted.
        covariates: names of those that are wanted, whose values the cases have, but for what is measured.
    """

    name: str
    cases: list[Case]
    classes: dict[str, int | list[int]]
    parents: dict[str, str]
    findings: tuple[str, ...]
    fingerprint: str
    files_of: Callable[[Case], AbstractContextManager[Case]]
    remarks: tuple[str, ...] = ()
    found: str = ""
    modality: str = ""
    channels: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    split_of: Mapping[str, str] | None = None
    covariates: tuple[str, ...] = ()

    @classmethod
    def open(cls, source: str | Path | Sequence[Case | Mapping[str, Any]], asked: Asked) -> Source:
        """Read what a source says of itself, and check it; opens no image.

        Args:
            source: as for `prepare_dataset`.
            asked: what is asked of it.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if something cannot be understood, contradicts itself, or has no effect for this source.
        """
        if asked.findings_table is not None and not asked.findings:
            raise ValueError(f"findings (--findings) must name the columns of {asked.findings_table} that are wanted")
        if not isinstance(source, str | Path) and (asked.segments or asked.precedence):
            raise ValueError(
                "segments and precedence (--segments, --precedence) are for DICOM studies, which the list of cases "
                "does not hold, and for masks in files of their own; leave them out"
            )
        given = _from_folder(source, asked) if isinstance(source, str | Path) else _from_list(source, asked)
        _check_classes(given, asked.body)
        cases = distinct_cases(given.cases)
        if asked.patients is not None:
            cases = with_patients(cases, asked.patients)
        if wrong := contradictions(cases):
            raise ValueError(wrong[0])
        findings, cases = _findings(given, cases, asked)
        channels, kept = _channels(given, cases, asked)
        covariates, cases = _covariates(given, cases, asked)
        split_of = _split_of(given, cases) if asked.keep_split else None
        return cls(
            name="prepared data set" if given.folder is None else Path(given.folder).name,
            cases=cases,
            classes=given.classes,
            parents={child: around for child, around in given.parents.items() if {child, around} <= {*given.classes}},
            findings=findings,
            fingerprint=_fingerprint(given, cases, asked, split_of),
            files_of=nullcontext if given.maker is None else given.maker.files_of,
            remarks=given.remarks,
            found=given.found,
            modality=given.modality,
            channels=channels,
            kept=kept,
            split_of=split_of,
            covariates=covariates,
        )


@dataclass(frozen=True)
class _Given:
    """What a source says: a data set in any form, or a list of cases."""

    cases: list[Case]
    classes: dict[str, int | list[int]]
    folder: str | Path | None = None
    parents: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    maker: CaseFiles | None = None
    found: str = ""
    modality: str = ""
    channels: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    covariates: tuple[str, ...] = ()


def fingerprint(cases: Sequence[Case]) -> str:
    """Digest of the source files' names, sizes and times, which tells a changed source from the same one."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(f"{case.id}\n{case.patient}\n".encode())
        # What is unknown stays unnamed, so that data sets made before it could be known are found again.
        if case.findings is not None:
            digest.update(f"findings {sorted(case.findings)}\n".encode())
        if case.covariates:
            digest.update(f"covariates {case.covariates}\n".encode())
        images = case.channel_files or (case.image,)
        for file in (*images, case.label, *([] if case.region is None else [case.region])):
            status = file.stat() if file is not None and file.is_file() else None
            digest.update(f"{file and file.name} {status and (status.st_size, status.st_mtime_ns)}\n".encode())
    return digest.hexdigest()


def _fingerprint(given: _Given, cases: Sequence[Case], asked: Asked, split_of: Mapping[str, str] | None) -> str:
    """Digest of the source's files, and of what else of it goes into the result."""
    of_files = fingerprint(cases) if given.maker is None else given.maker.fingerprint(cases)
    more = "" if split_of is None else f"\nsplit {sorted(split_of.items())}"
    if given.maker is not None and asked.patients is not None:
        more += "".join(f"\n{case.id} {case.patient}" for case in cases)
    return hashlib.sha256(f"{of_files}{more}".encode()).hexdigest() if more else of_files


def _from_folder(source: str | Path, asked: Asked) -> _Given:
    """What a data set says, in whichever form it is."""
    choices = replace(
        asked.choices,
        segments=asked.segments,
        precedence=asked.precedence,
        drop_others=asked.drop_others,
        progress=asked.progress,
    )
    dataset, left_out = read_labeled(source, asked.classes, choices)
    return _Given(
        [case for members in dataset.splits.values() for case in members],
        check_classes(dataset.classes),
        source,
        dataset.parents,
        dataset.findings,
        tuple(left_out),
        dataset.maker,
        in_words(dataset),
        dataset.modality,
        dataset.channels,
        {split: len(cases) for split, cases in dataset.splits.items()},
        tuple(dataset.covariates),
    )


def _split_of(given: _Given, cases: Sequence[Case]) -> dict[str, str]:
    """Which split of the source each patient is in."""
    if not given.sizes:
        raise ValueError("a list of cases has no split that could be kept (--keep-split); leave it out")
    rest = iter(cases)
    return splits_of_patients({split: [next(rest) for _ in range(size)] for split, size in given.sizes.items()})


def _from_list(source: Sequence[Case | Mapping[str, Any]], asked: Asked) -> _Given:
    named = [entry if isinstance(entry, Case) else _as_case(entry) for entry in source]
    guessed = iter(guess_patients([case for case, entry in zip(named, source, strict=True) if case is not entry]))
    cases = [case if case is entry else next(guessed) for case, entry in zip(named, source, strict=True)]
    if not cases:
        raise ValueError("the source holds no case with a label map; check the path")
    told = dict.fromkeys(name for case in cases for name, _ in case.covariates)
    return _Given(cases, check_classes(asked.classes or {}), covariates=tuple(told))


def _as_case(entry: Mapping[str, Any]) -> Case:
    try:
        images = entry["image"] if isinstance(entry["image"], list | tuple) else [entry["image"]]
        image, label, *others = (Path(file).expanduser().resolve() for file in (images[0], entry["label"], *images[1:]))
    except (KeyError, TypeError, IndexError) as error:
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
        channel_files=(image, *others) if others else (),
        covariates=tuple(dict(entry.get("covariates") or {}).items()),
    )


def _check_classes(given: _Given, body: bool) -> None:
    """Refuse classes that are not told, or leave no room for the body."""
    if not given.classes:
        where = "the source" if given.folder is None else given.folder
        if given.folder is not None and (Path(given.folder) / DESCRIPTION).is_file():
            where = Path(given.folder) / DESCRIPTION
        raise ValueError(
            f"{where} does not say what the label ids mean; give classes (--classes), {_for_example(given)}"
        )
    if body and (named := next((name for name in given.classes if name.casefold() == BODY), None)):
        raise ValueError(
            f"classes already hold {named!r}; leave it out, or do not give body_threshold (--body-threshold)"
        )
    if body and len(given.classes) == MOST_CLASSES:
        raise ValueError(
            f"with the body (--body-threshold) there are more than {MOST_CLASSES} classes, which is what a label map "
            "of bytes holds; leave it out, or join some classes"
        )


def _for_example(given: _Given) -> str:
    """How classes could be named: by the ids that some of the label maps hold, where these can be read."""
    found: set[int] = set()
    labels = [case.label for case in evenly(given.cases, _LOOKED_AT) if case.label is not None and case.label.is_file()]
    with suppress(ValueError, ImportError, OSError):  # what is wrong with files is said when they are prepared
        for label in labels:
            found.update(label_ids(load_label_map(label).numpy()).tolist())
    ids = sorted(found - {0})
    if not ids:
        return "such as liver=1 kidneys=2,3"
    of_folder = _NAMED_FOLDER.fullmatch(labels[0].parent.name)
    names = [of_folder[1]] if of_folder and len(ids) == 1 else [f"name{index}" for index in range(1, len(ids) + 1)]
    shown = " ".join(f"{name}={index}" for name, index in zip(names, ids[:_SHOWN], strict=False))
    return f"a name for each id that its label maps hold, such as {shown}{' ...' if len(ids) > _SHOWN else ''}"


def _findings(given: _Given, cases: list[Case], asked: Asked) -> tuple[tuple[str, ...], list[Case]]:
    """The vocabulary of findings, asked for or the source's own, and the cases with theirs."""
    own = given.findings
    names = own if asked.findings is None else tuple(asked.findings)
    if own and names != own and any(case.region for case in cases):
        raise ValueError(
            f"the region maps of {given.folder} refer to its own findings, {', '.join(own)}; leave findings out "
            "(--findings)"
        )
    for name in names:
        check_name(name, "finding")
    if len(set(names)) < len(names):
        raise ValueError(f"findings (--findings) must be named once each, got {', '.join(names)}")
    if asked.findings_table is not None:
        return names, read_findings(asked.findings_table, names, cases)
    if asked.findings is not None and all(case.findings is None for case in cases):
        raise ValueError(
            "findings (--findings) name what a table or the source says of each case, and nothing is said: give the "
            "table, too (findings_table, --findings-table), or leave them out"
        )
    return names, cases


def _channels(given: _Given, cases: Sequence[Case], asked: Asked) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the channels that the images have, and of those that are wanted."""
    if asked.channels is not None and any(case.image is not None and case.image.is_dir() for case in cases):
        raise ValueError(
            f"channels (--channels) name those of image files, and {given.folder} holds DICOM series of one channel "
            "each; leave them out, or convert the series of a case to NIfTI files"
        )
    own = given.channels
    kept = own if asked.channels is None else check_channels(asked.channels)
    if own == channel_numbers(len(own)) and not {*own} & {*kept}:  # all that is said of them is their number
        own = ()
    channels = own or kept
    if unknown := [name for name in kept if name not in channels]:
        raise ValueError(
            f"channels (--channels) name {unknown[0]!r}, and the source has {', '.join(channels)}; choose among these"
        )
    for case in cases:
        check_channel_files(case, channels)
    if not channels and (several := next((case for case in cases if case.channel_files), None)):
        raise ValueError(
            f"case {several.id!r} has {len(several.channel_files)} channels, {several.channel_files[0].name} the "
            "first, and nothing names them; name them in their order (channels, --channels)"
        )
    return channels, kept


def _covariates(given: _Given, cases: list[Case], asked: Asked) -> tuple[tuple[str, ...], list[Case]]:
    """Names of the covariates, asked for or the source's own, and the cases with theirs."""
    if asked.covariates_table is not None and not asked.covariates:
        raise ValueError(f"covariates (--covariates) must name the columns of {asked.covariates_table} that are wanted")
    names = given.covariates if asked.covariates is None else tuple(asked.covariates)
    tags = getattr(given.maker, "tags", None)  # of DICOM studies
    return names, with_covariates(cases, names, asked.covariates_table, given.covariates, tags)
