from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.publish import publish

KEPT = {"report.json", "report.csv", "samples.png"}


@pytest.mark.parametrize("pictures", [True, False])
def test_a_page_keeps_figures_and_pictures_and_no_generated_page(tmp_path: Path, pictures: bool) -> None:
    (tmp_path / "report").mkdir()
    for name in (*KEPT, "report.html"):
        (tmp_path / "report" / name).write_text(name)
    (tmp_path / "report" / "report.txt").write_text("Dice 0.5\n")
    page = publish(tmp_path / "report", "some", "Some title", "What was done.", tmp_path / "out", pictures=pictures)
    kept = KEPT if pictures else KEPT - {"samples.png"}
    assert {file.name for file in (tmp_path / "out" / "some").iterdir()} == kept
    text = page.read_text()
    assert text.startswith("# Some title\n\nWhat was done.\n")
    assert "```text\nDice 0.5\n```" in text
    assert all(f"(some/{name})" in text or f"<some/{name}>" in text for name in kept)
    assert "html" not in text
    assert ("samples.png" in text) == pictures
