"""Files and folders that appear whole or not at all, under names that stay inside their folder, written by one run."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

try:  # not on Windows, where nothing tells two runs apart
    import fcntl
except ImportError:  # pragma: no cover
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "atomic_file",
    "atomic_folder",
    "claim_folder",
    "fill_with",
    "inside",
    "names_in",
    "remove_leftovers",
    "safe_name",
]

_WRITER_SIGNS = ("PytorchStreamWriter", "inline_container", "iostream", "No space left")
_REMEDY = "free some space, or choose a folder that can be written to"
_REMEDIES = {
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ENOTEMPTY: "choose an empty folder",
    errno.EEXIST: "something else is there, choose another folder",
    errno.ENOTDIR: "a file is in the way, choose another folder",
}
# An earlier version put the number of the process where the random part is.
_TEMPORARY = re.compile(r"\.tmp-(\d+|[0-9a-f]{16})-(.+)", re.DOTALL)
_LONGEST = 120  # characters of a name, far below the 255 bytes that file systems allow
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_WAITING = 16  # files that are waited for at a time
_locked: set[int] = set()  # descriptors whose locks this process holds
_filling: set[Path] = set()  # folders whose files go to the disk together, before the folder gets its name


def safe_name(name: str, default: str) -> str:
    """Letters, digits and ``._+-`` of a name, with ``_`` for anything else; a long one ends in a hash of the rest.

    Args:
        name: any text.
        default: the name where nothing is left.
    """
    safe = re.sub(r"[^A-Za-z0-9._+-]", "_", name).lstrip("._+-") or default
    if len(safe) <= _LONGEST:
        return safe
    return f"{safe[: _LONGEST - 9]}-{hashlib.sha256(safe.encode()).hexdigest()[:8]}"


def inside(root: str | Path, path: str | Path) -> Path:
    """Path of something that is to be written, read or removed, refused where it would leave its folder.

    Args:
        root: the folder.
        path: path relative to it, or below it; names in it may come from data.

    Returns:
        The path, below `root` as that was given.

    Raises:
        ValueError: if it lies outside, also by a link, or is the folder itself; names both.
    """
    root = Path(root)
    try:
        target = root / path
        found, top = target.resolve(), root.resolve()
    except (ValueError, RuntimeError):  # a zero byte, a link to itself
        found, top = Path("/"), root
    if found == top or not found.is_relative_to(top):
        raise ValueError(f"{os.fspath(path)!r} is no path inside {root}, which nothing may leave: rename it")
    return target


@contextmanager
def atomic_file(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Temporary path beside `path`, renamed to it when the block ends, removed when the block fails.

    The temporary file is there, empty, and locked for as long as the block lasts; it is to be written in place.

    Args:
        path: the final file; its folder is created if need be.
        durable: whether to wait until it is on the disk; False where its reader notices that it is not whole.

    Yields:
        Path to write to, with the same file extension.

    Raises:
        OSError: if it cannot be written (full disk, no permission); names the file and the remedy.
    """
    path = Path(path)
    with ExitStack() as held:
        try:
            _make_folder(path.parent)
            temporary = held.enter_context(_temporary(path, _create))
            yield temporary
            later = not durable or not _filling.isdisjoint(path.parents)
            if not later:
                _to_disk(temporary)
            os.replace(temporary, path)
            if not later:
                _to_disk(path.parent)
        except (OSError, RuntimeError) as error:
            # torch.save reports a full disk as a RuntimeError of its zip writer; any other is not about the file.
            if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in _WRITER_SIGNS):
                raise
            if isinstance(error, OSError) and _is_of_another(error, path):
                raise
            raise _refused(f"cannot write {path}", error, "; what was there before is unharmed") from error


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
    with ExitStack() as held:
        try:
            _make_folder(path.parent)
            _remove_abandoned(path)
            temporary = held.enter_context(_temporary(path, Path.mkdir))
        except OSError as error:
            raise _refused(f"cannot write {path}", error) from error
        _filling.add(temporary)
        held.callback(_filling.discard, temporary)
        yield temporary
        try:
            made = [Path(parent, name) for parent, _, names in os.walk(temporary) for name in (*names, "")]
            with ThreadPoolExecutor(_WAITING) as threads:  # a disk writes many files at a time
                list(threads.map(_to_disk, (path for path in made if not path.is_symlink())))
            os.replace(temporary, path)
            _to_disk(path.parent)
        except OSError as error:
            raise _refused(f"cannot create {path}", error) from error


def fill_with(folder: str | Path) -> None:
    """Help the process that fills an `atomic_folder`, for as long as this one lives: files go to the disk with it.

    Args:
        folder: the temporary folder that the other process fills.
    """
    _filling.add(Path(folder))


@contextmanager
def claim_folder(folder: str | Path) -> Iterator[Path]:
    """Keep other runs from writing to a folder for as long as the block lasts, and clear what killed ones have left.

    Cleared are the folder and those in it, but not what lies deeper: it may be any folder that a user names. The lock
    is the system's, so it ends with its process, however that ends, and leaves nothing behind. The number of a process
    would not tell runs apart: in each container it counts from 1. Where the file system knows no locks, runs are not
    kept apart.

    Args:
        folder: the folder; created if need be, and removed again where the block fails and it is empty.

    Yields:
        The folder.

    Raises:
        FileExistsError: if another run is writing to it.
        OSError: if it cannot be made.
    """
    folder = Path(folder)
    made = not folder.exists()
    with ExitStack() as held:
        try:
            locked = None
            while locked is None:  # it may be removed in between
                _make_folder(folder)
                locked = held.enter_context(_lock(folder))
        except BlockingIOError:
            raise FileExistsError(
                f"another run is writing to {folder}: wait for it, or choose another folder"
            ) from None
        except OSError as error:
            raise _refused(f"cannot make the folder {folder}", error) from error
        remove_leftovers(folder, depth=1)
        try:
            yield folder
        except BaseException:
            remove_leftovers(folder, depth=1)  # of processes that this one had started
            if made:
                with suppress(OSError):  # unless it holds something by now
                    folder.rmdir()
            raise


def names_in(folder: str | Path) -> list[str]:
    """Names of what a folder holds, sorted, without what runs that were killed have left; none if there is no folder.

    Args:
        folder: the folder.

    Raises:
        NotADirectoryError: if it is something else.
    """
    folder = Path(folder)
    if not folder.exists():
        return []
    return sorted(path.name for path in folder.iterdir() if not _TEMPORARY.fullmatch(path.name))


def remove_leftovers(folder: str | Path, depth: int | None = None) -> None:
    """Remove, in a folder and those below it, the temporary files and folders of runs that were killed.

    What a run is still writing is locked, and stays.

    Args:
        folder: the folder.
        depth: how far below it, 0 for the folder alone; all the way by default.
    """
    for parent, folders, files in os.walk(folder):
        for name in [name for name in (*folders, *files) if _TEMPORARY.fullmatch(name)]:
            _remove_unless_locked(Path(parent, name))
        deep = depth is not None and len(Path(parent).relative_to(folder).parts) >= depth
        folders[:] = [] if deep else [name for name in folders if not _TEMPORARY.fullmatch(name)]


@contextmanager
def _temporary(path: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """A file or folder beside another, of a new name, locked, and removed at the end."""
    with ExitStack() as held:
        locked = None
        while locked is None:
            temporary = path.with_name(f".tmp-{secrets.token_hex(8)}-{_stem(path)}")
            held.callback(_remove, temporary)
            make(temporary)
            with suppress(BlockingIOError):  # who clears leftovers took it for one before it was locked
                locked = held.enter_context(_lock(temporary))
        yield temporary


def _stem(path: Path) -> str:
    """The end of a file's name, which leaves room for what a temporary name has before it."""
    return path.name.encode()[-200:].decode(errors="ignore")


def _create(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def _make_folder(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _to_disk(path.parent)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary folders of one folder that no run is filling."""
    for leftover in path.parent.glob(".tmp-*"):
        match = _TEMPORARY.fullmatch(leftover.name)
        if match and match[2] == _stem(path) and leftover.is_dir():
            _remove_unless_locked(leftover)


def _remove_unless_locked(path: Path) -> None:
    if path.is_symlink():
        _remove(path)
        return
    with suppress(OSError), _lock(path) as locked:
        if locked:
            _remove(path)


@contextmanager
def _lock(path: Path) -> Iterator[bool | None]:
    """Hold the lock of a file or folder.

    Yields:
        Whether it is locked: False where the file system knows no locks, None where the file or folder was removed, or
        replaced, before it was locked.

    Raises:
        BlockingIOError: if another process, or another block of this one, holds it.
    """
    if fcntl is None:
        yield False
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield None
        return
    _locked.add(descriptor)
    try:
        locked: bool | None = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                raise BlockingIOError(error.errno, error.strerror, os.fspath(path)) from None
            locked = False
        yield locked if _is_same(descriptor, path) else None
    finally:
        if descriptor in _locked:
            _locked.discard(descriptor)
            os.close(descriptor)


def _leave_locks() -> None:
    """In a process that was forked: a worker that outlives the run by seconds must not hold its locks for as long."""
    for descriptor in _locked:
        os.close(descriptor)
    _locked.clear()


if fcntl is not None:
    os.register_at_fork(after_in_child=_leave_locks)


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


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


def _is_of_another(error: OSError, path: Path) -> bool:
    """Whether an error is about a file that was read in the block, rather than about the one that is written."""
    if not isinstance(error.filename, str | os.PathLike):
        return False
    named = Path(error.filename)
    temporary = named.parent == path.parent and _TEMPORARY.fullmatch(named.name) is not None
    return not temporary and named not in (path, *path.parents)


def _refused(what: str, error: Exception, more: str = "") -> OSError:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    number = getattr(error, "errno", None)
    failure = OSError(f"{what}: {reason}{more}; {_REMEDIES.get(number or 0, _REMEDY)}")
    failure.errno = number
    return failure


def _remove(path: Path) -> None:
    """Remove what a failed write left, without hiding the failure itself behind a second one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)
