"""What a report consists of, and its forms that programs read: JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from monai_segdiff.files import atomic_file
from monai_segdiff.metrics import Estimate

__all__ = ["Cell", "Column", "Headline", "Picture", "Report", "Row", "Section", "format_cell"]

Cell = Estimate | float | int | str | None

_FORMATS = {
    "number": "{:.3f}",
    "length": "{:.2f}",
    "percent": "{:.1%}",
    "small percent": "{:.2%}",
    "count": "{:,d}",
    "text": "{}",
    "error": "{:.4f}",
    "error difference": "{:+.4f}",
    "decibel": "{:.2f}",
    "decibel difference": "{:+.2f}",
    "seconds": "{:.3g}",
}


@dataclass(frozen=True)
class Column:
    """A column of a section's table.

    Args:
        title: heading.
        style: "number", "length" (two decimals), "distance" (five decimals where small), "percent", "small percent"
            (two decimals), "count", "seconds" or "text"; "error" (four decimals) and "decibel" (two), or "error
            difference" and "decibel difference", which show their sign.
    """

    title: str
    style: str = "number"


@dataclass(frozen=True)
class Row:
    """A row of a section's table: what it is about (key for programs, label for readers), and its cells by column."""

    key: str
    label: str
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Picture:
    """A picture of rows of tiles.

    Args:
        caption: what it shows.
        pixels: uint8 (height, width, 3).
        rows: what each row shows, from the top.
        legend: names to colors.
    """

    caption: str
    pixels: np.ndarray
    rows: tuple[str, ...]
    legend: dict[str, tuple[int, int, int]] = field(default_factory=dict)


@dataclass
class Section:
    """One subject of the report.

    Args:
        key: name for programs.
        title: heading.
        text: what the figures mean, in a few sentences.
        columns: by key, in order.
        rows: figures.
        notes: what they were computed with.
        warnings: why they should be read with care.
        pictures: shown below the table.
    """

    key: str
    title: str
    text: str
    columns: dict[str, Column]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


@dataclass(frozen=True)
class Headline:
    """One of the figures that are read first.

    Args:
        label: what it is.
        figure: section, row and column.
        style: as of a column.
        against: the figure to compare it with.
        name: what that is.
    """

    label: str
    figure: tuple[str, str, str]
    style: str
    against: tuple[str, str, str]
    name: str


@dataclass
class Report:
    """A whole report.

    Args:
        title: heading.
        compared: what was compared with what, by name.
        split: how training and held-out cases were separated.
        split_is_weak: whether that limits what the report can say.
        sections: its subjects.
        samples: the picture of samples.
        headlines: the figures that are read first.
    """

    title: str
    compared: dict[str, str]
    split: str
    split_is_weak: bool
    sections: list[Section]
    samples: Picture
    headlines: Sequence[Headline] = ()

    def cell(self, section: str, row: str, column: str) -> Cell:
        """Look up one figure by its keys.

        Raises:
            KeyError: if there is none.
        """
        for candidate in (r for s in self.sections if s.key == section for r in s.rows if r.key == row):
            return candidate.cells[column]
        raise KeyError(f"the report has no figure {section}/{row}/{column}")

    @property
    def warnings(self) -> list[str]:
        """All warnings, those about the split first."""
        own = [self.split] if self.split_is_weak else []
        return own + [warning for section in self.sections for warning in section.warnings]

    def to_dict(self) -> dict[str, Any]:
        """All figures as nested dictionaries of JSON types: sections -> row -> column."""
        return {
            "title": self.title,
            "compared": self.compared,
            "split": self.split,
            "warnings": self.warnings,
            "sections": {
                section.key: {row.key: {k: _plain(v) for k, v in row.cells.items()} for row in section.rows}
                for section in self.sections
            },
            "notes": {section.key: section.notes for section in self.sections},
        }

    def summary(self) -> str:
        """The tables as text, for a terminal."""
        lines = [self.title, self.split]
        for section in self.sections:
            lines += ["", section.title]
            table = [["", *(column.title for column in section.columns.values())]]
            table += [
                [row.label, *(format_cell(row.cells.get(k), c.style) for k, c in section.columns.items())]
                for row in section.rows
            ]
            widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
            lines += ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in table]
            lines += [f"note: {note}" for note in section.notes]
            lines += [f"WARNING: {warning}" for warning in section.warnings]
        return "\n".join(lines)

    def markdown(self) -> str:
        """The tables as Markdown."""
        lines = [f"# {self.title}", "", self.split]
        for section in self.sections:
            titles = ["", *(column.title for column in section.columns.values())]
            lines += ["", f"## {section.title}", "", f"| {' | '.join(titles)} |", "|---|" + "--:|" * len(titles[1:])]
            for row in section.rows:
                cells = [format_cell(row.cells.get(k), c.style) for k, c in section.columns.items()]
                lines.append(f"| {' | '.join([row.label, *cells])} |")
            lines += ["", *(f"- {note}" for note in [*section.notes, *section.warnings])]
        return "\n".join(lines) + "\n"

    def write_data(self, folder: str | Path, name: str = "report") -> None:
        """Write `report.json`, `report.csv` and `report.txt`, each complete or not at all.

        Args:
            folder: where to.
            name: of the files, without their ending.

        Raises:
            OSError: if the folder cannot be written.
        """
        folder = Path(folder)
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["section", "row", "column", "value", "low", "high", "n", "groups", "reason"])
        writer.writerows(self._lines())
        for ending, text in (
            ("json", json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"),
            ("csv", table.getvalue()),
            ("txt", self.summary() + "\n"),
        ):
            with atomic_file(folder / f"{name}.{ending}") as temporary:
                temporary.write_text(text, encoding="utf-8")

    def _lines(self) -> Iterator[list[Any]]:
        for section in self.sections:
            for row in section.rows:
                for column, value in row.cells.items():
                    cell = value if isinstance(value, Estimate) else None
                    figures = [cell.value, cell.low, cell.high, cell.n, cell.groups, cell.reason] if cell else [value]
                    yield [section.key, row.key, column, *figures, *[None] * (6 - len(figures))]


def format_cell(cell: Cell, style: str) -> str:
    """A figure as text, with its interval where it has one."""
    if cell is None:
        return "–"
    if not isinstance(cell, Estimate):
        return _format(cell, style)
    if cell.value is None:
        return "not computable"
    text = _format(cell.value, style)
    if cell.low is None or cell.high is None:
        return text
    return f"{text} [{_format(cell.low, style)}, {_format(cell.high, style)}]"


def _format(value: float | int | str, style: str) -> str:
    if style == "distance":
        return ("{:.5f}" if abs(float(value)) < 0.1 else "{:.3f}").format(value)
    return _FORMATS[style].format(value)


def _plain(cell: Cell) -> Any:
    if not isinstance(cell, Estimate):
        return cell
    kept = {"value": cell.value, "low": cell.low, "high": cell.high, "n": cell.n, "groups": cell.groups}
    return kept if cell.reason is None else {**kept, "not computable": cell.reason}
