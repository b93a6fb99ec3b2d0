"""How a command ends: its exit code, and one line about the error that stopped it."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from monai_segdiff.errors import one_line, raised_here, root_cause

__all__ = ["TRACEBACK", "Ending"]

TRACEBACK = "SEGDIFF_TRACEBACK"
"""Environment variable that, set to anything, shows where an error was raised."""

_EXPECTED = (ValueError, OSError, ArithmeticError, ImportError)  # ImportError: an extra is not installed
_FAILED, _UNREAD = 2, 128 + signal.SIGPIPE if hasattr(signal, "SIGPIPE") else 1
_MEMORY_SIGNS = ("DefaultCPUAllocator", "CUDA out of memory", "not enough memory")
_WORKER_SIGNS = ("DataLoader worker (pid", "terminated abruptly")


class _Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C: open files are closed, and temporary files removed."""


class Ending:
    """Turns every end of a command into an exit code and at most one line on standard error.

    Args:
        name: the command's.
        stopped: what to do after it was stopped, such as "run the same command again to go on".
    """

    def __init__(self, name: str, stopped: str = "") -> None:
        self.name, self.stopped = name, stopped

    def run(self, act: Callable[[], int]) -> int:
        """Run it.

        Args:
            act: does the work and gives the exit code.

        Returns:
            The exit code: that of the work; 2 if it failed, 130 after Ctrl-C, 143 after SIGTERM, 141 if nobody reads
            what is printed.

        Raises:
            SystemExit: as `act` does, of wrong usage.
        """
        for stream in (sys.stdout, sys.stderr):  # names of files may hold what a terminal cannot show
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        with _terminable():
            try:
                try:
                    return act()
                finally:
                    sys.stdout.flush()
            except KeyboardInterrupt as error:
                _say(f"stopped; {self.stopped}" if self.stopped else "stopped")
                return 128 + (signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT)
            except Exception as error:
                if isinstance(error, BrokenPipeError) and _silence_what_nobody_reads():
                    return _UNREAD
                with suppress(OSError):
                    if os.environ.get(TRACEBACK):
                        traceback.print_exception(error)
                _say(f"error: {self._described(root_cause(error))}")
                return _FAILED

    def _described(self, error: BaseException) -> str:
        text = str(error)
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _holds(text, _MEMORY_SIGNS):
            return (
                f"there is not enough memory for {self.name}: reduce --batch-size, --workers or the size of the "
                "images, or use a machine with more memory"
            )
        if isinstance(error, BrokenProcessPool) or _holds(text, _WORKER_SIGNS):
            return f"a worker process of {self.name} was killed, perhaps because memory ran out: start fewer workers"
        if isinstance(error, _EXPECTED) and raised_here(error) and text:
            return text
        if isinstance(error, OSError | ImportError) and not isinstance(error, ConnectionError):
            return one_line(error)
        if "Traceback (most recent call last)" in text:  # of a process that it had started
            text = text.strip().splitlines()[-1]
        else:
            text = one_line(error)
            kind = type(error).__name__.replace("error", f"{type(error).__module__}.error")  # those of struct and zlib
            text = text if text.startswith(kind) else f"{kind}: {text}"
        return f"{self.name} failed unexpectedly ({text}); {TRACEBACK}=1 in the environment shows where"


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, in the main thread and unless SIGTERM is ignored."""

    def terminate(number: int, frame: FrameType | None) -> Any:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _holds(text: str, signs: tuple[str, ...]) -> bool:
    return any(sign in text for sign in signs)


def _silence_what_nobody_reads() -> bool:
    """Whether the reader of the output has gone, as `head` does; further output is then discarded."""
    found = False
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # no file, no poll on this system
            watch = select.poll()
            watch.register(stream.fileno(), select.POLLOUT)
            if any(event & select.POLLERR for _, event in watch.poll(0)):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
                found = True
    return found


def _say(line: str) -> None:
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)
