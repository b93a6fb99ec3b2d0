"""Which classes a data set may have: names that mean one thing, and ids that label maps can hold."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monai_segdiff.transforms.vocabulary import ClassVocabulary

__all__ = ["BODY", "MOST_CLASSES", "OUTSIDE_VIEW", "check_classes", "check_name", "check_parents", "named_ids"]

BODY = "body"  # what prepare adds
OUTSIDE_VIEW = "outside_view"
"""What prepare calls the pixels that lie outside the field of view: no anatomy."""
MOST_CLASSES = 255
"""Classes of a data set, at most: prepared label maps hold bytes."""
_LARGEST_ID = 2**31 - 1
_SHOWN = 5


def check_classes(
    classes: Mapping[str, int | Sequence[int]], where: str = "classes (--classes)"
) -> dict[str, int | list[int]]:
    """Check the classes of a data set.

    Args:
        classes: class name to label id or ids.
        where: what names them, for messages.

    Returns:
        The classes, with ids as plain numbers.

    Raises:
        ValueError: if a name is reserved, empty, not plain text or not told apart from another by more than case and
            blanks; an id is no whole number from 1 to 2^31 - 1, or listed twice; or there are more than 255 classes.
    """
    checked: dict[str, int | list[int]] = {}
    folded: dict[str, str] = {}
    for name, ids in classes.items():
        check_name(name, f"{where}: class")
        other = folded.setdefault(" ".join(name.casefold().split()), name)
        if other != name:
            raise ValueError(f"{where} hold {other!r} and {name!r}, which differ by case or blanks only; rename one")
        checked[name] = _ids(ids, name, where)
    counts = Counter(i for _, i in named_ids(checked))
    twice = sorted(i for i, count in counts.items() if count > 1 or i == 0)
    if twice:
        raise ValueError(
            f"label ids {twice[:_SHOWN]} cannot be used ({where}): each id belongs to one class, once, and 0 is the "
            "background"
        )
    if len(checked) > MOST_CLASSES:
        raise ValueError(
            f"{where} hold {len(checked)} classes, and a label map of bytes holds {MOST_CLASSES} at most: choose those "
            "that are needed, or join some (--classes NAME=ID,ID)"
        )
    return checked


def named_ids(classes: Mapping[str, int | Sequence[int]]) -> list[tuple[str, int]]:
    """Every class name with each of its ids, in their order.

    Args:
        classes: class name to label id or ids.
    """
    return [(name, int(i)) for name, ids in classes.items() for i in (ids if isinstance(ids, Iterable) else [ids])]


def check_name(name: Any, what: str) -> None:
    """Check the name of a class or a finding.

    Args:
        name: the name.
        what: what it is, for messages.

    Raises:
        ValueError: if it is no text, empty, begins or ends with a blank, holds line breaks or other signs that cannot
            be printed, or is that of the background.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{what} {name!r} has no name that is text; give it one")
    if name != name.strip() or not name.isprintable():
        raise ValueError(
            f"{what} {name!r} begins or ends with a blank or holds signs that cannot be printed; rename it"
        )
    if name.casefold() == "background":
        raise ValueError(
            f"{what} {name!r}: this name is that of label id 0, which is no class; leave it out, or rename it"
        )


def check_parents(parents: Mapping[str, str], names: Sequence[str], where: str = "parents (--parents)") -> None:
    """Check which class is said to enclose which.

    Args:
        parents: class name to the name of the class around it.
        names: the classes.
        where: what says so, for messages.

    Raises:
        ValueError: if one is no class, or classes enclose each other.
    """
    if not parents:
        return
    if unknown := sorted({*parents, *parents.values()} - set(names)):
        raise ValueError(f"{where} name {unknown}, which are no classes; the classes are {', '.join(names)}")
    try:
        ClassVocabulary({name: index for index, name in enumerate(names, start=1)}, parents)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _ids(ids: Any, name: str, where: str) -> int | list[int]:
    several = isinstance(ids, Iterable) and not isinstance(ids, str)
    try:
        whole = [_whole(i) for i in (ids if several else [ids])]
    except TypeError:
        whole = []
    if not whole or not all(0 <= i <= _LARGEST_ID for i in whole):
        raise ValueError(
            f"{where}: class {name!r} has the ids {str(ids)[:80]}; give it one or more whole numbers from 1 to "
            f"{_LARGEST_ID}"
        )
    return whole if several else whole[0]


def _whole(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError("a truth value is no id")
    return operator.index(value)
