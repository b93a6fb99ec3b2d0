"""What the ids of a label map are made of: tables of tissues in Hounsfield units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from monai_segdiff.documents import Table, read_table

__all__ = ["TISSUE_KINDS", "Tissue", "read_tissues", "tissue_file"]

_TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Tissue:
    """What one id of a label map is made of.

    A bone is a shell (the cortex) around spongy bone; where it is narrow, as in the shaft of a long bone, thickness and
    inside change to those of the shaft. Id 0 is what lies between the labeled structures, inside a body that reaches
    `margin_mm` beyond them; its shell is the skin.

    Args:
        name: structure.
        hu: inside, in HU.
        texture: standard deviation in HU of the inside.
        shell_mm: thickness of the shell; 0 for none.
        shell_hu: of the shell; by default that of skin.
        shaft_mm: thickness of the shell where the bone is narrow; by default `shell_mm`.
        shaft_hu: inside where the bone is narrow; by default `hu`.
        margin_mm: of id 0: how far the body reaches beyond the labeled structures.
        extend_mm: of id 0: how far the limb is continued beyond the first and the last labeled slice.
    """

    name: str
    hu: float
    texture: float = 0.0
    shell_mm: float = 0.0
    shell_hu: float = 35.0
    shaft_mm: float | None = None
    shaft_hu: float | None = None
    margin_mm: float = 0.0
    extend_mm: float = 0.0


TISSUE_KINDS = {
    "bone": Tissue("", 280, 70, 1.5, 1400),
    "muscle": Tissue("", 55, 8),
    "fat": Tissue("", -100, 7),
    "skin": Tissue("", 35),
    "tendon": Tissue("", 90, 5),
    "ligament": Tissue("", 85, 5),
    "cartilage": Tissue("", 85, 5),
    "meniscus": Tissue("", 95, 5),
    "vessel": Tissue("", 45),
    "nerve": Tissue("", 30),
    "fluid": Tissue("", 10),
    "soft": Tissue("", 40, 8),
    "air": Tissue("", -1000),
}
"""What each kind of tissue is made of unless the table says otherwise."""

_NUMBERS = ("hu", "texture", "shell_mm", "shell_hu", "shaft_mm", "shaft_hu", "margin_mm", "extend_mm")
_LIMITS = {"hu": (-1024.0, 4000.0), "shell_hu": (-1024.0, 4000.0), "shaft_hu": (-1024.0, 4000.0)}
_NOT_NEGATIVE = (0.0, 1000.0)
_MOST_LINES = 100_000  # more than label maps have ids


def tissue_file(table: str | Path) -> Path:
    """Path of a table of tissues.

    Args:
        table: CSV file, or the name of a table that comes with the package: `spl_knee_atlas`.

    Raises:
        FileNotFoundError: if it is neither.
    """
    shipped = {path.stem: path for path in sorted(_TABLES.glob("*.csv"))}
    path = shipped.get(str(table), Path(table).expanduser())
    if not path.is_file():
        raise FileNotFoundError(
            f"{table} is no file, and no table that comes with the package ({', '.join(shipped)}) has this name"
        )
    return path.resolve()


def read_tissues(table: str | Path) -> dict[int, Tissue]:
    """Read a table of tissues.

    Its first line is `id,name,kind` and any of `hu`, `texture`, `shell_mm`, `shell_hu`, `shaft_mm`, `shaft_hu`,
    `margin_mm` and `extend_mm` (see `Tissue`). `kind` is one of `TISSUE_KINDS`; a number left empty is that kind's.
    Empty lines and lines that begin with `#` are skipped.

    Args:
        table: CSV file, or the name of a table that comes with the package: `spl_knee_atlas`.

    Returns:
        Label id to tissue.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: if a line cannot be understood; names file, line and remedy.
    """
    file = tissue_file(table)
    content = read_table(file, "a table of tissues (CSV)", comments=True, short_lines=True, most_lines=_MOST_LINES)
    columns = _columns(content)
    tissues: dict[int, Tissue] = {}
    for number, row in content:
        try:
            label, tissue = _tissue({columns[name]: cell for name, cell in row.items()})
            if label in tissues:
                raise ValueError(f"id {label} is there already, as {tissues[label].name!r}")
            tissues[label] = tissue
        except ValueError as error:
            raise ValueError(f"{file}, line {number}: {error}") from None
    if not tissues:
        raise ValueError(f"{file} names no tissue; a table begins with id,name,kind and has a line for each id")
    return tissues


def _columns(table: Table) -> dict[str, str]:
    """The columns as they are spelled, to what they are called here."""
    columns = {column: column.lower() for column in table.columns}
    names = list(columns.values())
    unknown = [name for name in names if name not in ("id", "name", "kind", *_NUMBERS)]
    if unknown or not {"id", "name", "kind"} <= set(names) or len(set(names)) < len(names):
        raise ValueError(
            f"{table.file}, line {table.heading}: expected the heading id,name,kind and any of "
            f"{', '.join(_NUMBERS)}, each once; got {','.join(table.columns)}"
        )
    return columns


def _tissue(row: Mapping[str, str]) -> tuple[int, Tissue]:
    if not (row["id"].isdecimal() and row["id"].isascii() and len(row["id"]) < 10):
        raise ValueError(f"id must be a whole number from 0 on, got {row['id']!r}")
    label, kind = int(row["id"]), row["kind"].lower()
    if kind not in TISSUE_KINDS:
        raise ValueError(f"unknown kind {kind!r}; the kinds are {', '.join(TISSUE_KINDS)}")
    numbers = {column: _number(column, row[column]) for column in _NUMBERS if row.get(column)}
    if label != 0 and numbers.keys() & {"margin_mm", "extend_mm"}:
        raise ValueError("margin_mm and extend_mm describe the body; they belong to id 0")
    return label, replace(TISSUE_KINDS[kind], name=row["name"] or f"id {label}", **numbers)


def _number(column: str, text: str) -> float:
    low, high = _LIMITS.get(column, _NOT_NEGATIVE)
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{column} must be a number, got {text!r}") from None
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{column} must be between {low:g} and {high:g}, got {text}")
    return value
