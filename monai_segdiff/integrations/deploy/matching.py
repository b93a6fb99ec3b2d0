"""Which class of a bundle each segment of a DICOM segmentation is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["class_ids", "match_segments"]


def class_ids(classes: Mapping[str, int | Sequence[int]]) -> dict[str, int]:
    """One label id for each class: the first of those that a label map may hold for it.

    Args:
        classes: class name to label id or ids.
    """
    return {name: int(np.atleast_1d(np.asarray(ids))[0]) for name, ids in classes.items()}


def match_segments(
    segments: Sequence[str],
    classes: Sequence[str],
    names: Mapping[str, str],
    drop_others: bool,
    what: Any,
) -> dict[str, str]:
    """Find the class of each segment by its label.

    What `names` says comes first; otherwise a segment is of the class of its name, where capitals, blanks, hyphens and
    underscores make no difference.

    Args:
        segments: labels of the segments.
        classes: names of the bundle's classes.
        names: segment label to class name, where they differ.
        drop_others: whether segments of no class are left out rather than an error.
        what: the file, for messages.

    Returns:
        Segment label to class name; without those that are left out.

    Raises:
        ValueError: if `names` names no class, or a segment is of no class, or none is left.
    """
    if wrong := sorted({name for name in names.values() if name not in classes}):
        raise ValueError(f"names has unknown classes {', '.join(wrong)}: the bundle's classes are {', '.join(classes)}")
    given = {_plain(segment): name for segment, name in names.items()}
    own = {_plain(name): name for name in classes}
    found = {segment: given.get(_plain(segment), own.get(_plain(segment))) for segment in segments}
    matched = {segment: name for segment, name in found.items() if name is not None}
    unknown = [segment for segment in segments if segment not in matched]
    if unknown and not drop_others:
        raise ValueError(
            f"{what} has segments of unknown class: {', '.join(map(repr, unknown))}; the bundle's classes are "
            f"{', '.join(classes)}: map the segments to classes (option names), or drop them (option drop_others)"
        )
    if not matched:
        raise ValueError(
            f"{what} has no segment of a class of the bundle: the segments are "
            f"{', '.join(map(repr, segments)) or 'none'}, the classes {', '.join(classes)}; map segments to classes "
            "(option names), or use the bundle that was trained on them"
        )
    return matched


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
