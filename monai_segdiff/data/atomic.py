"""Files and folders that appear under their name only once they are complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_file", "atomic_folder", "remove_leftovers"]

_WRITER_SIGNS = ("PytorchStreamWriter", "inline_container", "iostream", "No space left")
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
        _to_disk(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        # torch.save reports a full disk as a RuntimeError of its zip writer; any other is not about the file.
        if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in _WRITER_SIGNS):
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        failure = OSError(f"cannot write {path}: {reason}; what was there before is unharmed; {_REMEDY}")
        failure.errno = getattr(error, "errno", None)
        raise failure from error
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


def _to_disk(path: Path) -> None:
    """Wait until the bytes are on the disk: a renamed file must not be an empty one after a power cut."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def remove_leftovers(folder: str | Path) -> None:
    """Remove, in a folder and those below it, the temporary files of processes that were killed while they wrote.

    Args:
        folder: where no other process is writing now.
    """
    for leftover in Path(folder).rglob(".tmp-*"):
        if leftover.is_file():
            _remove_quietly(leftover)


def _remove_quietly(path: Path) -> None:
    """Remove what a failed write left, without hiding the failure itself behind a second one."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
