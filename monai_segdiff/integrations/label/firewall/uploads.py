"""The temporary folder of a request, which is removed with all files in it after any answer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = ["current_folder", "request_folder"]

_FOLDER: ContextVar[Path | None] = ContextVar("request_folder", default=None)


@contextmanager
def request_folder() -> Iterator[Path]:
    """A temporary folder for the request in this block."""
    with tempfile.TemporaryDirectory(prefix="segdiff-", ignore_cleanup_errors=True) as folder:
        token = _FOLDER.set(Path(folder))
        try:
            yield Path(folder)
        finally:
            _FOLDER.reset(token)


def current_folder() -> Path | None:
    """The folder of the current request; None outside of a request, where Python chooses."""
    return _FOLDER.get()
