"""Ctrl-C and SIGTERM during a run: a wish that is answered at the end of a step, by all processes at the same one."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

import ignite.distributed as idist

from monai_segdiff import ends

__all__ = ["Interruption"]

_DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
_PATIENCE = 2.0  # seconds: who starts processes may pass on a signal that the terminal has sent them, too


class Interruption:
    """Listens for SIGINT (Ctrl-C) and SIGTERM, and remembers the first.

    A second one, some seconds later, ends the process at once. A signal that the program handles or ignores otherwise
    is left to it (other than by our commands, which would stop in the middle of a step), and so are all of them outside
    the main thread, where Python cannot listen.
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
        elif time.monotonic() - self._at > _PATIENCE:
            _say("stopped at once")
            os._exit(128 + number)


def _say(text: str) -> None:
    # Not by print: the signal may have come in the middle of one.
    os.write(2, f"\n{text}\n".encode())
