"""A data set read from end to end, and everything that is wrong with it, named by file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from monai_segdiff.data.findings import Finding, case_findings
from monai_segdiff.data.layout import Case, SegmentationDataset, read_dataset
from monai_segdiff.data.splits import BY_IMAGE, WITHIN_PATIENT

__all__ = ["check_dataset"]


def check_dataset(
    path: str | Path,
    classes: Mapping[str, int | Sequence[int]] | None = None,
    spatial_dims: int | None = None,
    *,
    workers: int = 1,
    progress: bool = False,
) -> list[Finding]:
    """Read every file of a data set and list what is wrong.

    Args:
        path: the data set's folder, see `read_dataset`.
        classes: class name to label id or ids; by default as the folder says.
        spatial_dims: 2 or 3 where the files must have so many axes; by default as the folder says.
        workers: number of files read at a time.
        progress: whether to show a progress bar.

    Returns:
        Findings in the order of the cases, an empty list if nothing is wrong.
    """
    try:
        dataset = read_dataset(path, check_files=False)
    except (FileNotFoundError, ValueError) as error:
        return [Finding("error", str(path), str(error), "see the layout of a data set in the documentation")]
    vocabulary = dataset.classes if classes is None else classes
    known = {int(i) for ids in vocabulary.values() for i in np.atleast_1d(ids)} or None
    dims = spatial_dims if spatial_dims is not None else dataset.spatial_dims
    cases = [case for members in dataset.splits.values() for case in members]
    findings = list(_dataset_findings(dataset, vocabulary))
    with ThreadPoolExecutor(max(1, workers)) as pool:
        results = pool.map(lambda case: list(case_findings(case, known, dims, dataset.findings)), cases)
        for found in tqdm(results, total=len(cases), desc="check", unit="case", disable=not progress):
            findings.extend(found)
    return findings


def _dataset_findings(dataset: SegmentationDataset, vocabulary: Mapping[str, Any]) -> Iterator[Finding]:
    root = str(dataset.root)
    if not vocabulary:
        remedy = 'add "labels" to dataset.json, or pass the classes'
        yield Finding("warning", root, "nothing says what the label ids mean, so they were not checked", remedy)
    for split, cases in dataset.splits.items():
        yield from _pair_findings(split, cases)
    if dataset.split_kind == BY_IMAGE:
        message = (
            "split by image: images of one patient are in training and held out, so results on them are optimistic"
        )
        yield Finding("warning", root, message, "split by patient to learn how a model does on new patients")
    seen: dict[str, str] = {}
    for split, cases in dataset.splits.items():
        for patient in sorted({case.patient for case in cases}):
            other = seen.setdefault(patient, split)
            if other != split and dataset.split_kind not in (WITHIN_PATIENT, BY_IMAGE):
                message = f"patient {patient!r} is in {other} and in {split}"
                yield Finding("error", root, message, "split by patient, e.g. with the prepare command")


def _pair_findings(split: str, cases: list[Case]) -> Iterator[Finding]:
    wanted = [key for key in ("image", "label") if any(getattr(case, key) for case in cases)]
    for case in cases:
        for key in wanted:
            if getattr(case, key) is None and (split, key) != ("test", "label"):
                message = f"case {case.id!r} in {split} has no {key}"
                yield Finding("error", str(case.label or case.image), message, f"add the {key} or remove the case")
    for name, count in Counter(case.id for case in cases).items():
        if count > 1:
            yield Finding(
                "error", name, f"{count} cases in {split} have this name", "give every case its own file name"
            )
