"""Edits of a configuration's text, with what is to be said about them."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

__all__ = ["Edits"]


class Edits:
    """Edits of a text where its YAML nodes stand; what an alias of YAML repeats stands there once.

    Args:
        file: its name, for messages.
        text: the text.

    Attributes:
        changes: what was changed, as ``FILE:LINE: KEY: OLD -> NEW``.
        problems: what could not be converted, as ``FILE:LINE: KEY: REASON``.
        notes: what differs between the packages in what was converted.
    """

    def __init__(self, file: Path, text: str) -> None:
        self._file, self._text = file, text
        self._edits: dict[int, tuple[int, str]] = {}
        self._done: set[tuple[int, str, str]] = set()
        self.changes: list[str] = []
        self.problems: list[str] = []
        self.notes: list[str] = []

    def converted(self) -> str:
        """The text with every edit in it."""
        text = self._text
        for start, (end, new) in sorted(self._edits.items(), reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def _current(self, node: yaml.ScalarNode) -> str:
        """A scalar's value after the edits so far."""
        edit = self._edits.get(node.start_mark.index)
        return node.value if edit is None else str(yaml.safe_load(edit[1]))

    def _edit(self, node: yaml.Node, key: str, old: str, new: str) -> None:
        start, end = node.start_mark.index, node.end_mark.index
        if not self._is_first(start, old, new):
            return
        source = self._edits[start][1] if start in self._edits else self._text[start:end]
        if old in source:
            source = source.replace(old, new, 1)
        else:  # folded over lines, or with escapes: in one line then
            source = json.dumps(new, ensure_ascii=False) + ("\n" if self._text[start] in "|>" else "")
        self._edits[start] = (end, source)
        self.changes.append(f"{self._place(node, key)}: {old} -> {new}")

    def _problem(self, node: yaml.Node, key: str, message: str) -> None:
        if self._is_first(node.start_mark.index, "problem", message):
            self.problems.append(f"{self._place(node, key)}: {message}")

    def _note(self, node: yaml.Node, key: str, message: str) -> None:
        if self._is_first(node.start_mark.index, "note", message):
            self.notes.append(f"{self._place(node, key)}: {message}")

    def _is_first(self, start: int, kind: str, what: str) -> bool:
        entry = (start, kind, what)
        first = entry not in self._done
        self._done.add(entry)
        return first

    def _place(self, node: yaml.Node, key: str) -> str:
        return f"{self._file}:{node.start_mark.line + 1}: {key.lstrip('#')}"
