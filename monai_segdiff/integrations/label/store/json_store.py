"""What the application notes for itself, one JSON file each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_segdiff.documents import read_json
from monai_segdiff.files import atomic_file

__all__ = ["read_notes", "write_notes"]


def read_notes(file: Path) -> dict[str, Any] | None:
    """Read notes; None where there are none.

    Args:
        file: their file.

    Raises:
        RuntimeError: if the file is damaged; names it.
    """
    try:
        found = read_json(file, "notes of the application")
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RuntimeError(f"{file} is damaged ({error.__cause__ or error}): restore it, or remove it") from error
    if not isinstance(found, dict):
        raise RuntimeError(f"{file} is damaged (no JSON object): restore it, or remove it")
    return found


def write_notes(file: Path, content: Mapping[str, Any]) -> None:
    """Write notes; they appear once they are complete.

    Args:
        file: their file.
        content: of JSON types.

    Raises:
        OSError: if they cannot be written.
    """
    with atomic_file(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1))
