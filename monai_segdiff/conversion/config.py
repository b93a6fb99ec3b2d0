"""Convert configuration files of bundles, in place: comments, order and layout stay."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from monai_segdiff.conversion.classes import CLASSES
from monai_segdiff.conversion.expressions import PACKAGE, rewrite_expression

__all__ = ["ConvertedConfig", "convert_config"]

_TARGET = "_target_"
_OLD_TARGET = re.compile(rf"{PACKAGE}(\.\w+)+")
_REFERENCE = re.compile(r"([@%])(\w+(?:(?:#|::)\w+)*)")
_RELATIVE = re.compile(r"@#+(\w+(?:(?:#|::)\w+)*)")


@dataclass(frozen=True)
class ConvertedConfig:
    """A configuration for MONAI.

    Attributes:
        text: the file's text.
        data: its content.
        changes: what was changed, as ``FILE:LINE: KEY: OLD -> NEW``.
        problems: what could not be converted, as ``FILE:LINE: KEY: REASON``; the text has it as it was.
        notes: what differs between the packages in what was converted.
        is_json: whether the text is JSON rather than YAML, as the name of the old file said.
    """

    text: str
    data: Any
    changes: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    is_json: bool = False

    def text_for(self, path: str | os.PathLike[str]) -> str:
        """The text in the syntax of a file name: JSON for ``.json``, else YAML.

        Where the old file had the same syntax, layout and comments are its own.

        Args:
            path: name of the new file.

        Raises:
            ValueError: where YAML holds something that JSON has no form for, such as a date.
        """
        if _is_json(path) == self.is_json:
            return self.text
        if _is_json(path):
            try:
                return json.dumps(self.data, indent=4, ensure_ascii=False) + "\n"
            except TypeError as error:
                raise ValueError(f"{path} cannot hold the configuration ({error}): give a name in .yaml") from error
        return yaml.safe_dump(self.data, sort_keys=False, allow_unicode=True, width=120)


def convert_config(path: str | os.PathLike[str]) -> ConvertedConfig:
    """Convert a bundle configuration that uses monai-generative 0.2.3.

    Converted are ``_target_`` of any depth, options of these components, references to such options
    (``@network#channels``), expressions (``$generative.networks.nets...``) and imports. Nothing of it is run.

    Args:
        path: JSON or YAML file.

    Returns:
        The configuration for MONAI, with what was changed and what could not be.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where it is no readable JSON or YAML.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no configuration {file}: give the bundle's JSON or YAML file.")
    try:
        text = file.read_text(encoding="utf-8")
        if _is_json(file):
            text = text.replace("\t", "    ")  # YAML, which JSON is read as, knows no tabs between its tokens
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise ValueError(f"{file} is no configuration: it holds no keys.")
        scan = _Scan(file, text, root)
        converted = scan.converted()
        # YAML 1.1 reads JSON's 1e-05 as text, so that its values are those of JSON's own reader.
        data = json.loads(converted) if _is_json(file) else yaml.safe_load(converted)
    except (yaml.YAMLError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not readable as {'JSON' if _is_json(file) else 'YAML'}: {error}") from error
    findings = tuple(scan.changes), tuple(scan.problems), tuple(scan.notes)
    return ConvertedConfig(converted, data, *findings, is_json=_is_json(file))


class _Scan:
    """One pass over a file for what is renamed where it stands, and one for what refers to it."""

    def __init__(self, file: Path, text: str, root: yaml.MappingNode) -> None:
        self.file, self.text = file, text
        self.edits: dict[int, tuple[int, str]] = {}
        self._done: set[tuple[int, str, str]] = set()
        self.changes: list[str] = []
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.renamed_ids: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.nodes: dict[str, yaml.Node] = {}
        for path, node in _walk(root, ()):
            key = "#".join(path)
            self.nodes.setdefault(key, node)
            if isinstance(node, yaml.MappingNode):
                self._component(key, node)
        scalars = [(key, node) for key, node in self.nodes.items() if isinstance(node, yaml.ScalarNode)]
        scalars.sort(key=lambda item: not _is_import(item[1].value))  # an import's names are needed by the others
        for key, node in scalars:
            if node.value.startswith("$"):
                self._expression(key, node)
        for key, node in scalars:
            self._references(key, node)
        for key, node in self.nodes.items():
            if isinstance(node, yaml.MappingNode):
                self._override_keys(key, node)

    def converted(self) -> str:
        """The text with every edit in it."""
        text = self.text
        for start, (end, new) in sorted(self.edits.items(), reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def _component(self, key: str, node: yaml.MappingNode) -> None:
        target = next((value for name, value in node.value if name.value == _TARGET), None)
        old = target.value.removeprefix("$") if isinstance(target, yaml.ScalarNode) else ""
        name = old.rpartition(".")[2]
        if old.startswith("scripts."):
            self.notes.append(
                f"{self._place(node, key)}: {old} is the bundle's own code: see whether it uses {PACKAGE}"
            )
        if not isinstance(target, yaml.ScalarNode) or not _OLD_TARGET.fullmatch(old):
            return
        if name not in CLASSES:
            self._problem(target, f"{key}#{_TARGET}", f"no counterpart of {old} is known in MONAI")
            return
        self._edit(target, f"{key}#{_TARGET}", old, CLASSES[name].target)
        self._options(key, node, name)

    def _options(self, key: str, node: yaml.MappingNode, name: str) -> None:
        new = CLASSES[name]
        if new.note:
            self.notes.append(f"{self._place(node, key)}: {new.note}")
        for option, value in node.value:
            remedy = new.missing.get(option.value) or (new.refused.get(option.value) if _is_on(value) else None)
            if remedy:
                self._problem(
                    option, f"{key}#{option.value}", f"{name}'s option {option.value} cannot be converted: {remedy}"
                )
            elif option.value in new.renamed:
                self._edit(option, f"{key}#{option.value}", option.value, new.renamed[option.value])
                self.renamed_ids[f"{key}#{option.value}"] = new.renamed[option.value]
        given = {option.value for option, value in node.value if _is_on(value)}
        if {"use_flash_attention", "dropout_cattn"} <= given:
            self.notes.append(
                f"{self._place(node, key)}: with use_flash_attention and dropout_cattn, MONAI's {name} drops attention "
                "at inference, too: set use_flash_attention to false"
            )

        cosine = any(option.value == "schedule" and value.value == "cosine" for option, value in node.value)
        if cosine and name.endswith("Scheduler"):
            self.notes.append(
                f"{self._place(node, key)}: MONAI's cosine schedule begins a step later than that of monai-generative, "
                "so that noise levels differ a little from those of training"
            )

    def _expression(self, key: str, node: yaml.ScalarNode) -> None:
        if node.start_mark.index in self.edits:
            return
        done = rewrite_expression(node.value, self.aliases)
        self.aliases.update(done.aliases)
        for problem in done.problems:
            self._problem(node, key, problem)
        self.notes += [f"{self._place(node, key)}: {note}" for note in done.notes]
        if done.text != node.value:
            self._edit(node, key, node.value, done.text)
        for name, options in done.unpacked:
            found = self.nodes.get(options)
            if isinstance(found, yaml.MappingNode):
                if not any(old.startswith(f"{options}#") for old in self.renamed_ids):
                    self._options(options, found, name)
            elif CLASSES[name].renamed:
                self._problem(node, key, f"the options {options} are not in this file: rename {_renames(name)} by hand")

    def _references(self, key: str, node: yaml.ScalarNode) -> None:
        value = self._current(node)
        if "@" not in value and "%" not in value:
            return
        names = {name.rpartition("#")[2] for name in self.renamed_ids}
        for match in _RELATIVE.finditer(value):
            if set(re.split("#|::", match[1])) & names:
                self._problem(node, key, f"the relative reference {match[0]} may be to a renamed option: see by hand")
        new = _REFERENCE.sub(lambda match: match[1] + self._new_id(match[2]), value)
        if new != value:
            self._edit(node, key, value, new)

    def _override_keys(self, key: str, node: yaml.MappingNode) -> None:
        """Keys such as ``network_def#num_channels``, which override an option of a component."""
        for name, _ in node.value:
            if "#" in name.value or "::" in name.value:
                full = f"{key}#{name.value}" if key else name.value
                new = self._new_id(full).removeprefix(f"{key}#" if key else "")
                if new != name.value:
                    self._edit(name, full, name.value, new)

    def _new_id(self, name: str) -> str:
        tokens = re.split("(#|::)", name)
        old = list(tokens)
        for last in range(0, len(tokens), 2):
            renamed = self.renamed_ids.get("#".join(old[: last + 1 : 2]))
            tokens[last] = renamed or tokens[last]
        return "".join(tokens)

    def _current(self, node: yaml.ScalarNode) -> str:
        """A scalar's value after the edits so far."""
        edit = self.edits.get(node.start_mark.index)
        return node.value if edit is None else str(yaml.safe_load(edit[1]))

    def _edit(self, node: yaml.Node, key: str, old: str, new: str) -> None:
        start, end = node.start_mark.index, node.end_mark.index
        if (start, old, new) in self._done:
            return  # what an alias of YAML repeats stands in the text once
        self._done.add((start, old, new))
        source = self.edits[start][1] if start in self.edits else self.text[start:end]
        if old in source:
            source = source.replace(old, new, 1)
        else:  # folded over lines, or with escapes: in one line then
            source = json.dumps(new, ensure_ascii=False) + ("\n" if self.text[start] in "|>" else "")
        self.edits[start] = (end, source)
        self.changes.append(f"{self._place(node, key)}: {old} -> {new}")

    def _problem(self, node: yaml.Node, key: str, message: str) -> None:
        self.problems.append(f"{self._place(node, key)}: {message}")

    def _place(self, node: yaml.Node, key: str) -> str:
        return f"{self.file}:{node.start_mark.line + 1}: {key.lstrip('#')}"


def _walk(node: yaml.Node, key: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], yaml.Node]]:
    """Every node with its id, a node that an alias repeats once for each."""
    yield key, node
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _walk(value, (*key, str(name.value)))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*key, str(index)))


def _is_on(node: yaml.Node) -> bool:
    """Whether an option is neither false, null nor zero, as far as it says."""
    return not (
        isinstance(node, yaml.ScalarNode) and node.value.lower() in ("false", "no", "off", "null", "~", "", "0", "0.0")
    )


def _renames(name: str) -> str:
    return ", ".join(f"{old} to {new}" for old, new in CLASSES[name].renamed.items())


def _is_import(text: str) -> bool:
    return text.startswith("$") and text[1:].lstrip().startswith(("import ", "from "))


def _is_json(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() == ".json"
