"""Whether two objects are made alike: networks by their structure, transforms and numbers by what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from monai_segdiff.diffusion import Parameterization

__all__ = ["first_difference"]

_OWN = ("monai", "monai_segdiff", "torch")  # the packages whose objects are looked into
_DEEPEST = 30


def first_difference(first: Any, second: Any, name: str) -> tuple[str, str, str] | None:
    """Find where two objects differ.

    Networks differ in the kinds, parameters' shapes and plain attributes of their modules, whatever their weights and
    devices; parameterizations in their numbers; transforms in what they hold; anything else by its value.

    Args:
        first: an object.
        second: another one.
        name: what to call them.

    Returns:
        Name of the first part that differs, and what it is in each; None where there is none.
    """
    return next(_differences(first, second, name, 0), None)


def _differences(first: Any, second: Any, name: str, depth: int) -> Iterator[tuple[str, str, str]]:
    first, second = _comparable(first), _comparable(second)
    if depth > _DEEPEST:
        return
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        if not (first.shape == second.shape and first.dtype == second.dtype and torch.equal(first, second)):
            yield name, _shown(first), _shown(second)
    elif isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in (*first, *(key for key in second if key not in first)):
            inner = f"{name}.{key}"
            if key in first and key in second:
                yield from _differences(first[key], second[key], inner, depth + 1)
            else:
                yield inner, _shown(first.get(key)), _shown(second.get(key))
    elif isinstance(first, list) and isinstance(second, list):
        if len(first) != len(second) or not all(map(_is_plain, [*first, *second])):
            yield from _differences(dict(enumerate(first)), dict(enumerate(second)), name, depth + 1)
        elif first != second:
            yield name, _shown(first), _shown(second)
    elif type(first) is not type(second) and not (_is_plain(first) and _is_plain(second)):
        yield name, _kind(first), _kind(second)
    elif _is_plain(first):
        if first != second:
            yield name, _shown(first), _shown(second)
    elif type(first).__module__.split(".")[0] in _OWN and hasattr(first, "__dict__"):
        yield from _differences(_parts(first), _parts(second), name, depth + 1)


def _comparable(value: Any) -> Any:
    if isinstance(value, Parameterization):
        return value.config()
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _parts(value: Any) -> dict[str, Any]:
    """What an object holds, but for what a run puts there: weights, gradients, hooks, and states of random numbers."""
    if not isinstance(value, nn.Module):
        return vars(value)
    attributes = {
        key: one for key, one in vars(value).items() if not key.startswith("_") and key != "training" and _is_made(one)
    }
    own = (*value.named_parameters(recurse=False), *value.named_buffers(recurse=False))
    shapes = {key: [str(one.dtype), *one.shape] for key, one in own}
    return {"class": _kind(value), **attributes, **shapes, **dict(value.named_children())}


def _is_made(value: Any) -> bool:
    """Whether an attribute of a module says how it was made."""
    return _is_plain(value) or (isinstance(value, (list, tuple)) and all(map(_is_made, value)))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _kind(value: Any) -> str:
    return _shown(value) if _is_plain(value) else type(value).__name__


def _shown(value: Any) -> str:
    text = f"{tuple(value.shape)}" if isinstance(value, torch.Tensor) and value.numel() > 8 else f"{value}"
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:60]}..."
