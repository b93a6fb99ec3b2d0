"""Some of many items, evenly spaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["evenly"]

_T = TypeVar("_T")


def evenly(items: Sequence[_T], number: int | None, with_last: bool = False) -> list[_T]:
    """At most `number` of the items, evenly spaced, the first among them.

    Args:
        items: what to choose from.
        number: how many, at most; None for all.
        with_last: whether the last one is among them, too, where there is room for both.

    Raises:
        ValueError: if the number is below 1.
    """
    if number is not None and number < 1:
        raise ValueError(f"the number of images must be at least 1, got {number}")
    if number is None or len(items) <= number:
        return list(items)
    # Both are there because pictures go to the last image, and figures have been published of those that do not.
    if with_last and number > 1:
        return [items[round(k * (len(items) - 1) / (number - 1))] for k in range(number)]
    return [items[k * len(items) // number] for k in range(number)]
