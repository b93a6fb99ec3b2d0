"""Files and folders that appear whole or not at all, under names that stay inside their folder, written by one run."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:  # not on Windows, where nothing tells two runs apart
    import fcntl
except ImportError:  # pragma: no cover
    fcntl = None  # type: ignore[assignment]

__all__ = ["atomic_file", "atomic_folder", "claim_folder", "inside", "remove_leftovers", "safe_name"]

_WRITER_SIGNS = ("PytorchStreamWriter", "inline_container", "iostream", "No space left")
_REMEDY = "free some space, or choose a folder that can be written to"
# An earlier version put the number of the process where the random part is.
_TEMPORARY = re.compile(r"\.tmp-([0-9a-z]+)-(.+)")


def safe_name(name: str, default: str) -> str:
    """Letters, digits and ``._+-`` of a name, with ``_`` for anything else.

    Args:
        name: any text.
        default: the name where nothing is left.
    """
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name).lstrip("._+-") or default


def inside(root: str | Path, path: str | Path) -> Path:
    """Path of something that is to be written or removed, refused where it would leave its folder.

    Args:
        root: the folder.
        path: path relative to it, or below it; names in it may come from data.

    Returns:
        The path, below `root` as that was given.

    Raises:
        ValueError: if it lies outside, also by a link; names both.
    """
    root = Path(root)
    target = root / path
    if not target.resolve().is_relative_to(root.resolve()):
        raise ValueError(
            f"{os.fspath(path)!r} leaves the folder {root}, which nothing is written outside of: rename it"
        )
    return target


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
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _to_disk(temporary)
        os.replace(temporary, path)
        _to_disk(path.parent)
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

    What runs that were killed have left of the same folder is removed first; what another run is filling stays.

    Args:
        path: the final folder; must not exist, or be empty.

    Yields:
        Empty folder to fill.

    Raises:
        OSError: if it cannot be made or renamed; names the folder and the remedy.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(path)
            temporary.mkdir()
        except OSError as error:
            raise OSError(error.errno, f"cannot write {path}: {error.strerror}; {_REMEDY}") from error
        with _lock(temporary):
            yield temporary
            try:
                os.replace(temporary, path)
            except OSError as error:
                raise OSError(error.errno, f"cannot create {path}: {error.strerror}; choose an empty folder") from error
        _to_disk(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def claim_folder(folder: str | Path) -> Iterator[Path]:
    """Keep other runs from writing to a folder for as long as the block lasts, and clear what killed ones have left.

    The lock is the system's, so it ends with its process, however that ends, and leaves nothing behind. The number of a
    process would not tell runs apart: in each container it counts from 1. Where the file system knows no locks, runs
    are not kept apart.

    Args:
        folder: the folder; created if need be.

    Yields:
        The folder.

    Raises:
        FileExistsError: if another run is writing to it.
        OSError: if it cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"cannot make the folder {folder}: {error.strerror}; {_REMEDY}") from error
    try:
        with _lock(folder):
            remove_leftovers(folder)
            yield folder
    except BlockingIOError:
        raise FileExistsError(f"another run is writing to {folder}: wait for it, or choose another folder") from None


def remove_leftovers(folder: str | Path) -> None:
    """Remove, in a folder and those below it, the temporary files and folders of runs that were killed.

    Args:
        folder: where no other process is writing files now; a folder that one is filling stays.
    """
    for leftover in sorted(Path(folder).rglob(".tmp-*")):
        if not _TEMPORARY.fullmatch(leftover.name):
            continue
        if leftover.is_dir() and not leftover.is_symlink():
            _remove_unless_locked(leftover)
        else:
            _remove_quietly(leftover)


def _temporary(path: Path) -> Path:
    return path.with_name(f".tmp-{secrets.token_hex(4)}-{path.name}")


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary folders of one folder that no run is filling."""
    for leftover in path.parent.glob(".tmp-*"):
        match = _TEMPORARY.fullmatch(leftover.name)
        if match and match[2] == path.name and leftover.is_dir():
            _remove_unless_locked(leftover)


def _remove_unless_locked(folder: Path) -> None:
    with suppress(BlockingIOError, FileNotFoundError), _lock(folder):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; BlockingIOError where another process, or another block of this one, holds it."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                raise
        yield
    finally:
        os.close(descriptor)


def _to_disk(path: Path) -> None:
    """Wait until bytes, or the names in a folder, are on the disk: a power cut must not undo what was renamed."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder on Windows
        if path.is_dir():
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _remove_quietly(path: Path) -> None:
    """Remove what a failed write left, without hiding the failure itself behind a second one."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
