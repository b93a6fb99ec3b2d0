"""Files and folders that appear under their name only once they are complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_file", "atomic_folder"]

_REMEDY = "free some space, or choose a folder that can be written to"


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Temporary path beside `path`, renamed to it when the block ends, removed when the block fails.

    Args:
        path: the final file; its folder is created if need be.

    Yields:
        Path to write to, with the same file extension.

    Raises:
        OSError: if it cannot be written (full disk, no permission); names the file and the remedy.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}; {_REMEDY}") from error
    finally:
        _remove_quietly(temporary)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Temporary folder beside `path`, renamed to it when the block ends, removed with its files when the block fails.

    Args:
        path: the final folder; must not exist, or be empty.

    Yields:
        Empty folder to fill.

    Raises:
        OSError: if it cannot be made or renamed; names the folder and the remedy.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        try:
            temporary.mkdir(parents=True)
        except OSError as error:
            raise OSError(error.errno, f"cannot write {path}: {error.strerror}; {_REMEDY}") from error
        yield temporary
        try:
            os.replace(temporary, path)
        except OSError as error:
            raise OSError(error.errno, f"cannot create {path}: {error.strerror}; choose an empty folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_quietly(path: Path) -> None:
    """Remove what a failed write left, without hiding the failure itself behind a second one."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
