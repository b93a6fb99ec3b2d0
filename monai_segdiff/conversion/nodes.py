"""YAML nodes of a configuration: their ids, and values where the file tells them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml

__all__ = ["is_on", "normal_id", "scalar_at", "walk"]

_REFERENCES = 20  # one after the other, until they must be going round
_OFF = ("false", "no", "off", "null", "~", "", "0", "0.0")


def walk(node: yaml.Node, key: tuple[str, ...] = ()) -> Iterator[tuple[str, yaml.Node]]:
    """Every node with its id; one that an alias repeats, once for each place."""
    yield "#".join(key), node
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from walk(value, (*key, str(name.value)))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from walk(value, (*key, str(index)))


def normal_id(name: str) -> str:
    """An id with ``#`` between its parts and without the ``+`` that merges into what other files give."""
    return name.replace("::", "#").removeprefix("+")


def scalar_at(node: yaml.Node, nodes: Mapping[str, yaml.Node]) -> str | None:
    """The text of a scalar, or of the scalar of this file that it refers to."""
    for _ in range(_REFERENCES):
        if not isinstance(node, yaml.ScalarNode):
            return None
        found = nodes.get(normal_id(node.value[1:])) if node.value[:1] == "@" else None
        if found is None:
            return str(node.value)
        node = found
    return None


def is_on(node: yaml.Node, nodes: Mapping[str, yaml.Node]) -> bool:
    """Whether an option is neither false, null nor zero, as far as the file says."""
    value = scalar_at(node, nodes)
    return value is None or value.lower() not in _OFF
