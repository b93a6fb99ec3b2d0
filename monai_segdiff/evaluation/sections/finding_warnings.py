"""Why figures about findings should be read with care."""

from __future__ import annotations

from collections.abc import Sequence

from monai_segdiff.evaluation.report.report import Row
from monai_segdiff.metrics import Estimate

__all__ = ["finding_warnings"]

_RELIABLE = 0.95  # sensitivity and specificity from which on a hit rate says something
_FEW = 50
_RATES = {"sensitivity": "sensitivity", "specificity": "specificity", "hit": "hit rate", "false": "false rate"}


def finding_warnings(rows: Sequence[Row]) -> list[str]:
    """Warn of missing figures, of a classifier that is not reliable enough, and of too few images.

    Args:
        rows: one for each finding, with the cells "sensitivity", "specificity", "hit" and "false".
    """
    return [*_missing(rows), *_unreliable(rows), *_few(rows)]


def _missing(rows: Sequence[Row]) -> list[str]:
    cells = [(f"{row.label}: {title}", row.cells[key]) for row in rows for key, title in _RATES.items()]
    return [
        f"{what} not computable, {cell.reason}."
        for what, cell in cells
        if isinstance(cell, Estimate) and cell.reason is not None
    ]


def _unreliable(rows: Sequence[Row]) -> list[str]:
    found = []
    for row in rows:
        values = [_value(row, key) for key in ("sensitivity", "specificity")]
        if _value(row, "hit") is None or all(value is not None and value >= _RELIABLE for value in values):
            continue
        known = " and ".join("unknown" if value is None else f"{value:.1%}" for value in values)
        found.append(
            f"{row.label}: sensitivity and specificity on held-out real images are {known}, not both "
            f"{_RELIABLE:.0%} or more: the hit rate says little."
        )
    return found


def _few(rows: Sequence[Row]) -> list[str]:
    found = []
    for key, what in (("sensitivity", "held-out real images that show it"), ("hit", "synthetic images asked for it")):
        numbers = [(row.label, cell.n) for row in rows if isinstance(cell := row.cells[key], Estimate)]
        few = ", ".join(f"{label} ({n})" for label, n in numbers if 0 < n < _FEW)
        if few:
            found.append(f"Too few {what} to tell small differences: {few}.")
    return found


def _value(row: Row, key: str) -> float | None:
    cell = row.cells[key]
    return cell.value if isinstance(cell, Estimate) else None
