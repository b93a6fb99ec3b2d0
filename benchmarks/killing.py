"""Work in a process of its own that is killed (SIGKILL) at a moment, or beside one of its file operations."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["Ended", "Kill", "run_apart"]

_POLL = 5e-4
_CALLS = ("replace", "fsync", "mkdir", "unlink")


@dataclass(frozen=True)
class Kill:
    """When a process is killed: one of both.

    Args:
        seconds: so long after its start.
        call: at its file operation of this number, from 0: a renaming, a flush to the disk, a new folder, a removal.
        after: whether the operation is done first.
    """

    seconds: float | None = None
    call: int | None = None
    after: bool = False


@dataclass(frozen=True)
class Ended:
    """How work ended.

    Args:
        code: its exit code, or -9 where it was killed.
        seconds: how long it ran.
        calls: number of file operations, if it was not killed.
    """

    code: int
    seconds: float
    calls: int

    @property
    def killed(self) -> bool:
        """Whether the kill came before the end."""
        return self.code == -signal.SIGKILL


def run_apart(work: Callable[[], int], log: Path, kill: Kill | None = None) -> Ended:
    """Do work in a fork of this process.

    Args:
        work: gives an exit code.
        log: file to which everything is added that it prints.
        kill: when to kill it, with all processes that it has started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(work, log, kill, writing)
    os.close(writing)
    status = None
    while status is None:
        pid, found = os.waitpid(child, os.WNOHANG)
        if pid:
            status = found
        elif kill is not None and kill.seconds is not None and time.monotonic() - started >= kill.seconds:
            with suppress(ProcessLookupError):  # not yet of its own group, or at its end
                os.killpg(child, signal.SIGKILL)
        time.sleep(_POLL)
    seconds = time.monotonic() - started
    told = os.read(reading, 64)
    os.close(reading)
    return Ended(os.waitstatus_to_exitcode(status), seconds, int(told or 0))


def _work(work: Callable[[], int], log: Path, kill: Kill | None, writing: int) -> None:
    """What the fork does; it never returns."""
    code, calls = 1, 0
    try:
        os.setpgid(0, 0)
        sys.stdout = sys.stderr = os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "w")
        for stream in (1, 2):
            os.dup2(sys.stdout.fileno(), stream)
        torch.set_num_threads(1)
        originals = {name: getattr(os, name) for name in _CALLS}
        chosen = None if kill is None else kill.call

        def counted(name: str) -> Callable[..., object]:
            def call(*args: object, **options: object) -> object:
                nonlocal calls
                number, calls = calls, calls + 1
                if number == chosen and kill is not None and not kill.after:
                    os.killpg(0, signal.SIGKILL)
                result = originals[name](*args, **options)
                if number == chosen:
                    os.killpg(0, signal.SIGKILL)
                return result

            return call

        for name in _CALLS:
            setattr(os, name, counted(name))
        code = work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(writing, str(calls).encode())
        os._exit(code)
