"""Which channels an image may have: names that mean one thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai_segdiff.data.description.classes import check_name
from monai_segdiff.documents import first_repeated

__all__ = ["COLORS", "MOST_CHANNELS", "check_channels", "is_color"]

COLORS = ("red", "green", "blue")
"""The channels of a picture in colors."""
MOST_CHANNELS = 64


def check_channels(names: Any, where: str = "channels (--channels)") -> tuple[str, ...]:
    """Check the names of an image's channels.

    Args:
        names: in the order of the channels.
        where: what names them, for messages.

    Returns:
        The names.

    Raises:
        ValueError: if they are no list of names, one is empty, no plain text or not told apart from another by more
            than case and blanks, or there are more than 64.
    """
    if not isinstance(names, Sequence) or isinstance(names, str):
        raise ValueError(f"{where} must be a list of names, got {str(names)[:80]!r}")
    for name in names:
        check_name(name, f"{where}: channel")
    if (twice := first_repeated(" ".join(name.casefold().split()) for name in names)) is not None:
        raise ValueError(f"{where} name {twice!r} twice (case and blanks make no difference); rename one")
    if len(names) > MOST_CHANNELS:
        raise ValueError(f"{where} are {len(names)}, and an image has {MOST_CHANNELS} at most: choose those needed")
    return tuple(names)


def is_color(names: Sequence[str]) -> bool:
    """Whether channels are red, green and blue, which are shown as one picture.

    Args:
        names: of the channels.
    """
    folded = tuple(name.casefold() for name in names)
    return folded in (COLORS, tuple(name[0] for name in COLORS))
