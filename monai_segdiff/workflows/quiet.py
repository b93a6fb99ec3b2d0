"""A training's log that can be read: what this package says, errors, and a line for each validation."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tqdm import tqdm

__all__ = ["own_logging", "quiet_log"]

_OF_OTHERS = ("ignite", "monai", "mlflow", "alembic")
_VALIDATION = "monai.handlers.StatsHandler"


@contextmanager
def own_logging() -> Iterator[None]:
    """Undo in the end what a bundle sets for its process: the root's handlers and level, and the report of errors."""
    root, hook = logging.getLogger(), sys.excepthook
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        sys.excepthook = hook
        root.setLevel(level)
        root.handlers[:] = handlers


@contextmanager
def quiet_log() -> Iterator[None]:
    """Print within the block what this package logs and the results of validations, a line each, above the bar.

    What MONAI, Ignite and MLflow log below an error, and what libraries warn of, is left out; so is what Ignite says of
    an error, as the error itself is raised. Nothing is changed after the block.
    """
    with ExitStack() as stack:
        stack.enter_context(own_logging())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module=r"monai_segdiff(\.|$)")
        ours = logging.getLogger("monai_segdiff")
        before = ours.level, ours.propagate
        printing = _Printing()
        ours.addHandler(printing)
        ours.setLevel(logging.INFO)
        ours.propagate = False
        stack.callback(_restore, ours, printing, *before)
        for name in [_VALIDATION, *logging.root.manager.loggerDict]:
            if name.partition(".")[0] in _OF_OTHERS:
                logger = logging.getLogger(name)
                logger.addFilter(_passes)
                stack.callback(logger.removeFilter, _passes)
        # Engines make loggers of their own, which a filter on one above them does not reach.
        ignite = logging.getLogger("ignite")
        stack.callback(ignite.setLevel, ignite.level)
        ignite.setLevel(logging.CRITICAL)
        yield


class _Printing(logging.Handler):
    """Prints a line without breaking the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        warned = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        tqdm.write(f"{warned}{record.getMessage()}", file=sys.stderr if warned else sys.stdout)


def _restore(logger: logging.Logger, handler: logging.Handler, level: int, propagate: bool) -> None:
    logger.removeHandler(handler)
    logger.setLevel(level)
    logger.propagate = propagate


def _passes(record: logging.LogRecord) -> bool:
    """Whether a record of another library is shown; validations are, in words of their own."""
    if record.name == _VALIDATION and record.levelno == logging.INFO:
        epoch, found, metrics = record.getMessage().partition(" Metrics -- ")
        if found:
            number = epoch.partition("[")[2].rstrip("]")
            tqdm.write(f"validation, epoch {number}: {metrics.strip().replace(': ', ' ')}")
        return False
    return record.levelno >= logging.ERROR and record.name != _VALIDATION
