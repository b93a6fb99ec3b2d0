"""Background tasks: they end with the server that they belong to, and two of a kind do not work at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from monai_segdiff.integrations.label.errors import RequestError

__all__ = ["end_with", "in_task", "one_at_a_time", "remember_server"]

_SERVER = "MONAI_SEGDIFF_LABEL_SERVER"  # process of the server, for those that it starts
_TASKS = "monailabel.interfaces.utils.app"  # what MONAI Label runs background tasks by
_PATIENCE = 60.0  # of a task, for one whose server was killed and that is about to end
_PERIOD, _GRACE = 1.0, 5.0


def in_task() -> bool:
    """Whether MONAI Label has started this process for a task."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name == _TASKS


def remember_server() -> None:
    """Record this process as the server, for the processes that it starts; in a task nothing changes."""
    if not in_task():
        os.environ[_SERVER] = str(os.getpid())


def end_with(parent: int) -> None:
    """End this process when the one that has started it does: first as by Ctrl-C, then at once.

    Args:
        parent: the process that has started this one, even if it is gone already.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PERIOD)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(_GRACE)
        os._exit(1)

    threading.Thread(target=watch, name="end_with", daemon=True).start()


@contextmanager
def one_at_a_time(folder: Path, what: str) -> Iterator[None]:
    """Let one task of a kind work in a folder; a task process waits for a minute, and ends with its server.

    Args:
        folder: where it works; made if need be.
        what: "batch" or the like, for the message.

    Raises:
        RequestError: if another one is running.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if in_task():
        end_with(int(os.environ.get(_SERVER, os.getppid())))
    lock = FileLock(str(folder / f"{what}.lock"))
    try:
        lock.acquire(timeout=_PATIENCE if in_task() else 0)
    except Timeout:
        raise RequestError(f"another {what} is running: wait for it, or stop it", 429) from None
    try:
        yield
    finally:
        lock.release()
