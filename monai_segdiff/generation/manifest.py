"""What was generated, from what, and how: one record a sample, never lost and never half written."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_segdiff.data.description.records import check_record, files_of, read_manifest, read_seconds
from monai_segdiff.digests import DIGESTS, digest_of, digests_of, read_digests, write_digests
from monai_segdiff.documents import parse_json, read_json
from monai_segdiff.errors import reading
from monai_segdiff.files import atomic_file

__all__ = ["Manifest"]

_FORMAT = 1
_RESULTS = ("samples", "rejected", "acceptance")  # what is found out, beside the header
_FILE, _HEADER_FILE, _SECONDS_FILE = "manifest.json", "manifest.header.json", "manifest.seconds.json"
_LONGEST_LINE = 2**20
_REMEDY = "restore it, start anew (--overwrite), or give another folder"


class Manifest:
    """The records of a generated data set.

    While samples are made, each process appends to a journal of its own, a line a sample, after the sample's files are
    complete. ``finish`` gathers the journals in ``manifest.json``. Whatever is killed and whenever, what a line names
    is there. The time that a sample took (``seconds`` of its record) is a fact of the run and not of the result, which
    is the same however it was made: it goes to ``manifest.seconds.json``, by sample index. A record without an image is
    one of a sample that was rejected. The journals, and ``SHA256SUMS`` of a finished set, say what a sample's files
    hold: one that was changed or damaged since counts no more than one that is gone.

    Args:
        root: folder of the data set.
        header: what all samples share: generator, weights, settings, masks.

    Raises:
        ValueError: if the folder holds samples that were made otherwise.
        OSError: if the folder cannot be written.
    """

    def __init__(self, root: str | os.PathLike[str], header: Mapping[str, Any]) -> None:
        self.root = Path(root)
        self._digests: dict[str, str] = {}
        self.header = {"format": _FORMAT, **json.loads(json.dumps(header))}
        self._check_header()
        with atomic_file(self._header_file) as temporary:
            temporary.write_text(json.dumps(self.header, indent=1))

    @classmethod
    def owns(cls, root: str | os.PathLike[str]) -> bool:
        """Tell whether a folder holds what was generated here, finished or not.

        Args:
            root: an existing folder.

        Raises:
            UnreadableFileError: if what should tell is damaged.
        """
        damaged: ValueError | None = None
        for file in (Path(root) / name for name in (_FILE, _HEADER_FILE)):
            try:
                found = _read(file) if file.is_file() else None
            except ValueError as error:
                damaged = error
                continue
            if isinstance(found, dict) and found.get("synthetic") is True:
                return True
        if damaged is not None:
            raise damaged
        return False

    @property
    def _header_file(self) -> Path:
        return self.root / _HEADER_FILE

    @property
    def _seconds_file(self) -> Path:
        return self.root / _SECONDS_FILE

    @property
    def file(self) -> Path:
        """The finished manifest."""
        return self.root / _FILE

    def _check_header(self) -> None:
        for file in (self.file, self._header_file):
            if not file.is_file():
                continue
            found = _read(file)
            if not isinstance(found, dict):
                raise ValueError(f"{file} is no manifest: {_REMEDY}")
            keys = [*self.header, *(key for key in found if key not in self.header and key not in _RESULTS)]
            differing = [key for key in keys if found.get(key) != self.header.get(key)]
            if differing:
                raise ValueError(
                    f"{file} was made with another {' and '.join(differing)}: {self._difference(found, differing)}give "
                    "the same arguments to go on, or another folder, or remove this one to start anew (--overwrite)"
                )

    def _difference(self, found: Mapping[str, Any], keys: Sequence[str]) -> str:
        """One of the values that differ, where it can be told in a few words."""
        for key in keys:
            theirs, ours = found.get(key), self.header.get(key)
            if not (isinstance(theirs, dict) and isinstance(ours, dict)):
                continue
            for name in ours:
                values = json.dumps(theirs.get(name)), json.dumps(ours[name])
                if values[0] != values[1] and max(map(len, values)) < 40 and name != "sha256":
                    return f"{name} is {values[0]} there and {values[1]} here; "
        return ""

    def records(self) -> dict[int, dict[str, Any]]:
        """Everything that is complete, by sample index: records whose files are there and hold what they held."""
        return {index: record for index, record in self._named().items() if self._holds(record)}

    def _named(self) -> dict[int, dict[str, Any]]:
        """Records whose files are there, with what these held when they were written (``sha256``) if that is known."""
        found: dict[int, dict[str, Any]] = {}
        recorded = _Recorded(self.root)
        content = read_manifest(self.root, remedy=_REMEDY)
        if content and not recorded.holds(self.file):
            raise ValueError(f"{self.file} is not what {DIGESTS} beside it says: it was changed or damaged; {_REMEDY}")
        seconds = read_seconds(self.root) if content else {}
        for record in [*content.get("samples", []), *content.get("rejected", [])]:
            index = _index(record, self.file)
            known = {"seconds": seconds.get(str(index)), "sha256": recorded.of(files_of(record))}
            found[index] = record | {key: value for key, value in known.items() if value is not None}
        for journal in sorted(self.root.glob("manifest.*.jsonl")):
            found |= {_index(record, journal): record for record in self._lines(journal)}
        images = [record["image"] for record in found.values() if "image" in record]
        if len(set(images)) < len(images):
            raise ValueError(f"the manifest in {self.root} names an image for two samples: it was changed; {_REMEDY}")
        there = (r for r in found.values() if all((self.root / file).exists() for file in files_of(r)))
        return {record["index"]: record for record in sorted(there, key=lambda record: record["index"])}

    def _lines(self, journal: Path) -> Iterator[dict[str, Any]]:
        """The records of a journal, but for lines that a kill cut short, or that were damaged: these are made anew."""
        seen: dict[str, Path] = {}
        with open(journal, "rb") as lines:
            # A line that is longer than any record is none, and not worth the memory.
            while line := lines.readline(_LONGEST_LINE):
                try:
                    record = parse_json(line.decode())
                except ValueError:
                    continue
                with reading(journal, "records of samples", _REMEDY):
                    check_record(record, self.root, seen)
                if record.pop("check", None) in (None, _check(record)):
                    yield record

    def _holds(self, record: Mapping[str, Any]) -> bool:
        """Whether a sample's files are what they were; where that is not known they are taken as they are."""
        return "sha256" not in record or digests_of(self.root, files_of(record)) == record["sha256"]

    def append(self, record: Mapping[str, Any], rank: int) -> None:
        """Add one sample, whose files are complete.

        Args:
            record: its ``index``, ``image``, ``label`` and whatever else is to be known; neither image nor label of a
                sample that was rejected. What its files hold is added.
            rank: number of this process.

        Raises:
            OSError: if it cannot be written; names the file and the remedy.
        """
        journal = self.root / f"manifest.{rank}.jsonl"
        record = {**record, "sha256": digests_of(self.root, files_of(record))}
        line = json.dumps({**record, "check": _check(record)}, allow_nan=False)
        try:
            with open(journal, "ab+") as file:
                # A line that a kill cut short must not swallow this one.
                torn = file.tell() > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"
                file.write((("\n" if torn else "") + line + "\n").encode())
        except OSError as error:
            raise OSError(
                f"cannot write {journal}: {error.strerror}; free some space and run again, finished samples stay"
            ) from error

    def finish(self) -> list[dict[str, Any]]:
        """Write ``manifest.json`` and ``manifest.seconds.json`` from all journals and remove these.

        What the files hold is no part of the manifest, which does not depend on how a network rounds: see ``seal``.

        Returns:
            The records of what was kept, without their times, by index.
        """
        records = self._named()
        seconds = {index: record["seconds"] for index, record in records.items() if "seconds" in record}
        for record in records.values():
            self._digests |= record.get("sha256") or digests_of(self.root, files_of(record))
        of_the_run = ("seconds", "sha256")
        timeless = [{key: value for key, value in r.items() if key not in of_the_run} for r in records.values()]
        samples, rejected = ([r for r in timeless if ("image" in r) == kept] for kept in (True, False))
        content = {**self.header, **_acceptance(samples, rejected), "samples": samples}
        if rejected:
            content["rejected"] = rejected
        if seconds:
            with atomic_file(self._seconds_file) as temporary:
                temporary.write_text(json.dumps(seconds))
        (self.root / DIGESTS).unlink(missing_ok=True)  # which is of the manifest that was there before
        with atomic_file(self.file) as temporary:
            temporary.write_text(json.dumps(content, indent=1))
        for leftover in [*self.root.glob("manifest.*.jsonl"), self._header_file]:
            leftover.unlink(missing_ok=True)
        return samples

    def seal(self) -> None:
        """Write ``SHA256SUMS``: what every file of the set holds, when ``finish`` and whatever follows are through.

        Raises:
            OSError: if it cannot be written.
        """
        whole = [self.root / name for name in ("dataset.json", _FILE) if (self.root / name).is_file()]
        write_digests(self.root, {**self._digests, **digests_of(self.root, whole)})


class _Recorded:
    """What the files of a finished set hold, as its list says."""

    def __init__(self, root: Path) -> None:
        self._digests = read_digests(root) if (root / DIGESTS).is_file() else {}
        self._in_folder: dict[str, dict[str, str]] = defaultdict(dict)
        for name, digest in self._digests.items():
            self._in_folder[str(Path(name).parent)][name] = digest

    def holds(self, file: Path) -> bool:
        """Whether a file is what it was; one that is not listed is."""
        listed = self._digests.get(file.name)
        return listed is None or listed == digest_of(file)

    def of(self, files: Sequence[str]) -> dict[str, str] | None:
        """Those of files and folders of files; None where one is not listed."""
        found: dict[str, str] = {}
        for file in files:
            listed = {file: self._digests[file]} if file in self._digests else self._in_folder.get(file)
            if listed is None:
                return None
            found |= listed
        return found or None


def _index(record: Mapping[str, Any], file: Path) -> int:
    if "index" not in record:
        raise ValueError(f"{file} holds a record of a sample without its index; {_REMEDY}")
    return int(record["index"])


def _check(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()[:16]


def _acceptance(samples: list[dict[str, Any]], rejected: list[dict[str, Any]]) -> dict[str, Any]:
    """Share of the images drawn that were kept, where each was judged."""
    tries = sum(record.get("tries", 0) for record in [*samples, *rejected])
    if tries == 0:
        return {}
    return {"acceptance": {"drawn": tries, "kept": len(samples), "rate": round(len(samples) / tries, 6)}}


def _read(file: Path) -> Any:
    return read_json(file, "a manifest", remedy=_REMEDY, most_bytes=2**31)
