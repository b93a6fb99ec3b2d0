"""Shaped sampling, with the bundle after a training of seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import shaped
from benchmarks.edited_masks import BREAST, EDITS, FGT, VESSEL

CLASSES = {"breast": BREAST, "fgt": FGT, "vessel": VESSEL}


def breast() -> np.ndarray:
    mask = np.zeros((24, 24), int)
    mask[2:22, 2:22] = BREAST
    mask[4:8, 4:8] = FGT
    mask[12:14, 12:18] = VESSEL
    mask[18, 4] = VESSEL  # a smaller one
    return mask


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_changes_what_it_says_and_stays_in_the_breast(name: str) -> None:
    before = breast()
    after = EDITS[name][1](before, np.random.default_rng(0))
    counts = {key: int((after == key).sum()) - int((before == key).sum()) for key in (BREAST, FGT, VESSEL)}
    assert ((after == 0) == (before == 0)).all()
    if name == "moved":
        assert counts == {BREAST: 0, FGT: 0, VESSEL: 0}
        assert after[18, 4] == VESSEL
        assert (after != before).sum() >= 12
    elif name == "grown":
        assert counts[VESSEL] == 0
        assert counts[FGT] == -counts[BREAST] == 36  # two rings of growth by 4-neighbors around a square of 4 pixels
    else:
        assert counts == {BREAST: 16, FGT: -16, VESSEL: 0}


def test_a_mask_that_cannot_be_edited_is_left_out() -> None:
    empty = np.zeros((8, 8), int)
    assert all(edit(empty, np.random.default_rng(0)) is None for _, edit, _ in EDITS.values())


def test_both_tables_from_the_command_line(trained_breast, tmp_path: Path) -> None:
    real = next(trained_breast.root.glob("phantoms_*"))
    words = f"--bundle {trained_breast.root} --real {real} --work {tmp_path / 'work'} --output {tmp_path / 'shaped'}"
    shaped.main([*words.split(), "--images", "3", "--segmenter-images", "40", "--device", "cpu"])
    rows = json.loads((tmp_path / "shaped.json").read_text())["rows"]
    assert rows["like/0"]["drop"]["value"] == 0
    assert rows["like/1"]["ssim"]["value"] > rows["like/0"]["ssim"]["value"]
    for name in EDITS:
        for method in ("invert", "noise"):
            row = rows[f"{name}/{method}"]
            assert row["outside"]["value"] < 1e-4 < row["inside"]["value"]
    assert Image.open(tmp_path / "shaped.png").height >= 7 * 96
    page = (tmp_path / "shaped.md").read_text()
    assert "gland grown by 2 pixels, invert" in page
