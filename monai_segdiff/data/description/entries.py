"""Single entries of `dataset.json` that are plain values: texts, names, classes, numbers; each checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from monai_segdiff.data.description.channel_names import check_channels
from monai_segdiff.data.description.classes import check_classes
from monai_segdiff.transforms.intensities import IntensityRange

__all__ = [
    "channels_of",
    "classes_of",
    "dims_of",
    "modality_of",
    "names_of",
    "parents_of",
    "range_of",
    "region_parents",
    "settings_of",
    "text_of",
]


def text_of(content: Mapping[str, Any], key: str) -> str:
    """A text, empty where there is none; a number is taken as its text.

    Raises:
        ValueError: if it is something else.
    """
    value = content.get(key)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{key!r} must be text, got {str(value)[:80]!r}")
    return str(value)


def names_of(listed: Any) -> tuple[str, ...] | None:
    """Names of findings; None where nothing is said.

    Raises:
        ValueError: if it is no list of names, or names one twice.
    """
    if listed is None:
        return None
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ValueError(f"findings must be a list of names, got {str(listed)[:80]}")
    if len(set(listed)) < len(listed):
        raise ValueError(f"findings must be named once each, got {', '.join(listed)[:80]}")
    return tuple(listed)


def classes_of(labels: Any) -> dict[str, int | list[int]]:
    """Classes from `labels`: id to name, as the Decathlon has them, or name to id or ids, as nnU-Net has them.

    Of nnU-Net's regions that lie within each other, such as a whole tumor and its core, an id is of the innermost one,
    see :func:`region_parents`.

    Raises:
        ValueError: if they are neither, or are no classes that a data set may have.
    """
    owners = _owners(labels)
    regions = _regions(owners)
    pairs = [(min(owners[i], key=lambda name: len(regions[name])), i) for i in sorted(owners)]
    if ignored := next((pair for pair in pairs if pair[0].casefold() == "ignore"), None):
        raise ValueError(
            f"'labels' name {ignored[0]!r} (id {ignored[1]}), voxels that a training is to leave out, and there is no "
            "such thing here: give the other classes (--classes), and make these voxels background (prepare "
            "--drop-other-labels), or correct the label maps"
        )
    grouped: dict[str, list[int]] = {}
    for name, i in pairs:
        grouped.setdefault(name, []).append(i)
    return check_classes({name: ids[0] if len(ids) == 1 else ids for name, ids in grouped.items()}, "'labels'")


def region_parents(labels: Any) -> dict[str, str]:
    """Which of nnU-Net's regions lies within which, by their ids; empty where none do.

    Args:
        labels: as for :func:`classes_of`, which is to be asked first.

    Returns:
        Name to the name of the smallest region around it.
    """
    owners = _owners(labels)
    regions = _regions(owners)
    shared = sorted({name for names in owners.values() if len(names) > 1 for name in names})
    around = {name: [other for other in shared if regions[name] < regions[other]] for name in shared}
    return {name: min(found, key=lambda other: len(regions[other])) for name, found in around.items() if found}


def _owners(labels: Any) -> dict[int, list[str]]:
    """The names that each id but that of the background has."""
    owners: dict[int, list[str]] = {}
    for name, i in _pairs(labels):
        if i != 0 and name not in owners.setdefault(i, []):
            owners[i].append(name)
    return owners


def _pairs(labels: Any) -> list[tuple[str, int]]:
    """Names and ids, in the order of the file."""
    if labels is None:
        return []
    if not isinstance(labels, dict):
        raise ValueError(f'\'labels\' must map ids to names, like {{"1": "liver"}}, got {str(labels)[:80]!r}')
    by_name = bool(labels) and all(isinstance(i, int | list) and not isinstance(i, bool) for i in labels.values())
    pairs: list[tuple[str, int]] = []
    for key, value in labels.items():
        if by_name:
            pairs.extend((key, i) for i in (value if isinstance(value, list) else [value]))
        elif key.strip().isascii() and key.strip().isdigit() and isinstance(value, str):
            pairs.append((value, int(key) if len(key) < 20 else -1))
        else:
            raise ValueError(f"'labels' must map ids to names, or all names to ids; got {key!r}: {str(value)[:80]!r}")
    if not all(isinstance(i, int) and not isinstance(i, bool) for _, i in pairs):
        raise ValueError(f"'labels' must map names to ids that are whole numbers, got {str(labels)[:80]}")
    return pairs


def parents_of(parents: Any) -> dict[str, str]:
    """Class name to the name of the class around it; empty where nothing is said.

    Raises:
        ValueError: if it maps no names to names.
    """
    if parents is None:
        return {}
    if not isinstance(parents, dict) or not all(isinstance(name, str) for name in parents.values()):
        raise ValueError(f"'parents' must map class names to class names, got {str(parents)[:80]!r}")
    return dict(parents)


def range_of(limits: Any, channels: int = 1) -> IntensityRange | None:
    """Lowest and highest intensity that matters, or those of each channel; None where nothing is said.

    Args:
        limits: the entry.
        channels: how many there are.

    Raises:
        ValueError: if it is neither a pair of finite numbers that go up nor a list of such pairs, one for each channel.
    """
    if isinstance(limits, list) and limits and all(isinstance(pair, list) for pair in limits):
        if len(limits) != channels:
            raise ValueError(
                f"'intensity_range' has {len(limits)} pairs for {channels} channels: give one pair, or one for each"
            )
        return tuple(_pair_of(pair) for pair in limits)
    return None if limits is None else _pair_of(limits)


def _pair_of(limits: Any) -> tuple[float, float]:
    numbers = isinstance(limits, list) and all(isinstance(i, int | float) and not isinstance(i, bool) for i in limits)
    if not numbers or len(limits) != 2 or not all(map(_is_finite, limits)) or not limits[0] < limits[1]:
        raise ValueError(f"'intensity_range' must be two numbers, the lower one first, got {str(limits)[:80]}")
    return float(limits[0]), float(limits[1])


def dims_of(dims: Any) -> int | None:
    """2 or 3; None where nothing is said.

    Raises:
        ValueError: if it is something else.
    """
    if dims is None or (dims in (2, 3) and isinstance(dims, int)):
        return dims
    raise ValueError(f"'spatial_dims' must be 2 or 3, got {str(dims)[:80]!r}")


def modality_of(content: Mapping[str, Any]) -> str:
    """The first of the channels, which the Decathlon calls modality; empty where there is none."""
    found = content.get("modality", content.get("channel_names"))
    if isinstance(found, dict):
        found = next(iter(found.values()), "")
    return found if isinstance(found, str) else ""


def channels_of(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the channels: `channels`, or several that nnU-Net calls `channel_names` and the Decathlon `modality`.

    Raises:
        ValueError: if they are not numbered from 0 on, or are no names of channels.
    """
    key = next((key for key in ("channels", "channel_names", "modality") if content.get(key) is not None), "")
    found = content.get(key)
    if isinstance(found, dict):
        numbers = [int(number) if len(number) < 5 and number.isascii() and number.isdigit() else -1 for number in found]
        if len(found) > 1 and sorted(numbers) != list(range(len(numbers))):
            raise ValueError(f"{key!r} must number the channels from 0 on, got {str(found)[:80]}")
        found = [name for _, name in sorted(zip(numbers, found.values(), strict=True), key=lambda pair: pair[0])]
    if key != "channels" and (not isinstance(found, list) or len(found) < 2):  # one says what kind of image it is
        return ()
    return check_channels(found, repr(key))


def settings_of(settings: Any) -> dict[str, Any]:
    """What the data set was made with; empty where nothing is said.

    Raises:
        ValueError: if it is no object.
    """
    if settings is None or isinstance(settings, dict):
        return settings or {}
    raise ValueError(f"'settings' must be an object, got {str(settings)[:80]!r}")


def _regions(owners: Mapping[int, Sequence[str]]) -> dict[str, set[int]]:
    """The ids of each name; regions that overlap lie within each other, as a core within its tumor.

    Raises:
        ValueError: if regions overlap otherwise, or one is nothing but those within it.
    """
    regions: dict[str, set[int]] = {}
    for i, names in owners.items():
        for name in names:
            regions.setdefault(name, set()).add(i)
    remedy = "and here a voxel is of one class, with classes around it: say what each id is (--classes NAME=ID)"
    for i, names in owners.items():
        ordered = sorted(names, key=lambda name: len(regions[name]))
        for first, second in pairwise(ordered):
            if not regions[first] < regions[second]:
                raise ValueError(f"'labels' give the id {i} to {first!r} and {second!r}, {remedy}")
    innermost = {min(names, key=lambda name: len(regions[name])) for names in owners.values()}
    if outer := next((name for name in regions if name not in innermost), None):
        raise ValueError(f"'labels' give {outer!r} no id beside those of the regions within it, {remedy}")
    return regions


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number that no float holds
        return False
