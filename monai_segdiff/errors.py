"""Errors in one line, and the cause below the exceptions that MONAI wraps around it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

__all__ = [
    "UnreadableFileError",
    "one_line",
    "raised_here",
    "reading",
    "require",
    "root_cause",
    "show_cause_last",
    "unwrapped_errors",
]

_PACKAGE = str(Path(__file__).parent) + os.sep


class UnreadableFileError(ValueError):
    """A file that cannot be read as what it should be; the message names the file, the reason and the remedy."""


@contextmanager
def reading(file: object, kind: str, remedy: str = "restore it from its source") -> Iterator[None]:
    """Turn any exception of a reader in a block into one line with the file's name and a remedy.

    Args:
        file: the file that is read in the block.
        kind: what it should be, such as ``"NIfTI"`` or ``"a table of patients"``.
        remedy: what helps with a file of this kind.

    Raises:
        UnreadableFileError: for any exception in the block, except those that name their file already
            (:class:`UnreadableFileError`, ``FileNotFoundError``, ``PermissionError``), a missing extra
            (``ImportError``), and interrupts.
    """
    try:
        yield
    except (UnreadableFileError, FileNotFoundError, PermissionError, ImportError):
        raise
    except Exception as error:  # readers throw all there is: struct.error, KeyError, zlib.error, MemoryError, ...
        raise UnreadableFileError(f"{file} cannot be read as {kind} ({one_line(error)}); {remedy}") from error


def one_line(error: BaseException) -> str:
    """The message of an error in one line, with its class where the message alone is unclear."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, (KeyError, IndexError, AttributeError, TypeError, AssertionError)) or not text:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."


def raised_here(error: BaseException) -> bool:
    """Whether this package raised the error, so that its message is ours, rather than a library."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE)


def require(condition: object, message: str) -> None:
    """Check a condition in a configuration.

    Args:
        condition: what must be true.
        message: what is wrong, and what to do.

    Raises:
        ValueError: with the message, if it is not.
    """
    if not condition:
        raise ValueError(message)


def root_cause(error: BaseException) -> BaseException:
    """Find the error that MONAI reports as a failure of a transform, a component or an expression.

    MONAI raises a plain ``RuntimeError`` from what happened. Any other exception stands for itself, whatever caused it.

    Args:
        error: what was caught.

    Returns:
        The innermost of the exceptions that plain RuntimeErrors were raised from; the error itself if there is none.
    """
    while type(error) is RuntimeError and error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def unwrapped_errors() -> Iterator[None]:
    """Raise in a block the cause instead of MONAI's RuntimeErrors around it."""
    try:
        yield
    except RuntimeError as error:
        cause = root_cause(error)
        if cause is error:
            raise
        raise cause from None


def show_cause_last() -> None:
    """End the report of an uncaught exception with its cause, and that of Ctrl-C in one line.

    Configurations of bundles call it first. A user looks at the last line, where Python shows the outermost exception:
    the expression that could not be evaluated. The cause names the file that is wrong.
    """
    sys.excepthook = _cause_last


def _cause_last(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("stopped; run the same command again to go on", file=sys.stderr)
        return
    sys.__excepthook__(kind, error, trace)
    cause = root_cause(error)
    if cause is not error:
        print("\n" + "".join(traceback.format_exception_only(cause)), end="", file=sys.stderr)
