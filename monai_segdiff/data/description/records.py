"""What a generated data set says of its samples: read back as plain data, whose names stay inside its folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai_segdiff.documents import read_json
from monai_segdiff.errors import reading
from monai_segdiff.files import inside

__all__ = ["check_record", "files_of", "read_manifest", "read_seconds"]

_FILES = ("image", "label", "anatomy", "region_map", "dicom_series", "dicom_seg", "picture")
_MOST_BYTES = 2**31


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_covariates(value: Any) -> bool:
    return isinstance(value, dict) and all(v is not None and (_is_text(v) or _is_number(v)) for v in value.values())


def _maps_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys((*_FILES, "mask", "patient", "region_source"), (_is_text, "text")),
    **dict.fromkeys(("index", "tries", "noise_index"), (_is_count, "a whole number from 0")),
    **dict.fromkeys(("seconds", "score", "evaluations", "seam_gradient"), (_is_number, "a number")),
    "findings": (_are_texts, "a list of names"),
    "covariates": (_are_covariates, "an object of numbers and texts"),
    "source": (_maps_texts, "an object of names"),
    "sha256": (_maps_texts, "an object of names"),
}


def check_record(record: Any, root: str | os.PathLike[str], seen: dict[str, Path] | None = None) -> dict[str, Any]:
    """Refuse what is no record of a sample, or names a file outside the data set.

    Args:
        record: what stands in a file; other keys than those known are left alone.
        root: folder of the data set.
        seen: folders that were found to lie inside, which others of its records need not ask for again.

    Returns:
        The record.

    Raises:
        ValueError: for anything else.
    """
    if not isinstance(record, dict):
        raise ValueError(f"a record of a sample is no {type(record).__name__}")
    for key, (is_right, kind) in _KINDS.items():
        if key in record and not is_right(record[key]):
            raise ValueError(f"in a record of a sample {key!r} is {record[key]!r:.50}, which is not {kind}")
    seen = {} if seen is None else seen
    for file in files_of(record):
        folder, name = os.path.split(file)
        if folder not in seen:
            seen[folder] = inside(Path(root), folder) if folder else Path(root)
        if name in ("", ".", "..") or "\0" in name or os.path.islink(seen[folder] / name):
            inside(Path(root), file)
    return record


def files_of(record: Mapping[str, Any]) -> list[str]:
    """Files and folders of a sample, relative to the data set's folder.

    Args:
        record: the sample's.
    """
    named = [record[key] for key in _FILES if key in record]
    return [*named, record["source"]["label"]] if "label" in record.get("source", {}) else named


def read_manifest(
    root: str | os.PathLike[str], *, remedy: str = "generate the images again, or remove the file"
) -> dict[str, Any]:
    """What was written beside generated images, or nothing where there is no such file.

    Args:
        root: folder of the data set.
        remedy: what helps, for messages.

    Returns:
        The content of ``manifest.json``, its records checked.

    Raises:
        UnreadableFileError: if it is damaged, or names files outside the folder; names it and the remedy.
    """
    file = Path(root) / "manifest.json"
    if not file.is_file():
        return {}
    content = read_json(file, "a manifest", remedy=remedy, most_bytes=_MOST_BYTES)
    with reading(file, "a manifest", remedy):
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
        seen: dict[str, Path] = {}
        for key in ("samples", "rejected"):
            records = content.get(key, [])
            if not isinstance(records, list):
                raise ValueError(f"its {key} are no list")
            for record in records:
                check_record(record, root, seen)
        _check_about(content)
    return content


def _check_about(content: Mapping[str, Any]) -> None:
    """What the evaluation goes by."""
    dropped = content.get("dropped_classes", {"names": [], "fill": ""})
    if not (isinstance(dropped, dict) and _are_texts(dropped.get("names")) and _is_text(dropped.get("fill"))):
        raise ValueError("its dropped_classes are no names with a fill")
    accept = content.get("accept", {"threshold": 0})
    if not (isinstance(accept, dict) and _is_number(accept.get("threshold")) and accept["threshold"] is not None):
        raise ValueError("its accept has no threshold")


def read_seconds(root: str | os.PathLike[str]) -> dict[str, float]:
    """How long samples took, by their index; nothing where there is no such file.

    Args:
        root: folder of the data set.

    Raises:
        UnreadableFileError: if it is damaged.
    """
    file = Path(root) / "manifest.seconds.json"
    if not file.is_file():
        return {}
    kind, remedy = "seconds by sample", "remove the file: it holds nothing but times"
    content = read_json(file, kind, remedy=remedy, most_bytes=_MOST_BYTES)
    with reading(file, kind, remedy):
        if not isinstance(content, dict) or not all(map(_is_number, content.values())) or None in content.values():
            raise ValueError("it is no object of numbers")
    return content
