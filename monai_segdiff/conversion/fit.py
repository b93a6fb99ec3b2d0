"""See whether converted weights fit the networks that a converted configuration describes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv
from monai.networks import nets

from monai_segdiff.conversion.weights import NETWORKS, ConvertedWeights

__all__ = ["fitting_network"]

_REFERENCES = 20  # one after the other, until they must be going round
_MOST_VALUES = 10_000  # of a network's options, references followed


def fitting_network(config: Mapping[str, Any], converted: ConvertedWeights) -> str | None:
    """Find the network of a configuration that takes the converted weights.

    The networks are made without memory for their weights, and nothing of the configuration is run: networks whose
    options hold expressions are left out.

    Args:
        config: content of a converted configuration.
        converted: the weights.

    Returns:
        The id of the first network that takes all of them; None if there is none of their class, or none of those
        whose options are known takes them and there are others.

    Raises:
        ValueError: where the options of all such networks are known, and none takes the weights.
    """
    name = NETWORKS[converted.network]
    reasons = []
    unknown = False
    try:
        config = _overridden(config)
    except (LookupError, TypeError, ValueError):  # keys that only go with what another file gives
        return None
    for key, component in _components(config, ()):
        target = component["_target_"]
        if not isinstance(target, str) or target.rpartition(".")[2] != name:
            continue
        try:
            values = _Values(config)
            options = {option: values.of(value) for option, value in component.items() if str(option)[:1] != "_"}
        except _NotKnownError:
            unknown = True
            continue
        reason = _misfit(name, options, converted)
        if reason is None:
            return key
        reasons.append(f"{key}: {reason}")
    if reasons and not unknown:
        raise ValueError(f"the weights do not fit the configuration's {name}: {'; '.join(reasons)}")
    return None


def _misfit(name: str, options: dict[str, Any], converted: ConvertedWeights) -> str | None:
    if (surplus := _more_than(len(converted.weights), options)) is not None:
        return f"its {surplus} makes more layers than there are weights"
    try:
        with torch.device("meta"):
            network = getattr(nets, name)(**options)
    except Exception as error:  # options that nobody foresaw: an index out of range, a division by zero
        return f"MONAI refuses its options ({type(error).__name__}: {error}){_remedy(options, str(error))}"
    try:
        network.load_state_dict(converted.weights, strict=True, assign=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        return " ".join(line if len(line) < 300 else f"{line[:300]} ..." for line in lines[:3])
    return None


def _remedy(options: Mapping[str, Any], reason: str) -> str:
    """monai-generative rounded the number of attention heads down, where MONAI wants it to come out even."""
    channels, given = options.get("channels"), options.get("num_head_channels", 8)
    if "divisible by num_head_channels" not in reason or not isinstance(channels, (list, tuple)):
        return ""
    each = given if isinstance(given, (list, tuple)) else [given] * len(channels)
    even = [
        width // heads if size > 0 and (heads := width // size) and width % heads == 0 else size
        for width, size in zip(channels, each, strict=False)
    ]
    return f": with num_head_channels {even} the network is that of monai-generative"


def _overridden(config: Mapping[str, Any]) -> Any:
    """The configuration after its keys such as ``network#channels``, as MONAI applies them when it reads the file."""
    parser = ConfigParser(config={})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a merge into what another file gives
        for key, value in config.items():
            if isinstance(key, str):
                merge_kv(parser, key, deepcopy(value))
    return parser.get()


def _components(content: Any, key: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(content, Mapping):
        if "_target_" in content:
            yield "#".join(key), content
        for name, value in content.items():
            yield from _components(value, (*key, str(name)))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _components(value, (*key, str(index)))


class _NotKnownError(ValueError):
    """A value that only running the configuration would tell."""


class _Values:
    """Values of a configuration with the references in them followed, which may multiply what is written there.

    Args:
        config: the configuration.
    """

    def __init__(self, config: Any) -> None:
        self._config = config
        self._left = _MOST_VALUES

    def of(self, value: Any, depth: int = 0) -> Any:
        """A value as the network gets it."""
        self._left -= 1
        if self._left < 0:
            raise _NotKnownError
        if isinstance(value, list):
            return [self.of(item, depth) for item in value]
        if isinstance(value, Mapping):
            if "_target_" in value:
                raise _NotKnownError
            return {name: self.of(item, depth) for name, item in value.items()}
        if not isinstance(value, str) or value[:1] not in ("@", "$", "%"):
            return value
        if value[0] != "@" or value[1:2] == "#" or depth > _REFERENCES:
            raise _NotKnownError
        found = self._config
        for name in value[1:].replace("::", "#").split("#"):
            if isinstance(found, Mapping) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            else:
                raise _NotKnownError
        return self.of(found, depth + 1)


def _more_than(number: int, options: Mapping[str, Any]) -> str | None:
    """An option that asks for more layers than there are weights: to make them all would take for ever."""
    for name, value in options.items():
        items = value if isinstance(value, list) else [value]
        counts = [item for item in items if isinstance(item, int)] if "num_res" in name or "layers" in name else []
        if len(items) > number or any(count > number for count in counts):
            return name
    return None
