from __future__ import annotations

import json

import pytest

from monai_segdiff.data import read_dataset
from monai_segdiff.workflows.demo import run_demo


@pytest.mark.slow
def test_the_demo_leaves_pairs_a_picture_and_a_report_and_can_be_run_again(tmp_path, capsys, own_logging):
    tiny = {
        "max_images": 64,
        "images_per_epoch": 32,
        "image_size": [32, 32],
        "channels": [8, 16],
        "attention_levels": [False, False],
        "num_head_channels": 8,
        "num_steps": 4,
        "val_interval": 1,
        "preview_interval": 2,
        "phantom_patients": 20,
        "phantom_slices": 2,
    }
    with own_logging():
        run_demo(tmp_path, number=6, overrides=tiny, segmenter_images=64)
    out = capsys.readouterr().out
    assert f"report:  {tmp_path / 'report' / 'report.html'}" in out
    for name in ("report.html", "report.json", "report.csv", "samples.png"):
        assert (tmp_path / "report" / name).stat().st_size > 0
    report = (tmp_path / "report" / "report.json").read_text()
    assert json.loads(report)
    cases = read_dataset(tmp_path / "synthetic").splits["training"]
    assert len(cases) == 8, "two for each of four masks are the fewest that make six"
    before = {case.image: case.image.read_bytes() for case in cases}
    with own_logging():
        run_demo(tmp_path, number=6, overrides=tiny, segmenter_images=64)
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / "report" / "report.json").read_text() == report
