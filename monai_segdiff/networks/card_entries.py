"""What a card may say: its entries and their types. A card is data, and nothing in it is evaluated."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from monai_segdiff import diffusion
from monai_segdiff.documents import first_repeated
from monai_segdiff.networks.weights import HASHES

__all__ = ["ENTRIES", "OPTIONAL", "check_entries", "parameterization_of", "plain"]

_LARGEST_ID = 2**24  # label maps hold 16 bits; a table of the ids is made
_LARGEST_SIDE = 2**16
_DEEPEST = 5
_TARGET = "_target_"
_DIFFUSION = "monai_segdiff.diffusion."


def plain(value: Any) -> Any:
    """Mappings and sequences as the dictionaries and lists that YAML knows."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def check_entries(content: Mapping[str, Any]) -> None:
    """Check what a card says.

    Args:
        content: the card's entries, as :func:`plain` gives them; one that is not in :data:`ENTRIES` is plain data.

    Raises:
        ValueError: naming the entry that is wrong, and what it has to be.
    """
    for name, value in content.items():
        if not isinstance(name, str):
            raise ValueError(f"the entry {name!r} has no text as its name")
        check, meaning = ENTRIES.get(name, (_is_plain, "plain data: text, numbers, lists and mappings"))
        if not check(value):
            raise ValueError(f"{name} has to be {meaning}, not {_shown(value)}")
    _check_together(content)


def _check_together(content: Mapping[str, Any]) -> None:
    """What two entries say of each other."""
    classes = content.get("classes")
    if classes is not None:
        ids = [one for value in classes.values() for one in (value if isinstance(value, list) else [value])]
        if (repeated := first_repeated(ids)) is not None:
            raise ValueError(f"classes names the label id {repeated} twice")
        if unknown := {*content.get("parents", {}), *content.get("parents", {}).values()} - set(classes):
            raise ValueError(f"parents names {min(unknown)!r}, which is none of the classes")
    size, dims = content.get("image_size"), content.get("spatial_dims")
    for name in ("spacing", "field_of_view"):
        lengths = content.get(name) or []
        for one in lengths if name == "field_of_view" else [lengths]:
            if one and size is not None and len(one) != len(size):
                raise ValueError(f"{name} has {len(one)} numbers where image_size {size} has {len(size)} sides")
    if size is not None and dims is not None and len(size) != dims:
        raise ValueError(f"image_size {size} does not have the {dims} sides that spatial_dims says")
    channels, names = content.get("channels_of_image", 1), content.get("channel_names", [])
    if names and len(names) != channels:
        raise ValueError(f"channel_names are {len(names)}, where channels_of_image is {channels}")
    limits = content.get("intensity_range")
    if limits is not None and isinstance(limits[0], list) and len(limits) != channels:
        raise ValueError(f"intensity_range has {len(limits)} pairs, where channels_of_image is {channels}")
    if "parameterization" in content:
        parameterization_of(content["parameterization"])


def parameterization_of(content: Mapping[str, Any]) -> diffusion.Parameterization:
    """Make what ``Parameterization.config()`` describes, without evaluating anything.

    Args:
        content: one of our parameterizations under ``_target_``, and its arguments.

    Raises:
        ValueError: if there is no such parameterization, or it cannot have these arguments.
    """
    given = dict(content)
    target = str(given.pop(_TARGET, None))
    name = target.removeprefix(_DIFFUSION)
    kind = getattr(diffusion, name, None) if target.startswith(_DIFFUSION) and name in diffusion.__all__ else None
    if not (isinstance(kind, type) and issubclass(kind, diffusion.Parameterization)) or inspect.isabstract(kind):
        raise ValueError(f"parameterization is {target!r}, which is none of {_DIFFUSION.rstrip('.')}")
    if unknown := [argument for argument in given if argument not in inspect.signature(kind).parameters]:
        raise ValueError(f"parameterization: {name} has no {unknown[0]!r}")
    try:
        return kind(**given)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"parameterization: {error}") from error


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def _is_count(value: Any, most: int = _LARGEST_SIDE) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_range(value: Any) -> bool:
    return _is_list(_is_number)(value) and len(value) == 2 and value[0] < value[1]


def _is_window(value: Any) -> bool:
    return _is_list(_is_share)(value) and len(value) == 2 and value[0] <= value[1]


def _is_list(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) > 0 and all(map(check, value))


def _or_nothing(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _is_count_or_counts(value: Any) -> bool:
    return _is_count(value) or _is_list(_is_count)(value)


def _is_mapping(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, Mapping) and all(_is_text(name) and check(item) for name, item in value.items())
    )


def _is_label_id(value: Any) -> bool:
    return _is_count(value, _LARGEST_ID)


def _is_classes(value: Any) -> bool:
    return bool(value) and _is_mapping(lambda ids: _is_label_id(ids) or _is_list(_is_label_id)(ids))(value)


def _is_conditions(value: Any) -> bool:
    return _is_mapping(
        lambda item: (
            isinstance(item, Mapping)
            and set(item) == {"classes", "values"}
            and _is_classes(item["classes"])
            and _is_mapping(_is_number)(item["values"])
        )
    )(value)


def _is_covariate(value: Any) -> bool:
    if isinstance(value, Mapping) and set(value) == {"values"}:
        texts = value["values"]
        return _is_names(texts) and len(set(texts)) == len(texts) > 1
    if not isinstance(value, Mapping) or set(value) != {"min", "max", "mean", "std"}:
        return False
    numbers = all(map(_is_number, value.values()))
    return numbers and value["min"] <= value["mean"] <= value["max"] and value["std"] > 0


def _is_option(value: Any) -> bool:
    return value is None or _is_flag(value) or _is_number(value) or _is_list(_is_option)(value)


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_lengths(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (2, 3) and all(_is_number(n) and n > 0 for n in value)


def _is_noise_levels(value: Any) -> bool:
    def fits(levels: Any, steps: int) -> bool:
        return (
            _is_list(lambda level: _is_number(level) and level > 0)(levels)
            and len(levels) == steps
            and all(high > low for high, low in pairwise(levels))
        )

    return isinstance(value, list) and all(fits(levels, steps) for steps, levels in enumerate(value, 1))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_parameterization(value: Any) -> bool:
    arguments = isinstance(value, Mapping) and [item for name, item in value.items() if name != _TARGET]
    return arguments is not False and _is_text(value.get(_TARGET)) and all(map(_is_option, arguments))


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if value is None or isinstance(value, (str, bool, int)):
        return True
    items = [*value, *value.values()] if isinstance(value, dict) else value
    return depth < _DEEPEST and isinstance(items, list) and all(_is_plain(item, depth + 1) for item in items)


_OPTIONS = (_is_mapping(_is_option), "a mapping of options to numbers")
_COUNT = (_is_count, "a whole number of at least 1")
_COUNTS = (_is_list(_is_count), "a list of whole numbers of at least 1")
_COUNT_OR_COUNTS = (_is_count_or_counts, "a whole number of at least 1, or a list of them")
_FLAG = (_is_flag, "true or false")
_TEXT = (_is_text, "a name")
_SHARE = (_is_share, "a number from 0 to 1")

ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    HASHES: (_is_list(_is_hash), "a list of SHA-256"),
    # what the data set was
    "spatial_dims": (lambda value: _is_count(value, 3), "1, 2 or 3"),
    "image_size": _COUNTS,
    "classes": (
        _is_classes,
        "a mapping of class names to label ids, each a whole number of at least 1 or a list of them",
    ),
    "parents": (_is_mapping(_is_text), "a mapping of class names to class names"),
    "intensity_range": (
        lambda value: _is_range(value) or _is_list(_is_range)(value),
        "two numbers, the lower one first, or such a pair for each channel",
    ),
    "channels_of_image": _COUNT,
    "channel_names": (_is_names, "a list of names"),
    "findings": (_is_names, "a list of names"),
    # how its images lay, see data.training_grid; left out where it is unknown
    "spacing": (_is_lengths, "a list of two or three numbers above 0"),
    "field_of_view": (_is_list(_is_lengths), "two lists of numbers above 0, the smallest ones first"),
    "patches": _FLAG,
    "slice_axis": (lambda value: value == 0 or _is_count(value, 2), "0, 1 or 2"),
    "covariates": (
        _is_mapping(_is_covariate),
        "a mapping of names to min, max, mean and std of a number, or to the values of a category",
    ),
    # how it enters the network
    "encoding": _TEXT,
    "known_flags": _FLAG,
    "conditioning": _TEXT,
    "method": _TEXT,
    "condition": _TEXT,
    "conditions": (_is_conditions, "a mapping of names to classes and their values"),
    "levels": (_is_mapping(_is_number), "a mapping of class names to numbers"),
    "full_prob": _SHARE,
    "null_prob": _SHARE,
    # the networks
    "channels": _COUNTS,
    "num_res_blocks": _COUNT_OR_COUNTS,
    "attention_levels": (_is_list(_is_flag), "a list of true and false"),
    "num_head_channels": _COUNT_OR_COUNTS,
    "norm_num_groups": _COUNT,
    "context_dim": _COUNT,
    "spade_normalize_modulation": _FLAG,
    "diffusion_size": _OPTIONS,
    "autoencoder_options": _OPTIONS,
    "anatomy_options": _OPTIONS,
    "autoencoder_sha256": (_is_hash, "a SHA-256"),
    "scale_factor": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "parameterization": (_is_parameterization, f"a parameterization under {_TARGET} and its numbers"),
    # how to sample from them unless told otherwise
    "sampler": _TEXT,
    "num_steps": _COUNT,
    "noise_levels": (_is_noise_levels, "lists of numbers above 0, each descending: of one step, of two, ..."),
    "guidance_weight": (lambda value: _is_number(value) and value >= 0, "a number of at least 0"),
    "guidance_curve": (_is_list(_is_mapping(_is_number)), "a list of mappings of names to numbers"),
    "built_in_guidance": (lambda value: _is_number(value) and value >= 1, "a number of at least 1"),
    "clip": (_or_nothing(_is_range), "nothing, or two numbers, the lower one first"),
    "t0": _SHARE,
    "anatomy_prompt": (_or_nothing(_is_names), "nothing, or a list of names"),
    "anatomy_window": (_is_window, "two numbers from 0 to 1, the lower one first"),
}
"""Known entries: a check of the value, and what it has to be, in words."""

OPTIONAL: dict[str, Any] = {
    "channels_of_image": 1,
    "channel_names": [],
    "covariates": {},
    "spacing": None,
    "field_of_view": None,
    "patches": False,
    "slice_axis": None,
    "guidance_weight": 1.0,
    "guidance_curve": None,
    "noise_levels": [],
    "built_in_guidance": 1.0,
}
"""Entries that a card may leave out, and that every bundle takes: what it means that does not say one of them."""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
