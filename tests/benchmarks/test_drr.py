from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.drr import limb, main, peak_memory
from benchmarks.solids import Box, Cylinder, Solid, Sphere, grid, voxels


def test_memory_that_a_call_holds_for_a_while_is_seen() -> None:
    def hold() -> None:
        held = np.ones(25_000_000)
        time.sleep(1)
        assert held.sum() > 0

    assert peak_memory(hold) == pytest.approx(0.2, abs=0.05)
    assert peak_memory(lambda: time.sleep(0.02)) < 0.05


@pytest.mark.parametrize(
    ("solid", "volume"),
    [
        (Sphere((1.0, 2.0, -3.0), 20.0), 4 / 3 * np.pi * 20**3),
        (Cylinder((1.0, 2.0, -3.0), 15.0, 11.3), np.pi * 15**2 * 22.6),
        (Box((1.0, 2.0, -3.0), (14.0, 9.0, 11.3), 30.0), 8 * 14 * 9 * 11.3),
    ],
    ids=["sphere", "cylinder", "box"],
)
def test_a_solid_and_its_voxels_and_chords_have_its_volume(solid: Solid, volume: float) -> None:
    shape = (24, 26, 28)
    found = voxels(solid, shape, grid(shape, 2.0))
    assert found.min() == 0
    assert found.max() == pytest.approx(1)
    assert found.sum() * 8 == pytest.approx(volume, rel=0.005)
    # A bundle of parallel rays, slanting through a plane, as Cavalieri has it.
    step = np.array([1.0, 0.3, 0.2]) / np.linalg.norm([1.0, 0.3, 0.2])
    y, z = np.meshgrid(np.arange(-60, 60, 0.5), np.arange(-60, 60, 0.5), indexing="ij")
    start = np.stack([np.zeros_like(y), y, z], axis=-1) - 200 * step
    chords = solid.chords(start, np.broadcast_to(step, start.shape))
    assert chords.sum() * 0.25 * step[0] == pytest.approx(volume, rel=0.005)


def test_the_benchmark_writes_its_page_and_keeps_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = limb(24, 4.0)
    assert volume.shape == (1, 24, 24, 24)
    assert float(volume[0, 12, 12].mean()) > -100
    assert float(volume[0, 0, 0].mean()) == pytest.approx(-1000, abs=10)
    arguments = ["--output", str(tmp_path / "drr"), "--device", "cpu", "--threads", "1", "--size", "24", "--voxel", "4"]
    arguments += ["--detector", "32", "--views", "4", "--runs", "1", "--voxels", "4"]
    main(arguments)
    rows = json.loads((tmp_path / "drr.json").read_text())["rows"]
    assert rows["torch"]["seconds"] > 0
    assert rows["torch"]["view"] == pytest.approx(rows["torch"]["seconds"] / 4)
    assert rows["sphere 4"]["mean"] < 0.02
    page = (tmp_path / "drr.md").read_text()
    assert "| ProjectDRR on cpu |" in page
    assert "| sphere, radius 36 mm, voxels of 4 mm |" in page
    capsys.readouterr()
    main(arguments)
    assert "sphere" not in capsys.readouterr().err
    assert json.loads((tmp_path / "drr.json").read_text())["rows"] == rows
