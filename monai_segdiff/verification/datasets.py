"""Data sets: what their files hold, beside what was recorded when they were written."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from tqdm.auto import tqdm

from monai_segdiff.data import Issue, check_dataset, read_dataset
from monai_segdiff.digests import DIGESTS, digest_of, read_digests
from monai_segdiff.documents import read_json
from monai_segdiff.verification.verdict import Verdict

__all__ = ["files_to_record", "leftovers", "verify_dataset"]

# How long samples took is the run's and no part of the data set, so it is not recorded.
_TIMES = "manifest.seconds.json"
_UNFINISHED = ("manifest.header.json", "manifest.*.jsonl", "make_drr.json")
_AGAIN = "run the command that makes it again, which goes on from here"
_RESTORE = "restore it from a copy, or make the data set again"


def verify_dataset(root: Path, progress: bool = False) -> Verdict:
    """See :func:`~monai_segdiff.verification.verify`.

    Args:
        root: its folder.
        progress: whether to show a progress bar.
    """
    issues = list(leftovers(root, _AGAIN))
    unfinished = [file for pattern in _UNFINISHED for file in sorted(root.glob(pattern))]
    for file in unfinished[:1]:
        issues.append(Issue("error", str(file), "is of a run that has not ended", _AGAIN))
    if not os.path.lexists(root / DIGESTS):
        if unfinished:
            return Verdict("data set", tuple(issues), 1, recorded=True)
        try:
            files = _files_of(root)
        except FileNotFoundError:  # the run that was to make it was killed before it had made anything
            if not issues:
                raise
            return Verdict("data set", tuple(issues), 0, recorded=True)
        return Verdict("data set", (*issues, *check_dataset(root, progress=progress)), files, recorded=False)
    try:
        recorded = read_digests(root)
    except (ValueError, FileNotFoundError) as error:
        message, _, remedy = str(error).removeprefix(f"{root / DIGESTS}").lstrip(": ").partition("; ")
        issues.append(Issue("error", str(root / DIGESTS), message, remedy))
        return Verdict("data set", tuple(issues), 1, recorded=True)
    for name in tqdm(sorted(recorded), desc="verify", unit="file", disable=not progress):
        issues.extend(_file_issues(root / name, recorded[name]))
    issues.extend(_named_issues(root, recorded))
    issues.extend(_unrecorded_issues(root, {DIGESTS, *recorded, *(file.name for file in unfinished)}))
    return Verdict("data set", tuple(issues), len(recorded), recorded=True)


def files_to_record(root: Path) -> list[Path]:
    """Files of a data set whose content is part of it.

    Args:
        root: its folder.
    """
    left_out = {DIGESTS, _TIMES}
    files = (file for file in root.rglob("*") if file.is_file())
    return sorted(f for f in files if f.name not in left_out and not any(p.startswith(".") for p in _parts(root, f)))


def leftovers(root: Path, remedy: str) -> Iterator[Issue]:
    """What runs that were killed have left.

    Args:
        root: a folder.
        remedy: what to do about it.
    """
    for path in sorted(root.rglob(".tmp-*")):
        if not any(part.startswith(".tmp-") for part in _parts(root, path)[:-1]):
            yield Issue("error", str(path), "was left by a run that was killed, or is being written", remedy)


def _parts(root: Path, path: Path) -> tuple[str, ...]:
    return path.relative_to(root).parts


def _file_issues(file: Path, digest: str) -> Iterator[Issue]:
    try:
        if not file.is_file():
            yield Issue("error", str(file), f"is missing, {DIGESTS} lists it", _RESTORE)
            return
        found = digest_of(file)
    except OSError as error:
        yield Issue("error", str(file), f"cannot be read ({error.strerror}), {DIGESTS} lists it", _RESTORE)
        return
    if found != digest:
        yield Issue("error", str(file), f"is not what {DIGESTS} says: it was changed or damaged", _RESTORE)


def _named_issues(root: Path, recorded: Mapping[str, str]) -> Iterator[Issue]:
    """Whether the description can be read, and everything that it names is recorded."""
    if "dataset.json" not in recorded:  # folders alone, or a set of which no image was accepted
        return
    file = root / "dataset.json"
    try:
        dataset = read_dataset(root, check_files=False)
    except (FileNotFoundError, ValueError) as error:
        yield Issue("error", str(file), f"cannot be read ({' '.join(str(error).split())})", _RESTORE)
        return
    files = (f for cases in dataset.splits.values() for c in cases for f in (c.image, c.label, c.region) if f)
    unrecorded = sorted({str(f) for f in files if not _is_recorded(f, root.resolve(), recorded)})
    for name in unrecorded:
        yield Issue("error", str(file), f"names {name}, which {DIGESTS} does not list", _RESTORE)


def _is_recorded(file: Path, root: Path, recorded: Mapping[str, str]) -> bool:
    return file.is_relative_to(root) and file.relative_to(root).as_posix() in recorded


def _unrecorded_issues(root: Path, known: Collection[str]) -> Iterator[Issue]:
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        name = file.relative_to(root).as_posix()
        if name == _TIMES:
            try:
                read_json(file)
            except ValueError as error:
                message, _, _ = str(error).removeprefix(f"{file} ").partition("; ")
                yield Issue("error", str(file), message, _RESTORE)
        elif name not in known and not any(part.startswith(".tmp-") for part in _parts(root, file)):
            yield Issue(
                "warning", str(file), f"is not in {DIGESTS}, so it is no part of the data set", "take it elsewhere"
            )


def _files_of(root: Path) -> int:
    """Number of files that the description names; none where it cannot be read, which `check_dataset` says."""
    try:
        dataset = read_dataset(root, check_files=False)
    except ValueError:
        return 0
    return sum(f is not None for cases in dataset.splits.values() for c in cases for f in (c.image, c.label, c.region))
