"""The benchmark of the evaluation, at sizes of seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import evaluation
from monai_segdiff.metrics import Estimate


@pytest.mark.slow
def test_speed_and_memory(tmp_path: Path) -> None:
    arguments = f"--stage speed --numbers 24 --size 16 --threads 1 --segmenter-images 32 --work {tmp_path / 'w'} "
    evaluation.main([*arguments.split(), "--output", str(tmp_path)])
    row = json.loads((tmp_path / "evaluation_speed.json").read_text())["rows"]["24"]
    assert row["images"] == 24
    assert row["seconds"] > 0
    assert 0.1 < row["memory"] < 8


@pytest.mark.slow
def test_calibration(tmp_path: Path) -> None:
    arguments = "--stage memorization --number 80 --memorization-size 16 --segmenter-images 64 --seeds 2"
    evaluation.main([*arguments.split(), "--work", str(tmp_path / "w"), "--output", str(tmp_path)])
    content = json.loads((tmp_path / "memorization.json").read_text())["rows"]
    for space in ("features", "pixels"):
        cells = [Estimate(**content[seed][f"copies_{space}"]) for seed in "01"]
        assert all(cell.value > 0.03 for cell in cells)
        assert content[f"summary_copies_{space}"]["seeds"] == 2
    assert content["summary_new_pixels"]["held"] == 2
    page = (tmp_path / "memorization.md").read_text()
    assert "| with 10% copies in the space of pixels |" in page
    assert list((tmp_path / "w").iterdir()) == []


def test_utility_needs_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="give --bundle and --dataset"):
        evaluation.main(["--stage", "utility", "--work", str(tmp_path)])
