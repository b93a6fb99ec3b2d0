"""What was wrong, below the layers that MONAI wraps around it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

__all__ = ["require", "root_cause", "show_cause_last", "unwrapped_errors"]


def require(condition: object, message: str) -> None:
    """Refuse to go on, from a configuration.

    Args:
        condition: what has to hold.
        message: what is wrong, and what to do.

    Raises:
        ValueError: with the message, where it does not.
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
    """End the report of an uncaught exception with its cause.

    Configurations of bundles call it first, because a user looks at the last line, and there Python shows the outermost
    exception: the expression that could not be evaluated, rather than the file that is wrong.
    """
    sys.excepthook = _cause_last


def _cause_last(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, trace)
    cause = root_cause(error)
    if cause is not error:
        print("\n" + "".join(traceback.format_exception_only(cause)), end="", file=sys.stderr)
