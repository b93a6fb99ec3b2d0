"""Find the weights of a network in a checkpoint file, whatever is wrapped around them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from monai_segdiff.conversion.weights import NETWORKS, check_asked, network_of
from monai_segdiff.errors import UnreadableFileError
from monai_segdiff.networks.weights import read_tensors

__all__ = ["FoundWeights", "find_weights", "read_checkpoint"]

_ANCHORS = ("time_embed.0.weight", "quant_conv_mu.conv.weight")
_DEPTH = 5
_MOST_MAPPINGS = 10_000
_SHOWN = 8


@dataclass(frozen=True)
class FoundWeights:
    """The weights of one network in a checkpoint.

    Attributes:
        part: where they were: the keys that lead there and the prefix of their names, joined by dots; empty for a plain
            state dict.
        network: which of :data:`~monai_segdiff.conversion.NETWORKS` they are of.
        weights: the state dict, without the prefix.
        left_out: what else the checkpoint holds, by the keys that lead to it.
    """

    part: str
    network: str
    weights: dict[str, torch.Tensor]
    left_out: tuple[str, ...] = ()


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """Read a checkpoint without running anything in it.

    Args:
        path: a file that ``torch.save`` wrote.

    Returns:
        Its content: tensors and plain Python types, on the CPU.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where it cannot be read, is damaged by its own checksums, or holds other Python objects, which could
            run code.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise FileNotFoundError(f"no checkpoint {name}: give the file that torch.save wrote.")
    try:
        return read_tensors(name, "a checkpoint")
    except UnreadableFileError as error:
        if "could run code" not in str(error):
            raise
        raise UnreadableFileError(
            f"{name} cannot be loaded as weights alone (torch.save did not write it, or it holds more than tensors and "
            "plain types). If it holds Python objects beside the tensors, loading it could run code, which is refused. "
            "Where you trust it, save the weights alone, in the environment that it comes from: "
            "torch.save(network.state_dict(), 'weights.pt')."
        ) from error


def find_weights(content: Any, network: str | None = None, part: str | None = None) -> FoundWeights:
    """Find the weights of a monai-generative network in what a checkpoint holds.

    Looked through are wrappers such as ``{"state_dict": ...}``, ``{"model": ...}`` and ``{"network": ...}``, one in
    another, and prefixes of the names, such as ``module.``.

    Args:
        content: what :func:`read_checkpoint` gave.
        network: one of :data:`~monai_segdiff.conversion.NETWORKS`, where there are several.
        part: which part, where there are several of one network.

    Returns:
        The weights.

    Raises:
        ValueError: where there are none, or several, or they are of another network.
    """
    found = list(_networks(content))
    if part is not None:
        found = [one for one in found if one.part == part]
    elif network is not None:
        found = [one for one in found if one.network == network] or found
    if len(found) == 1:
        check_asked(network, found[0].network)
        return found[0]
    if found:
        parts = ", ".join(f"{one.part or 'the file itself'} ({NETWORKS[one.network]})" for one in found)
        raise ValueError(f"it holds the weights of several networks: {parts}. Choose one by its network or its part.")
    asked = f" in its part {part!r}" if part is not None else ""
    raise ValueError(
        f"it holds no weights of {', '.join(NETWORKS.values())}{asked}, but {_described(content)}: only these four "
        "networks can be converted, each as a whole."
    )


def _networks(content: Any) -> Iterator[FoundWeights]:
    for path, state in _state_dicts(content) if isinstance(content, Mapping) else ():
        for prefix in _prefixes(state):
            weights = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
            network = network_of(weights)
            if network is not None:
                part = ".".join([*path, *filter(None, [prefix.rstrip(".")])])
                yield FoundWeights(part, network, weights, tuple(_left_out(content, path, prefix)))


def _left_out(content: Any, path: tuple[str, ...], prefix: str) -> Iterator[str]:
    """What stands beside a part, level by level."""
    for depth, step in enumerate(path):
        yield from (".".join([*path[:depth], str(key)]) for key in content if str(key) != step)
        content = next(value for key, value in content.items() if str(key) == step)
    others: dict[str, None] = {}  # a set in order
    for key in (str(key) for key in content if not str(key).startswith(prefix)):
        shared = len(os.path.commonprefix([key.split("."), prefix.split(".")]))
        others[".".join([*path, *key.split(".")[: shared + 1]])] = None
    yield from others


def _state_dicts(content: Any) -> Iterator[tuple[tuple[str, ...], dict[str, torch.Tensor]]]:
    """Every mapping that holds tensors by name, with the keys that lead to it."""
    pending: deque[tuple[tuple[str, ...], Any]] = deque([((), content)])
    for _ in range(_MOST_MAPPINGS):
        if not pending:
            return
        path, found = pending.popleft()
        tensors = {key: value for key, value in found.items() if isinstance(key, str) and torch.is_tensor(value)}
        if tensors:
            yield path, tensors
        if len(path) < _DEPTH:
            inner = [((*path, str(key)), value) for key, value in found.items() if isinstance(value, Mapping)]
            pending.extendleft(reversed(inner))
    raise ValueError("it holds more mappings than a checkpoint has: do some of them hold themselves?")


def _prefixes(state: Mapping[str, torch.Tensor]) -> list[str]:
    """What stands before the names that every one of the networks has."""
    ends = ((key, anchor) for key in state for anchor in _ANCHORS)
    found = {key[: -len(anchor)] for key, anchor in ends if key == anchor or key.endswith("." + anchor)}
    return sorted(found)


def _described(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    keys = [str(key) for key in content]
    return f"the keys {', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''}" if keys else "nothing"
