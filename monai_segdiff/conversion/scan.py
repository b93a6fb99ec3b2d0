"""Find what a configuration has of monai-generative: rename what a table can, and list the rest."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from monai_segdiff.conversion.classes import CLASSES, PACKAGE, RENAMED, notes_on
from monai_segdiff.conversion.edits import Edits
from monai_segdiff.conversion.expressions import rename_in_expression
from monai_segdiff.conversion.nodes import is_on, normal_id, scalar_at, walk

__all__ = ["Scan"]

_TARGET = "_target_"
_MERGE = "tag:yaml.org,2002:merge"
_OLD_TARGET = re.compile(rf"\$?{PACKAGE}(\.\w+)+")
_MENTION = re.compile(rf"\b{PACKAGE}\.(?:engines|inferers|losses|metrics|networks|utils)\b")
_REFERENCE = re.compile(r"([@%])(\w+(?:(?:#|::)\w+){0,99})")  # deeper than any id of a configuration
_RELATIVE = re.compile(r"[@%](?:#|::)+(\w+(?:(?:#|::)\w+)*)")
_OTHER_FILE = re.compile(r"%.*\.(?:json|ya?ml)(?:#|::)(.+)", re.IGNORECASE)
_MOST, _EACH = 2**22, 100  # characters of all ids together, and what each weighs beside them
_SCRIPTS = re.compile(r"\bscripts\.\w|\bimport scripts\b|\bfrom scripts\b")


class Scan(Edits):
    """One pass over a file: components first, then values, which may refer to their options, then overrides."""

    def __init__(self, file: Path, text: str, root: yaml.MappingNode) -> None:
        super().__init__(file, text)
        self._nodes: dict[str, yaml.Node] = {}
        held = 0
        for key, node in walk(root):
            held += len(key) + _EACH
            if held > _MOST:
                raise ValueError("it holds more values, or longer keys, than a configuration has")
            self._nodes.setdefault(key, node)
        self._classes: dict[str, str] = {}
        mappings = [(key, node) for key, node in self._nodes.items() if isinstance(node, yaml.MappingNode)]
        seen = set()
        for key, node in mappings:
            self._component(key, node)
            self._shared(key, node, id(node) in seen)
            seen.add(id(node))
        self._new_names = {
            f"{key}#{old}": new for key, name in self._classes.items() for old, new in CLASSES[name].renamed.items()
        }
        for key, node in self._nodes.items():
            if isinstance(node, yaml.ScalarNode):
                self._value(key, node)
        for key, node in mappings:
            self._overrides(key, node)

    def _component(self, key: str, node: yaml.MappingNode) -> None:
        place = next((value for name, value in node.value if name.value == _TARGET), None)
        if not isinstance(place, yaml.ScalarNode) or not _OLD_TARGET.fullmatch(place.value):
            return
        old = place.value.removeprefix("$")
        name = old.rpartition(".")[2]
        if name not in CLASSES:
            self._say(self.problems, place, f"{key}#{_TARGET}", f"no counterpart of {old} is known in MONAI")
            return
        self._edit(place, f"{key}#{_TARGET}", old, CLASSES[name].target)
        self._classes[key] = name
        on = {option.value for option, value in node.value if is_on(value, self._nodes)}
        schedule = next(
            (scalar_at(value, self._nodes) for option, value in node.value if option.value == "schedule"), ""
        )
        for note in notes_on(name, on, schedule or ""):
            self._say(self.notes, node, key, note)
        for option, value in node.value:
            self._option(option, f"{key}#{option.value}", value, name)

    def _option(self, node: yaml.Node, key: str, value: yaml.Node, name: str) -> None:
        """Rename an option of a class where it is written alone, or say why it cannot be."""
        new, option = CLASSES[name], normal_id(node.value).rpartition("#")[2]
        remedy = new.missing.get(option) or (new.refused.get(option) if is_on(value, self._nodes) else None)
        if remedy:
            self._say(self.problems, node, key, f"{name}'s option {option} cannot be converted: {remedy}")
        elif node.value in new.renamed:
            self._edit(node, key, node.value, new.renamed[node.value])

    def _shared(self, key: str, node: yaml.MappingNode, is_alias: bool) -> None:
        """List what shares options by YAML's aliases and merges: their names may differ from one place to the other."""
        merged = [value for name, value in node.value if name.tag == _MERGE]
        bases = [
            base for value in merged for base in (value.value if isinstance(value, yaml.SequenceNode) else [value])
        ]
        shared = bool(merged) or (is_alias and key not in self._classes and "<<" not in key)
        if shared and any(map(_has_names, [node, *bases])):
            message = f"<< or an alias shares options of {PACKAGE}'s classes: write them out in each place by hand"
            self._say(self.problems, node, key, message)

    def _value(self, key: str, node: yaml.ScalarNode) -> None:
        text, is_target = node.value, key.rpartition("#")[2] == _TARGET
        if is_target and _OLD_TARGET.fullmatch(text):
            return  # a component, see there
        if (is_target or text.startswith("$")) and _SCRIPTS.search(text):
            self._say(self.notes, node, key, f"it is the bundle's own code: see whether that uses {PACKAGE}")
        if text.startswith("$"):
            text, problems, notes = rename_in_expression(text)
            for lines, messages in ((self.problems, problems), (self.notes, notes)):
                for message in messages:
                    self._say(lines, node, key, message)
        elif _MENTION.search(text):
            self._say(self.problems, node, key, f"{text[:100]!r} names {PACKAGE}: see by hand what it is for")
        text = self._references(key, node, text)
        if text != node.value:
            self._edit(node, key, node.value, text)

    def _references(self, key: str, node: yaml.ScalarNode, text: str) -> str:
        if "@" not in text and "%" not in text:
            return text
        for match in _RELATIVE.finditer(text):
            if self._classes and RENAMED.keys() & set(re.split("#|::", match[1])):
                message = f"the relative reference {match[0]} may be to a renamed option: see by hand"
                self._say(self.problems, node, key, message)
        new = _REFERENCE.sub(lambda match: match[1] + self._new_id(match[2]), text)
        other = _OTHER_FILE.fullmatch(text)
        for name in [other[1]] if other else [match[2] for match in _REFERENCE.finditer(new)]:
            self._elsewhere(node, key, name, other is not None)
        return new

    def _overrides(self, key: str, node: yaml.MappingNode) -> None:
        """Keys such as ``network#num_channels`` and mappings such as ``+network``, which change options."""
        for name, value in node.value:
            if "#" in name.value or "::" in name.value:
                self._override(name, key, name.value, value)
            elif not key and name.value.startswith("+") and name.value not in self._classes:
                for option, given in value.value if isinstance(value, yaml.MappingNode) else ():
                    self._override(option, name.value, option.value, given)

    def _override(self, node: yaml.Node, key: str, name: str, value: yaml.Node) -> None:
        prefix = f"{normal_id(key)}#" if key else ""
        full, plain = f"{key}#{name}" if key else name, name.removeprefix("+")
        base, _, option = normal_id(prefix + plain).rpartition("#")
        new = self._new_id(prefix + plain).removeprefix(prefix)
        if new != plain:
            self._edit(node, full, plain, new)
        self._elsewhere(node, full, prefix + new)
        if base in self._classes:
            self._option(node, full, value, self._classes[base])
        if option == _TARGET and _OLD_TARGET.fullmatch(str(value.value)):
            self._say(self.problems, value, full, f"rename {value.value} and its options by hand")

    def _elsewhere(self, node: yaml.Node, key: str, name: str, other_file: bool = False) -> None:
        """Report an id that ends in a renamed option of what this file does not hold."""
        base, _, option = normal_id(name).rpartition("#")
        if option not in RENAMED or not base:
            return
        found = None if other_file else self._nodes.get(base)
        if found is None or (isinstance(found, yaml.ScalarNode) and found.value.startswith("%")):
            where = f"{base} is not in this file: if it is one of {PACKAGE}'s classes"
            self._say(self.problems, node, key, f"{where}, rename {option} to {RENAMED[option]} by hand")

    def _new_id(self, name: str) -> str:
        tokens = re.split("(#|::)", name)
        old = list(tokens)
        for last in range(0, len(tokens), 2):
            tokens[last] = self._new_names.get("#".join(old[: last + 1 : 2]), tokens[last])
        return "".join(tokens)


def _has_names(node: yaml.Node) -> bool:
    """Whether a mapping is a component of the old package, or holds an option that some of its classes have renamed."""
    return isinstance(node, yaml.MappingNode) and any(
        re.split("#|::", name.value)[-1] in RENAMED
        or (name.value == _TARGET and _OLD_TARGET.fullmatch(str(value.value)))
        for name, value in node.value
    )
