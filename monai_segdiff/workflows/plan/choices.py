"""What a plan consists of: values with their reasons, some of them the user's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Choice", "Choices"]


@dataclass(frozen=True)
class Choice:
    """A value of the plan.

    Args:
        value: of plain types.
        reason: why, in one line.
        planned: what would stand there without the user.
    """

    value: Any
    reason: str
    planned: Any


@dataclass
class Choices:
    """The choices of a plan, in their order.

    Args:
        edited: values that the user has given, by key, such as ``prepare.axis``.
        made: the choices by key.
        notes: what holds for the plan as a whole, a line each.
        added: keys that no plan has by itself.
        asked: values that options name, by key; they are what is planned.
    """

    edited: Mapping[str, Any] = field(default_factory=dict)
    made: dict[str, Choice] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    added: set[str] = field(default_factory=set)
    asked: Mapping[str, Any] = field(default_factory=dict)

    def choose(self, key: str, value: Any, reason: str) -> Any:
        """Choose a value, unless the user has.

        Args:
            key: name of the value.
            value: what is planned.
            reason: why.

        Returns:
            The value that holds.
        """
        if key in self.asked:
            value, reason = self.asked[key], f"as asked for (--{key.rpartition('.')[2].replace('_', '-')})"
        planned = list(value) if isinstance(value, tuple) else value
        if key in self.edited:
            held = self.edited[key]
            said = f"yours; planned was {planned}: {reason}" if held != planned else reason
            self.made[key] = Choice(held, said, planned)
        else:
            self.made[key] = Choice(planned, reason, planned)
        return self.made[key].value

    def add(self, key: str) -> None:
        """Take over a value of the user's that no plan has by itself."""
        self.added.add(key)
        self.choose(key, self.edited[key], "yours")

    def __getitem__(self, key: str) -> Any:
        return self.made[key].value

    def section(self, name: str) -> dict[str, Any]:
        """Values of a section without its name; of "" the values outside all sections."""
        return {key.rpartition(".")[2]: made.value for key, made in self._of(name)}

    def planned(self) -> dict[str, Any]:
        """What would stand there without the user, by key."""
        return {key: made.planned for key, made in self.made.items() if key not in self.added}

    def _of(self, name: str) -> Iterator[tuple[str, Choice]]:
        return ((key, made) for key, made in self.made.items() if key.rpartition(".")[0] == name)
