from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INPUTS = 200


@pytest.mark.slow
def test_no_mutated_file_does_harm_or_goes_wrong_in_silence(tmp_path: Path) -> None:
    """In a process of its own, which forks: `make fuzz` does the same with 2,000 files."""
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", str(INPUTS), "--json", str(report)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert report.is_file(), done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert sum(row["inputs"] for row in found["formats"].values()) >= 0.98 * INPUTS
    assert not [(name, row["problems"]) for name, row in found["formats"].items() if row["problems"]], done.stdout
