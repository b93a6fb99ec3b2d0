"""Gray levels that stand for classes."""

from __future__ import annotations

from collections.abc import Iterable

from monai_segdiff.transforms.vocabulary import BACKGROUND

__all__ = ["mask_levels"]


def mask_levels(classes: Iterable[str], low: float = -1.0, high: float = 1.0) -> dict[str, float]:
    """Spread background and classes evenly over a range, as a mask that is drawn in gray levels has them.

    This is the input of XReal's anatomy controller (arXiv 2403.09240, Section 3.2).

    Args:
        classes: names of the classes in their order.
        low: level of the background.
        high: level of the last class.

    Returns:
        Levels by name, ``background`` first: the ``values`` of :class:`EncodeMask` in the mode ``values``.

    Raises:
        ValueError: when there is no class.

    Example:
        >>> mask_levels(["lung", "heart"])
        {'background': -1.0, 'lung': 0.0, 'heart': 1.0}
    """
    names = [BACKGROUND, *classes]
    if len(names) < 2:
        raise ValueError("gray levels need a class at least, got none.")
    return {name: round(low + (high - low) * index / (len(names) - 1), 6) for index, name in enumerate(names)}
