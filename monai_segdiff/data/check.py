"""A data set read from end to end, and everything that is wrong with it, named by file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm.auto import tqdm

from monai_segdiff.data.case_names import distinct_cases
from monai_segdiff.data.description.classes import named_ids
from monai_segdiff.data.description.dataset_json import DESCRIPTION
from monai_segdiff.data.issues import Issue, case_issues
from monai_segdiff.data.layout import Case, SegmentationDataset, read_dataset, unread_files
from monai_segdiff.data.load import READABLE
from monai_segdiff.data.patients import alike, contradictions, unknown_patients
from monai_segdiff.data.preparation.class_counts import absent_classes
from monai_segdiff.data.readers.palettes import Palettes, Seen
from monai_segdiff.data.splits import BY_IMAGE, WITHIN_PATIENT

__all__ = ["check_dataset"]


def check_dataset(
    path: str | Path,
    classes: Mapping[str, int | Sequence[int]] | None = None,
    spatial_dims: int | None = None,
    *,
    need_labels: bool = True,
    workers: int = 1,
    progress: bool = False,
) -> list[Issue]:
    """Read every file of a data set and list what is wrong.

    Args:
        path: the data set's folder, see `read_dataset`.
        classes: class name to label id or ids; by default as the folder says.
        spatial_dims: 2 or 3 where the files must have so many axes; by default as the folder says.
        need_labels: whether a data set without any label map is an error; images alone train an autoencoder.
        workers: number of files read at a time.
        progress: whether to show a progress bar.

    Returns:
        Findings in the order of the cases, an empty list if nothing is wrong.
    """
    try:
        dataset = read_dataset(path, classes, check_files=False)
    except (ValueError, OSError) as error:
        message, _, remedy = str(error).partition("; ")
        return [Issue("error", str(path), message, remedy or "see the layout of a data set in the documentation")]
    known = {i for _, i in named_ids(dataset.classes)} or None
    dims = spatial_dims if spatial_dims is not None else dataset.spatial_dims
    cases = [case for members in dataset.splits.values() for case in members]
    issues = list(_dataset_issues(dataset, need_labels))

    def look(case: Case) -> tuple[list[Issue], Seen]:
        seen = Seen()
        return list(case_issues(case, known, dims, dataset.findings, seen, dataset.channels)), seen

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
            sound &= all(issue.severity != "error" for issue in found)
    if sound:  # else not every label map could be read, or ids are others than those of the classes
        issues.extend(_class_issues(dataset, dict(zip(cases, ids, strict=True))))
    return issues


def _dataset_issues(dataset: SegmentationDataset, need_labels: bool) -> Iterator[Issue]:
    root = str(dataset.root)
    cases = [case for members in dataset.splits.values() for case in members]
    if need_labels and not any(case.label for case in cases):
        remedy = "add them, or say which folder holds them (prepare --labels)"
        yield Issue("error", root, "holds no label maps, so there is nothing to train on or to generate for", remedy)
    elif not dataset.classes:
        remedy = 'add "labels" to dataset.json, or pass the classes (--classes)'
        yield Issue("warning", root, "nothing says what the label ids mean, so they were not checked", remedy)
    for message in unread_files(dataset):
        remedy = f"convert images to one of {', '.join(READABLE)}, and put each into this folder itself"
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
