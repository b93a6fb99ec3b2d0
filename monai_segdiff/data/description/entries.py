"""Single entries of `dataset.json`: texts, lists of names, and cases with the paths of their files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any

from monai_segdiff.data.case_files import case_name, default_patient, file_extension
from monai_segdiff.data.cases import Case

__all__ = ["case_of", "names_of", "text_of"]

_FILES = ("image", "label", "region")


def text_of(content: Mapping[str, Any], key: str) -> str:
    """A text, empty where there is none; a number is taken as its text.

    Raises:
        ValueError: if it is something else.
    """
    value = content.get(key)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{key!r} must be text, got {str(value)[:80]!r}")
    return str(value)


def names_of(listed: Any) -> tuple[str, ...] | None:
    """Names of findings; None where nothing is said.

    Raises:
        ValueError: if it is no list of names, or names one twice.
    """
    if listed is None:
        return None
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ValueError(f"findings must be a list of names, got {str(listed)[:80]}")
    if len(set(listed)) < len(listed):
        raise ValueError(f"findings must be named once each, got {', '.join(listed)[:80]}")
    return tuple(listed)


def case_of(entry: Any, root: Path, what: str, patients_known: bool = True) -> Case:
    """A case from its entry: an object with `image`, `label`, `patient`, `findings`, `region`; or an image's path.

    Args:
        entry: the entry.
        root: folder that its paths are relative to.
        what: which entry it is, for messages.
        patients_known: whether the patients that are named are more than the files' names.

    Raises:
        ValueError: if it is neither, or a part of it is of another kind; says which entry.
    """
    if isinstance(entry, str):
        entry = {"image": entry}
    if not isinstance(entry, dict):
        raise ValueError(f"{what} must be an object with image and label, got {str(entry)[:80]!r}")
    try:
        files = {key: _file(root, entry.get(key), key) for key in _FILES}
        first = files["label"] or files["image"]
        if first is None:
            raise ValueError(f"it has neither image nor label: {str(entry)[:80]}")
        patient = text_of(entry, "patient")
        if entry.get("patient") is not None and not patient.strip():
            raise ValueError("its patient is blank; leave it out where it is not known")
        findings = names_of(entry.get("findings"))
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    name = case_name(first)
    known = bool(patient) and patients_known
    owner = patient or default_patient(name)
    return Case(name, files["image"], files["label"], owner, findings, files["region"], patient_known=known)


def _file(root: Path, path: Any, key: str) -> Path | None:
    """Absolute path of a file of a case."""
    if path is None or path == "":
        return None
    if isinstance(path, list) and len(path) == 1:
        path = path[0]
    if isinstance(path, list):
        raise ValueError(f"its {key} is in {len(path)} files, and one channel is read: name one of them")
    if not isinstance(path, str) or not path.isprintable():
        raise ValueError(f"its {key} must be the path of a file, got {str(path)[:80]!r}")
    try:
        given = _absolute(root / path)
        if given.is_file():
            return given
        if "\\" in path:  # as Windows writes it
            path = path.replace("\\", "/")
            given = _absolute(root / path)
        return given if given.is_file() or key != "image" else _with_channel(given)
    except (OSError, RuntimeError) as error:  # a name that is too long, links that go round
        raise ValueError(f"its {key} cannot be looked for: {error}") from error


def _with_channel(image: Path) -> Path:
    """The file that is there under the name with its channel, `_0000`, as nnU-Net's first version has it."""
    extension = file_extension(image)
    stem = image.name[: len(image.name) - len(extension)]
    found = sorted(image.parent.glob(f"{escape(stem)}_[0-9][0-9][0-9][0-9]{escape(image.name[len(stem) :])}"))
    if len(found) > 1:
        raise ValueError(
            f"{image.name} is in {len(found)} channels ({', '.join(file.name for file in found)}), and one channel is "
            "read: keep one of them there, and move the others away"
        )
    return _absolute(found[0]) if found else image


def _absolute(path: Path) -> Path:
    """The path without `..`; links stay, as what they lead to may have another name (a hash, in an archive of data)."""
    return Path(os.path.abspath(path))
