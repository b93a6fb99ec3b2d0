"""A data set read from end to end, and everything that is wrong with it, named by file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from monai_segdiff.data.case_names import distinct_cases
from monai_segdiff.data.channels import image_files_of
from monai_segdiff.data.description.classes import check_classes, named_ids
from monai_segdiff.data.description.dataset_json import DESCRIPTION
from monai_segdiff.data.forms.in_words import in_words
from monai_segdiff.data.issues import Issue, case_issues
from monai_segdiff.data.label_volumes import LabelVolumes
from monai_segdiff.data.layout import Case, Choices, SegmentationDataset, read_source
from monai_segdiff.data.load import READABLE
from monai_segdiff.data.patients import alike, contradictions, unknown_patients, with_patients
from monai_segdiff.data.preparation.class_counts import absent_classes
from monai_segdiff.data.preparation.pairing import pair_source
from monai_segdiff.data.readers.palettes import Palettes, Seen
from monai_segdiff.data.recorded import recorded_digests
from monai_segdiff.data.splits import BY_IMAGE, WITHIN_PATIENT

__all__ = ["check_dataset", "issues_of"]


def check_dataset(
    path: str | Path,
    classes: Mapping[str, int | Sequence[int]] | None = None,
    spatial_dims: int | None = None,
    *,
    need_labels: bool = True,
    workers: int = 1,
    progress: bool = False,
    choices: Choices | None = None,
    volumes: LabelVolumes | None = None,
    reread: bool = True,
    labels: str | Path | None = None,
    patients: str | Path | None = None,
) -> list[Issue]:
    """Read every file of a data set and list what is wrong.

    Args:
        path: the data set's folder, in any form, DICOM studies included, see `read_dataset`.
        classes: class name to label id or ids; by default as the folder says.
        spatial_dims: 2 or 3 where the files must have so many axes; by default as the folder says.
        need_labels: whether a data set without any label map is an error; images alone train an autoencoder.
        workers: number of files read at a time.
        progress: whether to show a progress bar.
        choices: what decides where the folder alone does not; its classes are those given here.
        volumes: is told what the data set is, and how much of each label id there is, where one is given.
        reread: whether to read files, too, that were checked when the data set was made, by `prepare` for example, and
            not changed since; else one case of them stands for all.
        labels: folder of label maps, where `path` is a plain folder of images of the same names.
        patients: CSV file that says whose each case is, see `pair_folders`; by default as the folder says.

    Returns:
        Findings in the order of the cases, an empty list if nothing is wrong.
    """
    try:
        dataset = _read(path, replace(choices or Choices(), classes=classes), labels, patients)
    except (ValueError, OSError, ImportError) as error:
        message, _, remedy = str(error).partition("; ")
        return [Issue("error", str(path), message, remedy or "see the layout of a data set in the documentation")]
    return issues_of(
        dataset,
        spatial_dims,
        need_labels=need_labels,
        workers=workers,
        progress=progress,
        volumes=volumes,
        reread=reread,
        any_id=choices is not None and choices.drop_others,
    )


def issues_of(
    dataset: SegmentationDataset,
    spatial_dims: int | None = None,
    *,
    need_labels: bool = True,
    workers: int = 1,
    progress: bool = False,
    volumes: LabelVolumes | None = None,
    reread: bool = True,
    any_id: bool = False,
) -> list[Issue]:
    """Read every file of a data set whose description is read, and list what is wrong; see `check_dataset`.

    Args:
        dataset: the data set.
        spatial_dims: as for `check_dataset`.
        need_labels: as for `check_dataset`.
        workers: as for `check_dataset`.
        progress: as for `check_dataset`.
        volumes: as for `check_dataset`.
        reread: as for `check_dataset`.
        any_id: whether label ids of no class may occur, as they become background.
    """
    known = None if any_id else {i for _, i in named_ids(dataset.classes)} or None
    dims = spatial_dims if spatial_dims is not None else dataset.spatial_dims
    cases = [case for members in dataset.splits.values() for case in members]
    issues = list(_dataset_issues(dataset, need_labels))
    if volumes is not None:
        volumes.found, volumes.classes = in_words(dataset), dataset.classes
    recorded = recorded_digests(dataset.root) if dataset.settings and not reread else {}
    every = len(cases)
    cases = [case for number, case in enumerate(cases) if number == 0 or not _known(case, recorded)]

    def look(case: Case) -> tuple[list[Issue], Seen]:
        seen = Seen(count=volumes is not None)
        try:
            with dataset.opened(case) as files:
                found = list(case_issues(files, known, dims, dataset.findings, seen, dataset.channels))
                return [_of_case(issue, files, case) for issue in found], seen
        except (ValueError, OSError, ImportError) as error:  # of what files are made from
            message, _, remedy = str(error).partition("; ")
            where = str(case.label or case.image)
            return [Issue("error", where, message, remedy or "restore it, or remove the case")], seen

    ids: list[set[int]] = []
    palettes = Palettes()
    sound = True
    with ThreadPoolExecutor(max(1, workers)) as pool:
        looked = tqdm(pool.map(look, cases), total=len(cases), desc="check", unit="case", disable=not progress)
        for case, (found, seen) in zip(cases, looked, strict=True):
            if case.label is not None and (conflict := palettes.conflict(case.label, seen.palette)):
                message, _, remedy = conflict.partition("; ")
                found.append(Issue("error", str(case.label), message, remedy))
            issues.extend(found)
            ids.append(seen.ids)
            if volumes is not None:
                volumes.add(seen)
            sound &= all(issue.severity != "error" for issue in found)
    if (
        sound and len(cases) == every
    ):  # else not every label map could be read, or ids are others than those of the classes
        issues.extend(_class_issues(dataset, dict(zip(cases, ids, strict=True))))
    return issues


def _read(
    path: str | Path, choices: Choices, labels: str | Path | None, patients: str | Path | None
) -> SegmentationDataset:
    if labels is None:
        dataset = read_source(path, choices, check_files=False)
    else:
        root, cases = Path(path).expanduser().resolve(), pair_source(path, labels, choices)
        dataset = SegmentationDataset(root, root.name, dict(check_classes(choices.classes or {})), {"training": cases})
    if patients is not None:
        splits = {split: with_patients(cases, patients) for split, cases in dataset.splits.items()}
        dataset = replace(dataset, splits=splits)
    return dataset


def _of_case(issue: Issue, files: Case, case: Case) -> Issue:
    """An issue of files that were made for a case, told of what they were made from, which the user knows."""
    texts = [issue.file, issue.message, issue.remedy]
    for made, known in ((files.image, case.image), (files.label, case.label)):
        if made != known:
            texts = [text.replace(str(made), str(known)) for text in texts]
    return Issue(issue.severity, *texts)


def _known(case: Case, recorded: Collection[Path]) -> bool:
    files = [file for file in (*image_files_of(case), case.label, case.region) if file is not None]
    return bool(files) and all(file in recorded for file in files)


def _dataset_issues(dataset: SegmentationDataset, need_labels: bool) -> Iterator[Issue]:
    root = str(dataset.root)
    cases = [case for members in dataset.splits.values() for case in members]
    if need_labels and not any(case.label for case in cases):
        remedy = "add them, or say which folder holds them (prepare --labels)"
        yield Issue("error", root, "holds no label maps, so there is nothing to train on or to generate for", remedy)
    elif not dataset.classes:
        remedy = 'add "labels" to dataset.json, or pass the classes (--classes)'
        yield Issue("warning", root, "nothing says what the label ids mean, so they were not checked", remedy)
    for remark in dataset.remarks:
        message, _, remedy = remark.partition("; ")
        remedy = remedy or f"convert images to one of {', '.join(READABLE)}, and put each into this folder itself"
        yield Issue("warning", root, message, remedy)
    for split, members in dataset.splits.items():
        yield from _pair_issues(split, members, dataset.root)
    yield from _name_issues(root, cases)
    yield from _patient_issues(dataset, cases)


def _patient_issues(dataset: SegmentationDataset, cases: Sequence[Case]) -> Iterator[Issue]:
    root = str(dataset.root)
    for contradiction in contradictions(cases):
        message, _, remedy = contradiction.partition("; ")
        yield Issue("error", root, message, remedy)
    if dataset.split_kind == BY_IMAGE:
        message = (
            "split by image: images of one patient are in training and held out, so results on them are optimistic"
        )
        yield Issue("warning", root, message, "split by patient to learn how a model does on new patients")
        return
    unknown = sorted({case.patient for case in cases if not case.patient_known})
    if unknown and (len(dataset.splits) > 1 or alike(unknown)):
        message, _, remedy = unknown_patients(cases).partition("; ")
        yield Issue("warning", root, message, remedy)
    seen: dict[str, str] = {}
    for split, members in dataset.splits.items():
        for patient in sorted({case.patient for case in members}):
            other = seen.setdefault(patient, split)
            if other != split and dataset.split_kind != WITHIN_PATIENT:
                message = f"patient {patient!r} is in {other} and in {split}"
                yield Issue("error", root, message, "split by patient, e.g. with the prepare command")


def _name_issues(root: str, cases: Sequence[Case]) -> Iterator[Issue]:
    try:
        distinct_cases(cases)
    except ValueError as error:
        message, _, remedy = str(error).partition(": ")
        yield Issue("error", root, message, remedy)


def _pair_issues(split: str, cases: Sequence[Case], root: Path) -> Iterator[Issue]:
    where = f" from {DESCRIPTION}" if (root / DESCRIPTION).is_file() else ""
    wanted = [key for key in ("image", "label") if any(getattr(case, key) for case in cases)]
    for case in cases:
        for key in wanted:
            if getattr(case, key) is None and (split, key) != ("test", "label"):
                message = f"case {case.id!r} in {split} has no {key}"
                remedy = f"add the {key}, or remove the case{where}"
                yield Issue("error", str(case.label or case.image), message, remedy)


def _class_issues(dataset: SegmentationDataset, ids: Mapping[Case, set[int]]) -> Iterator[Issue]:
    """Classes that no label map holds, or those of one split do not."""
    root, of_id = str(dataset.root), {i: name for name, i in named_ids(dataset.classes)}
    held = {
        split: [{of_id[i] for i in ids[case] if i in of_id} for case in cases if case.label is not None]
        for split, cases in dataset.splits.items()
    }
    there = set().union(*(classes for maps in held.values() for classes in maps))
    for name in dataset.classes:
        if name not in there and any(held.values()):
            message = f"class {name!r} is in none of the {sum(map(len, held.values()))} label maps"
            yield Issue("warning", root, message, "leave it out, or correct the ids (--classes)")
    for message in absent_classes(list(dataset.classes), held):
        yield Issue("warning", root, message, "add cases with them, or split anew (prepare --seed, --fractions)")
