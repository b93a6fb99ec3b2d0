"""The output of a run, which no other run may write to meanwhile."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["claim_output"]

_REMEDY = "name another folder with -o"


@contextmanager
def claim_output(target: Path) -> Iterator[None]:
    """Keep other runs away from a folder that is to be written, for as long as the block lasts.

    The lock is that of a file beside the folder, so it ends with its process, however that ends. The number of a
    process, which temporary folders are named by, would not tell runs apart: in each container it counts from 1.

    Args:
        target: the folder, which must not exist. What runs that were killed have left beside it is removed.

    Raises:
        FileExistsError: if the folder exists, or another run is writing it.
        OSError: if there is no place to write it, or the lock is not supported there.
    """
    file = target.with_name(f".{target.name}.lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(file)
    except BlockingIOError:
        raise FileExistsError(f"another run is writing {target}: wait for it, or {_REMEDY}") from None
    except OSError as error:
        raise OSError(error.errno, f"cannot write {target}: {error.strerror}; {_REMEDY}") from error
    try:
        if target.exists():
            raise FileExistsError(f"{target} holds the results of another run: {_REMEDY}")
        for leftover in target.parent.glob(f".tmp-*-{target.name}"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(file: Path) -> int:
    """Descriptor of the locked file, once that is the one that others find under its name."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same(descriptor, file):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its run has ended in between, and removed it


def _same(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
