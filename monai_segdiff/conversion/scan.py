"""Find what a configuration has of monai-generative, and edit its text there."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from monai_segdiff.conversion.classes import CLASSES, RENAMED, notes_on
from monai_segdiff.conversion.edits import Edits
from monai_segdiff.conversion.expressions import renames_of, rewrite_expression
from monai_segdiff.conversion.modules import PACKAGE, full_target
from monai_segdiff.conversion.nodes import is_on, normal_id, option_pairs, scalar_at, walk

__all__ = ["Scan"]

_TARGET = "_target_"
_OLD_TARGET = re.compile(rf"{PACKAGE}(\.\w+)+")
_REFERENCE = re.compile(r"([@%])(\w+(?:(?:#|::)\w+)*)")
_RELATIVE = re.compile(r"[@%](?:#|::)+(\w+(?:(?:#|::)\w+)*)")
_OTHER_FILE = re.compile(r"%.*\.(?:json|ya?ml)(?:#|::)(.+)", re.IGNORECASE)
_MOST, _EACH = 2**22, 100  # characters of all ids together, and what each weighs beside them
_DEEPEST = 100  # parts of an id
_SCRIPTS = re.compile(r"\bscripts\.\w|\bimport scripts\b|\bfrom scripts\b")


class Scan(Edits):
    """One pass over a file for what is renamed where it stands, and one for what refers to it."""

    def __init__(self, file: Path, text: str, root: yaml.MappingNode) -> None:
        super().__init__(file, text)
        self._aliases: dict[str, str] = {}
        self._nodes: dict[str, yaml.Node] = {}
        held = 0
        for key, node in walk(root):
            held += len(key) + _EACH
            if held > _MOST:
                raise ValueError("it holds more values, or longer keys, than a configuration has")
            self._nodes.setdefault(key, node)
        self._mappings = [(key, node) for key, node in self._nodes.items() if isinstance(node, yaml.MappingNode)]
        scalars = [(key, node) for key, node in self._nodes.items() if isinstance(node, yaml.ScalarNode)]
        imports = [(key, node) for key, node in scalars if _is_import(node.value)]
        for key, node in imports:  # whose names are needed by the others
            self._expression(key, node)

        self._renamed_ids: dict[str, str] = {}
        self._renamed_nodes: dict[int, str] = {}
        self._targets = {key: target for key, node in self._mappings if (target := self._target(node)) is not None}
        self._wishes = self._names_wished()
        for key, node in self._mappings:
            if key in self._targets:
                self._component(key, node, self._targets[key])
        for name, value in root.value:
            if isinstance(value, yaml.MappingNode) and str(name.value).startswith("+"):
                self._merged(name.value, value)
        for key, node in scalars:
            if node.value.startswith("$") and (key, node) not in imports:
                self._expression(key, node)
        for key, node in self._mappings:
            for option, _ in option_pairs(node):
                if option.start_mark.index in self._renamed_nodes:
                    self._renamed_ids[f"{key}#{option.value}"] = self._renamed_nodes[option.start_mark.index]
        self._renamed_options = {name.rpartition("#")[2] for name in self._renamed_ids}
        for key, node in scalars:
            self._references(key, node)
        for key, node in self._mappings:
            self._override_keys(key, node)

    def _target(self, node: yaml.MappingNode) -> tuple[yaml.ScalarNode, str] | None:
        """Where the class of a component stands, and its full name."""
        found = next((value for name, value in option_pairs(node) if name.value == _TARGET), None)
        if not isinstance(found, yaml.ScalarNode):
            return None
        return found, full_target(found.value, self._aliases)

    def _names_wished(self) -> dict[int, set[str]]:
        """What the components that share an option by YAML's merges call it from now on."""
        wishes: dict[int, set[str]] = {}
        for key, node in self._mappings:
            if key not in self._targets:
                continue
            name = self._old_class(key)
            renamed = CLASSES[name].renamed if name else {}
            for option, _ in option_pairs(node):
                wishes.setdefault(option.start_mark.index, set()).add(renamed.get(option.value, option.value))
        return wishes

    def _old_class(self, key: str) -> str:
        """The name of a component's class, if it is one of monai-generative's that MONAI has; else none."""
        full = self._targets[key][1] if key in self._targets else ""
        name = full.rpartition(".")[2] if _OLD_TARGET.fullmatch(full) else ""
        return name if name in CLASSES else ""

    def _component(self, key: str, node: yaml.MappingNode, target: tuple[yaml.ScalarNode, str]) -> None:
        place, old = target
        if not _OLD_TARGET.fullmatch(old):
            if old.startswith("scripts."):
                self._note(node, key, f"{old} is the bundle's own code: see whether it uses {PACKAGE}")
            return
        name = self._old_class(key)
        if not name:
            self._problem(place, f"{key}#{_TARGET}", f"no counterpart of {old} is known in MONAI")
            return
        if old in place.value:  # rather than a name that an import gave it
            self._edit(place, f"{key}#{_TARGET}", old, CLASSES[name].target)
        self._options(key, node, name)

    def _options(self, key: str, node: yaml.MappingNode, name: str) -> None:
        new = CLASSES[name]
        self._renamed_ids |= {f"{normal_id(key)}#{option}": renamed for option, renamed in new.renamed.items()}
        on, schedule = set(), ""
        for option, value in option_pairs(node):
            given = is_on(value, self._nodes)
            on |= {option.value} if given else set()
            schedule = scalar_at(value, self._nodes) or "" if option.value == "schedule" else schedule
            where = f"{key}#{option.value}"
            if not self._refused(option, where, name, option.value, given) and option.value in new.renamed:
                self._rename(option, where, new.renamed[option.value])
        for note in notes_on(name, on, schedule):
            self._note(node, key, note)

    def _refused(self, node: yaml.Node, key: str, name: str, option: str, given: bool) -> bool:
        new = CLASSES[name]
        remedy = new.missing.get(option) or (new.refused.get(option) if given else None)
        if remedy:
            self._problem(node, key, f"{name}'s option {option} cannot be converted: {remedy}")
        return remedy is not None

    def _rename(self, option: yaml.Node, key: str, new: str) -> None:
        if len(self._wishes.get(option.start_mark.index, ())) > 1:
            message = f"components that share {option.value} by << have different names for it: give it in each"
            self._problem(option, key, message)
            return
        self._edit(option, key, option.value, new)
        self._renamed_nodes[option.start_mark.index] = new

    def _merged(self, key: str, node: yaml.MappingNode) -> None:
        """Options that MONAI merges, by the prefix +, into a component of this file or another."""
        base = normal_id(key)
        if self._old_class(base):
            self._options(key, node, self._old_class(base))
        elif base not in self._nodes and key not in self._targets:
            for option, _ in option_pairs(node):
                self._elsewhere(option, f"{key}#{option.value}", f"{base}#{option.value}")

    def _expression(self, key: str, node: yaml.ScalarNode) -> None:
        if _SCRIPTS.search(node.value):
            self._note(node, key, f"it uses the bundle's own code: see whether that uses {PACKAGE}")
        if key.rpartition("#")[2] == _TARGET and _OLD_TARGET.fullmatch(full_target(node.value, self._aliases)):
            return  # a component, see there
        done = rewrite_expression(node.value, self._aliases)
        self._aliases.update(done.aliases)
        for problem in done.problems:
            self._problem(node, key, problem)
        for note in done.notes:
            self._note(node, key, note)
        if done.text != node.value:
            self._edit(node, key, node.value, done.text)
        for name, options in done.unpacked:
            found = self._nodes.get(options)
            if isinstance(found, yaml.MappingNode):
                if not any(old.startswith(f"{options}#") for old in self._renamed_ids):
                    self._options(options, found, name)
            elif CLASSES[name].renamed:
                by_hand = f"rename {renames_of(name)} by hand"
                self._problem(node, key, f"the options {options} are not in this file: {by_hand}")

    def _references(self, key: str, node: yaml.ScalarNode) -> None:
        value = self._current(node)
        if "@" not in value and "%" not in value:
            return
        for match in _RELATIVE.finditer(value):
            if set(re.split("#|::", match[1])) & self._renamed_options:
                self._problem(node, key, f"the relative reference {match[0]} may be to a renamed option: see by hand")
        new = _REFERENCE.sub(lambda match: match[1] + self._new_id(match[2]), value)
        if new != value:
            self._edit(node, key, value, new)
        other = _OTHER_FILE.fullmatch(value)
        for name in [other[1]] if other else [match[2] for match in _REFERENCE.finditer(new)]:
            self._elsewhere(node, key, name, other is not None)

    def _override_keys(self, key: str, node: yaml.MappingNode) -> None:
        """Keys such as ``network_def#num_channels``, which override an option of a component."""
        for name, value in option_pairs(node):
            if "#" not in name.value and "::" not in name.value:
                continue
            prefix = f"{key}#" if key else ""
            full, plain = prefix + name.value, name.value.removeprefix("+")
            base, _, option = normal_id(prefix + plain).rpartition("#")
            new = self._new_id(prefix + plain).removeprefix(prefix)
            if new != plain:
                self._edit(name, full, plain, new)
            self._elsewhere(name, full, prefix + new)
            if self._old_class(base):
                self._refused(name, full, self._old_class(base), option, is_on(value, self._nodes))
            if option == _TARGET and _OLD_TARGET.fullmatch(str(value.value)):
                self._problem(value, full, f"rename {value.value} and its options by hand")

    def _elsewhere(self, node: yaml.Node, key: str, name: str, other_file: bool = False) -> None:
        """Report an id that ends in a renamed option of what this file does not hold."""
        base, _, option = normal_id(name).rpartition("#")
        if option not in RENAMED or not base:
            return
        found = None if other_file else self._nodes.get(base)
        if found is None or (isinstance(found, yaml.ScalarNode) and found.value.startswith("%")):
            where = f"{base} is not in this file: if it is one of {PACKAGE}'s classes"
            self._problem(node, key, f"{where}, rename {option} to {RENAMED[option]} by hand")

    def _new_id(self, name: str) -> str:
        tokens = re.split("(#|::)", name)
        if len(tokens) > 2 * _DEEPEST:  # than any id of this file has
            return name
        old = list(tokens)
        for last in range(0, len(tokens), 2):
            renamed = self._renamed_ids.get("#".join(old[: last + 1 : 2]))
            tokens[last] = renamed or tokens[last]
        return "".join(tokens)


def _is_import(text: str) -> bool:
    return text.startswith("$") and text[1:].lstrip().startswith(("import ", "from "))
