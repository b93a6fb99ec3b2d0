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
        problems: what is left to do by hand, as ``FILE:LINE: KEY: WHAT``.
        notes: what differs between the packages in what was converted.
    """

    def __init__(self, file: Path, text: str) -> None:
        self._file, self._text = file, text
        self._edits: dict[int, tuple[int, str]] = {}
        self._said: set[tuple[int, str]] = set()
        self.changes: list[str] = []
        self.problems: list[str] = []
        self.notes: list[str] = []

    def converted(self) -> str:
        """The text with every edit in it."""
        text = self._text
        for start, (end, source) in sorted(self._edits.items(), reverse=True):
            text = text[:start] + source + text[end:]
        return text

    def _edit(self, node: yaml.Node, key: str, old: str, new: str) -> None:
        start, end = node.start_mark.index, node.end_mark.index
        if start in self._edits:
            return
        source = self._text[start:end]
        if old in source:
            source = source.replace(old, new, 1)
        else:  # folded over lines, or with escapes: in one line then
            source = json.dumps(new, ensure_ascii=False) + ("\n" if self._text[start] in "|>" else "")
        self._edits[start] = (end, source)
        self._say(self.changes, node, key, f"{old} -> {new}")

    def _say(self, lines: list[str], node: yaml.Node, key: str, message: str) -> None:
        entry = (node.start_mark.index, message)
        if entry not in self._said:
            self._said.add(entry)
            lines.append(f"{self._file}:{node.start_mark.line + 1}: {key.lstrip('#')}: {message}")
