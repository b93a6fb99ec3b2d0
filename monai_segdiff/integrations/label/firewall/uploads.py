"""The temporary folder of a request, which is removed with all files in it after any answer."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

__all__ = ["current_folder", "redirect_uploads", "request_folder"]

_FOLDER: ContextVar[Path | None] = ContextVar("request_folder", default=None)
_WRITERS = (
    "monailabel.endpoints.infer",
    "monailabel.endpoints.datastore",
    "monailabel.endpoints.session",
    "monailabel.datastore.utils.convert",
)


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


def redirect_uploads() -> None:
    """Make MONAI Label write uploads into the folder of their request.

    MONAI Label uses ``tempfile`` and removes uploads only after it has answered without an error.
    """
    for name in _WRITERS:
        if name in sys.modules:
            sys.modules[name].tempfile = _RequestFiles()  # type: ignore[attr-defined]


class _RequestFiles:
    """Python's ``tempfile``, in the folder of the request."""

    def NamedTemporaryFile(self, *args: Any, **options: Any) -> Any:
        return tempfile.NamedTemporaryFile(*args, **{"dir": current_folder(), **options})

    def TemporaryDirectory(self, *args: Any, **options: Any) -> Any:
        return tempfile.TemporaryDirectory(*args, **{"dir": current_folder(), **options})

    def __getattr__(self, name: str) -> Any:
        return getattr(tempfile, name)
