"""What the files of a data set hold, in a few hashes: whether a training goes on with the data that it began with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from monai_segdiff.data.cases import Case, SegmentationDataset
from monai_segdiff.data.channels import image_files_of
from monai_segdiff.data.recorded import recorded_digests
from monai_segdiff.digests import digest_of

__all__ = ["content_digest"]

_FILES = {"label maps": "label", "region maps": "region"}
_THREADS = 4
_PATIENCE = 5.0  # seconds without a progress bar


def content_digest(
    dataset: SegmentationDataset, splits: Sequence[str] = ("training", "validation"), progress: bool = True
) -> dict[str, str]:
    """Hash what a training sees of a data set; where the folder lies plays no part.

    Files that were not changed since the data set's own list of them (`SHA256SUMS`) was written are not read.

    Args:
        dataset: from :func:`read_dataset` or :func:`open_dataset`.
        splits: names of the splits.
        progress: whether to show a bar where it takes longer than some seconds.

    Returns:
        For each split SHA-256 of its cases' names in their order, of its images, label maps, region maps, findings and
        covariates, called "set of training label maps" and so on; what a split does not have is left out.

    Raises:
        OSError: if a file cannot be read.
    """
    cases = [case for split in splits for case in dataset.splits.get(split, [])]
    files = list(dict.fromkeys(file for case in cases for file in _files(case)))
    known = recorded_digests(dataset.root)
    unknown = [file for file in files if file not in known]
    with ThreadPoolExecutor(_THREADS) as threads:
        hashed = threads.map(digest_of, unknown)
        bar = tqdm(hashed, "hashing the data", len(unknown), unit="file", delay=_PATIENCE, disable=not progress)
        known |= dict(zip(unknown, bar, strict=True))
    found: dict[str, str] = {}
    for split in splits:
        for what, content in _contents(dataset.splits.get(split, []), known):
            if any(part is not None for part in content):
                found[f"set of {split} {what}"] = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return found


def _files(case: Case) -> list[Path]:
    return [file for file in (*image_files_of(case), case.label, case.region) if file is not None]


def _of_image(digests: list[str]) -> str | list[str] | None:
    """That of the one file of an image, or those of its channels."""
    return digests if len(digests) > 1 else next(iter(digests), None)


def _contents(cases: Sequence[Case], known: dict[Path, str]) -> Iterable[tuple[str, list[Any]]]:
    """Of each kind, what the cases hold, in their order."""
    yield "cases", [case.id for case in cases]
    yield "images", [_of_image([known[file] for file in image_files_of(case)]) for case in cases]
    for what, key in _FILES.items():
        yield what, [None if (file := getattr(case, key)) is None else known[file] for case in cases]
    yield "findings", [None if case.findings is None else sorted(case.findings) for case in cases]
    yield "covariates", [sorted(case.covariates) or None for case in cases]
