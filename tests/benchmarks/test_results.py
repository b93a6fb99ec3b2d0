from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.common import Column, Results, Table, machine
from monai_segdiff.metrics import Estimate

TABLE = Table(
    "Quality",
    {"dice": Column("Dice", "{:.2f}"), "images": Column("images", "{:,d}")},
    {"a": "first", "b": "second", "c": "never measured"},
    ["read with care"],
)


def results(folder: Path, settings: dict[str, object] | None = None, **options: bool) -> Results:
    return Results(folder / "quality", "Title", "Text.", settings or {"seed": 0, "sizes": (1, 2)}, [TABLE], **options)


def test_rows_are_on_disk_as_soon_as_they_are_finished_and_found_again(tmp_path: Path) -> None:
    estimate = Estimate(0.5, 0.4, 0.6, 10, 3)
    first = results(tmp_path)
    first.add("a", {"dice": estimate, "images": 1234})
    again = results(tmp_path)
    assert "a" in again
    assert "b" not in again
    assert again.rows["a"] == {"dice": estimate, "images": 1234}
    again.add("b", {"dice": Estimate.missing("too few")})
    lines = again.page.read_text().splitlines()
    assert "| first | 0.50 [0.40, 0.60] | 1,234 |" in lines
    assert "| second | not computable | – |" in lines
    assert not any("never measured" in line for line in lines)
    assert "- read with care" in lines
    assert len(again.machines) == 1


def test_rows_of_other_settings_are_neither_mixed_in_nor_lost(tmp_path: Path) -> None:
    results(tmp_path).add("a", {"images": 1})
    before = (tmp_path / "quality.json").read_text()
    with pytest.raises(ValueError, match=r"quality\.json was made with another seed, sizes"):
        results(tmp_path, {"seed": 1})
    assert (tmp_path / "quality.json").read_text() == before
    assert results(tmp_path, {"seed": 1}, overwrite=True).rows == {}


def test_the_machine_is_described_by_what_times_depend_on() -> None:
    found = json.loads(json.dumps(machine()))
    assert found["cores"] >= 1
    assert found["threads"] >= 1
    assert found["torch"][0].isdigit()
