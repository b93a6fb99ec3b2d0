"""Forms of a report."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from monai_segdiff.evaluation.report.page import render_page
from monai_segdiff.evaluation.report.report import Column, Picture, Report, Row, Section, format_cell
from monai_segdiff.metrics import Estimate

PICTURE = Picture("caption <b>", np.zeros((4, 4, 3), np.uint8), ("mask",), {"liver": (10, 20, 30)})


def section(key: str, row: str, cells: dict) -> Section:
    return Section(key, key.title(), "text", {name: Column(name) for name in cells}, [Row(row, row, cells)])


def report() -> Report:
    missing = Estimate.missing("too few")
    sections = [
        section("faithfulness", "mean", {"dice": Estimate(0.9, 0.8, 0.95, 7, 3), "ceiling": missing}),
        section("failed", "any", {"rate": Estimate(0.0, 0.0, 0.4, 7, 7), "real": 0.0}),
        section("realism", "kid", {"synthetic": Estimate(0.00012, -0.001, 0.002, 7, 3), "training": None}),
    ]
    sections[1].warnings.append("only 7 real images")
    return Report("A & B", {"Real": "r"}, "Split within one patient", True, sections, PICTURE)


def test_json_holds_every_figure_and_no_nan(tmp_path):
    report().write_data(tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    dice = content["sections"]["faithfulness"]["mean"]["dice"]
    assert dice == {"value": 0.9, "low": 0.8, "high": 0.95, "n": 7, "groups": 3}
    ceiling = content["sections"]["faithfulness"]["mean"]["ceiling"]
    assert ceiling["value"] is None
    assert ceiling["not computable"] == "too few"
    assert content["warnings"] == ["Split within one patient", "only 7 real images"]


def test_csv_has_one_line_per_figure(tmp_path):
    report().write_data(tmp_path)
    with open(tmp_path / "report.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(r["section"], r["column"], r["value"]) for r in rows[:2]] == [
        ("faithfulness", "dice", "0.9"),
        ("faithfulness", "ceiling", ""),
    ]
    assert rows[1]["reason"] == "too few"
    assert len(rows) == 6


def test_summary_says_what_matters():
    text = report().summary()
    assert "0.900 [0.800, 0.950]" in text
    assert "not computable" in text
    assert "WARNING: only 7 real images" in text


def test_page_is_self_contained_and_escaped():
    page = render_page(report())
    assert "A &amp; B" in page
    assert "caption &lt;b&gt;" in page
    assert "data:image/png;base64," in page
    assert "http" not in page
    assert 'src="data' in page
    assert "<link" not in page
    assert 'title="too few">not computable' in page
    assert "background: rgb(10, 20, 30)" in page


def test_cell_lookup():
    assert report().cell("faithfulness", "mean", "dice").value == 0.9
    with pytest.raises(KeyError, match="no figure realism/fid"):
        report().cell("realism", "fid", "synthetic")


@pytest.mark.parametrize(
    ("cell", "style", "text"),
    [
        (None, "number", "–"),
        (0.12345, "percent", "12.3%"),
        (1234, "count", "1,234"),
        (Estimate(0.00012, -0.001, 0.3, 5, 5), "distance", "0.00012 [-0.00100, 0.300]"),
        (Estimate(0.5, None, None, 5, 1), "number", "0.500"),
        (Estimate.missing("why"), "number", "not computable"),
    ],
)
def test_formats(cell, style, text):
    assert format_cell(cell, style) == text
