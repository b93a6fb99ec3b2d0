"""What several verbs of the command line share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

__all__ = ["add_classes", "add_segments", "add_verb", "class_pair", "one_or_all", "positive", "require_device"]


def add_verb(verbs: Any, function: Any, name: str, text: str) -> argparse.ArgumentParser:
    """Add a verb, whose line in the overview is its function's docstring."""
    added = verbs.add_parser(name, help=function.__doc__.rstrip(".").lower(), description=text)
    added.set_defaults(function=function)
    return added


def add_classes(to: argparse.ArgumentParser, text: str) -> None:
    """Add the option ``--classes``."""
    to.add_argument("--classes", nargs="+", type=_class, action=_Classes, metavar="NAME=ID", help=text)


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
        metavar="NAME=SEGMENT",
        help="DICOM: classes and the segments or regions that they consist of, e.g. liver=Liver "
        "'kidneys=Left Kidney,Right Kidney' (default: each is a class of its own name)",
    )
    to.add_argument(
        "--precedence",
        nargs="+",
        metavar="NAME",
        help="DICOM: classes in their order; where segments overlap, the first is kept (default: overlaps are errors)",
    )
    to.add_argument("--drop-other-labels", action="store_true", help=drop)


def positive(text: str) -> int:
    """Read a number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def one_or_all(values: Sequence[Any] | None) -> Any:
    """Take a single value out of its list."""
    return values[0] if values is not None and len(values) == 1 else values


def class_pair(text: str) -> tuple[str, str]:
    """Read CHILD=PARENT."""
    child, _, parent = text.partition("=")
    if not (child and parent):
        raise argparse.ArgumentTypeError(f"{text!r} is not CHILD=PARENT")
    return child, parent


def require_device(name: str) -> None:
    """Refuse a device that cannot be used."""
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used ({str(error).splitlines()[0]}); leave --device out") from None


def _class(text: str) -> tuple[str, int | list[int]]:
    """NAME=ID, NAME=ID,ID and NAME=FIRST-LAST."""
    name, _, listed = text.partition("=")
    ids: list[int] = []
    try:
        for part in listed.split(","):
            first, _, last = part.partition("-")
            ids.extend(range(int(first), int(last or first) + 1))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=ID, NAME=ID,ID,... or NAME=FIRST-LAST") from None
    return name, ids[0] if len(ids) == 1 else ids


def _segments(text: str) -> tuple[str, list[str]]:
    """Read NAME=SEGMENT,SEGMENT."""
    name, _, listed = text.partition("=")
    if not (name and listed):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=SEGMENT or NAME=SEGMENT,SEGMENT,...")
    return name, [part.strip() for part in listed.split(",")]


class _Classes(argparse.Action):
    """Collect NAME=ID[,ID...] arguments in a dictionary."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, dict(values))
