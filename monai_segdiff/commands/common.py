"""What several verbs of the command line share."""

from __future__ import annotations

import argparse
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "NamedOnce",
    "add_classes",
    "add_segments",
    "add_verb",
    "class_pair",
    "number",
    "one_or_all",
    "positive",
    "require_device",
    "seed",
    "warnings_in_words",
    "whole",
]

_RANGE = re.compile(r"\s*([0-9]{1,19})(?:-([0-9]{1,19}))?\s*")
_MOST_IDS = 65536
_PACKAGE = str(Path(__file__).parents[1])


def add_verb(
    verbs: Any, function: Any, name: str, text: str, stopped: str = "run the same command again to go on"
) -> argparse.ArgumentParser:
    """Add a verb, whose line in the overview is its function's docstring.

    Args:
        verbs: where to.
        function: what it does.
        name: its name.
        text: what its help says first.
        stopped: what to do after it was stopped (Ctrl-C, SIGTERM).
    """
    added = verbs.add_parser(name, help=function.__doc__.rstrip(".").lower(), description=text)
    added.set_defaults(function=function, stopped=stopped)
    return added


def add_classes(to: argparse.ArgumentParser, text: str) -> None:
    """Add the option ``--classes``."""
    to.add_argument("--classes", nargs="+", type=_class, action=NamedOnce, metavar="NAME=ID", help=text)


def add_segments(to: Any, drop: str) -> None:
    """Add the options that say what DICOM segments mean: ``--segments``, ``--precedence``, ``--drop-other-labels``.

    Args:
        to: the verb's parser, or a group of it.
        drop: help text of the last one.
    """
    to.add_argument(
        "--segments",
        nargs="+",
        type=_segments,
        action=NamedOnce,
        metavar="NAME=SEGMENT",
        help="DICOM, and masks in files of their own: classes and the segments, regions or files that they consist of, "
        "e.g. liver=Liver 'kidneys=Left Kidney,Right Kidney' (default: each is a class of its own name)",
    )
    to.add_argument(
        "--precedence",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="the same: classes in their order; where segments overlap, the first is kept (default: overlaps are errors)",
    )
    to.add_argument("--drop-other-labels", action="store_true", help=drop)


def number(low: float = -math.inf, high: float = math.inf, *, whole: bool = False) -> Callable[[str], Any]:
    """A parser of finite numbers within a range.

    Args:
        low: the lowest.
        high: the highest.
        whole: whether there are only whole numbers in it.

    Returns:
        Function of an argument's text, for ``type=``.
    """
    written = re.compile(r"[+-]?[0-9]{1,19}" if whole else r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

    def read(text: str) -> Any:
        value = (int(text) if whole else float(text)) if written.fullmatch(text) else math.nan
        if not (low <= value <= high and math.isfinite(value)):
            bounds = [
                f"from {low:.15g}" if math.isfinite(low) else "",
                f"to {high:.15g}" if math.isfinite(high) else "",
            ]
            kind = " ".join(["whole number" if whole else "number", *filter(None, bounds)])
            raise argparse.ArgumentTypeError(f"{text!r} is no {kind}")
        return value

    return read


positive = number(1, 10**9, whole=True)
"""Reads a number of at least 1."""

whole = number(0, 10**9, whole=True)
"""Reads a number from 0 on."""

seed = number(0, 2**32 - 1, whole=True)
"""Reads a seed, as every generator of random numbers takes it."""


def one_or_all(values: Sequence[Any] | None) -> Any:
    """Take a single value out of its list."""
    return values[0] if values is not None and len(values) == 1 else values


def class_pair(text: str) -> tuple[str, str]:
    """Read CHILD=PARENT."""
    child, _, parent = text.partition("=")
    if not (child.strip() and parent.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not CHILD=PARENT")
    return child, parent


@contextmanager
def warnings_in_words() -> Iterator[None]:
    """Print what this package warns of as `warning: ...`, without the line of code that it comes from."""
    with warnings.catch_warnings():
        # Said of the data rather than of the code: PYTHONWARNINGS=ignore is not meant for it.
        warnings.filterwarnings("always", category=UserWarning, module=r"monai_segdiff(\.|$)")
        show = warnings.showwarning

        def in_words(message: Any, category: Any, filename: str, *more: Any, **others: Any) -> None:
            if issubclass(category, UserWarning) and filename.startswith(_PACKAGE):
                print(f"warning: {message}", file=sys.stderr)
            else:
                show(message, category, filename, *more, **others)

        warnings.showwarning = in_words
        yield


def require_device(name: str) -> None:
    """Refuse a device that cannot be used."""
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used ({str(error).splitlines()[0]}); leave --device out") from None


def _class(text: str) -> tuple[str, int | list[int]]:
    """NAME=ID, NAME=ID,ID and NAME=FIRST-LAST."""
    name, _, listed = text.rpartition("=")
    parts = [_RANGE.fullmatch(part) for part in listed.split(",")]
    if not name.strip() or not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=ID, NAME=ID,ID,... or NAME=FIRST-LAST")
    ids: list[int] = []
    for part in parts:
        assert part is not None
        first, last = int(part[1]), int(part[2] or part[1])
        if not first <= last < first + _MOST_IDS:
            raise argparse.ArgumentTypeError(f"{text!r}: a range must go up, over {_MOST_IDS} ids at most")
        ids.extend(range(first, last + 1))
    return name, ids[0] if len(ids) == 1 else ids


def _segments(text: str) -> tuple[str, list[str]]:
    """Read NAME=SEGMENT,SEGMENT."""
    name, _, listed = text.partition("=")
    segments = [part.strip() for part in listed.split(",")]
    if not (name.strip() and all(segments)):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=SEGMENT or NAME=SEGMENT,SEGMENT,...")
    return name, segments


class NamedOnce(argparse.Action):
    """Collect NAME=VALUE arguments in a dictionary, over all uses of the option, and refuse a name that comes twice."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        collected = dict(getattr(namespace, self.dest) or {})
        for name, value in values:
            if name in collected:
                raise argparse.ArgumentError(self, f"{name!r} is given twice: give it once, with all its values")
            collected[name] = value
        setattr(namespace, self.dest, collected)
