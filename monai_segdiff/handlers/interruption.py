"""Ctrl-C and SIGTERM during a run: a wish that is answered at the end of a step, by all processes at the same one."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from types import FrameType
from typing import Any, NoReturn

import ignite.distributed as idist
import torch.distributed as dist
from ignite.engine import Engine

from monai_segdiff import ends
from monai_segdiff.handlers.run_end import at_end

__all__ = ["Interruption", "leave"]

_DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
# Seconds in which a signal is the same one: who starts processes may pass on what the terminal has sent them, too.
_PATIENCE, _PATIENCE_OF_LAUNCHERS = 0.3, 2.0


class Interruption:
    """Listens for SIGINT (Ctrl-C) and SIGTERM, and remembers the first.

    A second one ends the process at once: from 0.3 seconds later on, and from 2 under ``torchrun``, which passes them
    on. A signal that the program handles or ignores otherwise is left to it (other than by our commands, which would
    stop in the middle of a step), and so are all of them outside the main thread, where Python cannot listen.
    """

    def __init__(self) -> None:
        self.hint = ""
        """What a user is told when the answer has to wait."""
        self._signal = 0
        self._at = 0.0
        self._process = 0
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Take the signals from now on."""
        self._signal, self._process = 0, os.getpid()
        if threading.current_thread() is not threading.main_thread():
            return
        for number, default in _DEFAULTS.items():
            handler = signal.getsignal(number)
            if handler is default or getattr(handler, "__module__", None) == ends.__name__:
                self._before[number] = signal.signal(number, self._received)

    def release(self) -> None:
        """Leave the signals to whoever had them before."""
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._received:
                signal.signal(number, handler)
        self._before = {}

    def wished(self) -> int:
        """The signal that one of the processes has received, or 0; the same in all, which must ask together."""
        if idist.get_world_size() == 1:
            return self._signal
        return int(idist.all_reduce(self._signal, op="MAX"))

    def _received(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that loads data, which ends with its parent
            return
        if not self._signal:
            self._signal, self._at = number, time.monotonic()
            if self.hint:
                _say(self.hint)
        elif time.monotonic() - self._at > (_PATIENCE_OF_LAUNCHERS if "LOCAL_RANK" in os.environ else _PATIENCE):
            _say("stopped at once")
            os._exit(128 + number)


def leave(engine: Engine, number: int, line: str, closing: Iterable[Any]) -> NoReturn:
    """End the process after the run of an engine was stopped by a signal.

    Args:
        engine: the engine, as it terminates.
        number: the signal.
        line: the last one that a user sees; rank 0 says it.
        closing: objects to close.

    Raises:
        SystemExit: with 128 plus the signal's number, as shells have it.
    """
    if idist.get_rank() == 0:
        print(line, file=sys.stderr, flush=True)
    for part in closing:
        part.close()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
    engine.logger.addFilter(_says_no_exit)
    at_end(engine, lambda: engine.logger.removeFilter(_says_no_exit))  # all engines share the logger
    raise SystemExit(128 + number)


def _says_no_exit(record: logging.LogRecord) -> bool:
    """Ignite reports the end of the process as an error, below the line that the user should see."""
    return "terminating due to exception" not in record.getMessage()


def _say(text: str) -> None:
    # Not by print: the signal may have come in the middle of one.
    os.write(2, f"\n{text}\n".encode())
