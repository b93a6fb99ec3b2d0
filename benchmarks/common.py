"""What all benchmarks share: facts of the machine, figures on disk as they come, and the command line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from monai_segdiff.files import atomic_file
from monai_segdiff.metrics import Estimate

__all__ = ["RESULTS", "Cell", "Column", "Results", "Table", "arguments", "chosen_device", "machine", "say"]

Cell = Estimate | float | int | str | None
RESULTS = Path(__file__).parents[1] / "docs" / "results"

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


def say(text: str) -> None:
    """Report progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def arguments(description: str, name: str) -> argparse.ArgumentParser:
    """Start a command line with what every benchmark takes.

    Args:
        description: what the benchmark measures.
        name: name of its result files in ``docs/results``.
    """
    parser = argparse.ArgumentParser(
        f"python -m benchmarks.{name}", description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=RESULTS / name, help="result files, without their ending")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything")
    parser.add_argument("--overwrite", action="store_true", help="discard results that were made with other arguments")
    return parser


def chosen_device(name: str | None) -> torch.device:
    """The device of that name; without one a GPU where there is one."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def machine(device: torch.device | None = None) -> dict[str, Any]:
    """Facts of this machine that times depend on.

    Args:
        device: where networks run; the CPU by default.
    """
    found: dict[str, Any] = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    information = Path("/proc/cpuinfo")
    if information.is_file():
        entries = dict(line.split(":", 1) for line in information.read_text().splitlines() if ":" in line)
        entries = {key.strip(): value.strip() for key, value in entries.items()}
        found["cpu"] = entries.get("model name", found["cpu"])
        found["flags"] = [flag for flag in _FLAGS if flag in entries.get("flags", "").split()]
    if device is not None and device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: heading.
        style: how its figures are written, as in ``str.format``.
    """

    title: str
    style: str = "{}"

    def show(self, cell: Cell) -> str:
        """A figure as text, with its interval where it has one."""
        if not isinstance(cell, Estimate):
            return "–" if cell is None else self.style.format(cell)
        if cell.value is None:
            return "not computable"
        text = self.style.format(cell.value)
        if cell.low is None or cell.high is None:
            return text
        return f"{text} [{self.style.format(cell.low)}, {self.style.format(cell.high)}]"


@dataclass(frozen=True)
class Table:
    """Rows that are shown together.

    Args:
        title: heading.
        columns: key of a cell to its column.
        rows: key of a row to its label; rows that are not measured are left out.
        notes: what a reader has to know.
    """

    title: str
    columns: Mapping[str, Column]
    rows: Mapping[str, str]
    notes: Sequence[str] = field(default_factory=tuple)


class Results:
    """Figures of one benchmark, written as JSON and as a Markdown page whenever a row is finished.

    Args:
        output: path of the files without their ending.
        title: heading of the page.
        text: what was measured.
        settings: everything that the figures depend on, of JSON types. Rows on disk with the same settings are kept.
        tables: how the rows are shown.
        device: where networks run.
        overwrite: discard rows that were made with other settings.

    Raises:
        ValueError: if there are rows that were made with other settings.
    """

    def __init__(
        self,
        output: Path,
        title: str,
        text: str,
        settings: Mapping[str, Any],
        tables: Sequence[Table],
        device: torch.device | None = None,
        overwrite: bool = False,
    ) -> None:
        self.output = output
        self.title, self.text, self.tables = title, text, tables
        self.settings = json.loads(json.dumps(settings))
        self.rows: dict[str, dict[str, Cell]] = {}
        self.machines: list[dict[str, Any]] = []
        self.pictures: list[tuple[str, str]] = []
        if self._json.is_file() and not overwrite:
            self._load()
        here = json.loads(json.dumps(machine(device)))
        if here not in self.machines:
            self.machines.append(here)

    @property
    def _json(self) -> Path:
        return self.output.with_name(f"{self.output.name}.json")

    @property
    def page(self) -> Path:
        """The Markdown page."""
        return self.output.with_name(f"{self.output.name}.md")

    def _load(self) -> None:
        content = json.loads(self._json.read_text())
        if differing := sorted(
            key
            for key in {*self.settings, *content["settings"]}
            if self.settings.get(key) != content["settings"].get(key)
        ):
            raise ValueError(
                f"{self._json} was made with another {', '.join(differing)}: give the same arguments, "
                "another --output, or --overwrite"
            )
        self.machines = content["machines"]
        self.rows = {
            key: {name: _cell(value) for name, value in cells.items()} for key, cells in content["rows"].items()
        }

    def __contains__(self, key: str) -> bool:
        return key in self.rows

    def add(self, key: str, cells: Mapping[str, Cell]) -> None:
        """Add a finished row and write it.

        Args:
            key: the row's key.
            cells: its figures by column.
        """
        self.rows[key] = dict(cells)
        self.write()

    def show(self, file: Path, caption: str) -> None:
        """Add a picture, which lies beside the page, and write."""
        self.pictures.append((file.name, caption))
        self.write()

    def write(self) -> None:
        """Write both files, each complete or not at all."""
        content = {
            "title": self.title,
            "settings": self.settings,
            "machines": self.machines,
            "rows": {key: {name: _plain(cell) for name, cell in row.items()} for key, row in self.rows.items()},
        }
        for file, text in ((self._json, json.dumps(content, indent=1) + "\n"), (self.page, self.markdown())):
            with atomic_file(file) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def markdown(self) -> str:
        """The page."""
        lines = [f"# {self.title}", "", self.text]
        for table in self.tables:
            lines += ["", f"## {table.title}", ""]
            lines += _markdown_table(table, self.rows)
            lines += ["", *(f"- {note}" for note in table.notes)] if table.notes else []
        for name, caption in self.pictures:
            lines += ["", f"![{caption}]({name})", "", caption]
        lines += ["", "## Measured with", ""]
        lines += [f"- {key}: {_listed(value)}" for key, value in self.settings.items()]
        lines += [f"- machine: {_listed(found)}" for found in self.machines]
        return "\n".join(lines) + "\n"


def _markdown_table(table: Table, rows: Mapping[str, Mapping[str, Cell]]) -> list[str]:
    lines = [
        "| | " + " | ".join(column.title for column in table.columns.values()) + " |",
        "|---|" + "---|" * len(table.columns),
    ]
    for key, label in table.rows.items():
        if key in rows:
            cells = [column.show(rows[key].get(name)) for name, column in table.columns.items()]
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def _listed(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_listed(item)}" for key, item in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _plain(cell: Cell) -> Any:
    return asdict(cell) if isinstance(cell, Estimate) else cell


def _cell(value: Any) -> Cell:
    if isinstance(value, dict) and set(value) == {entry.name for entry in fields(Estimate)}:
        return Estimate(**value)
    return value
