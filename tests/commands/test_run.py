"""The verbs `run` and `plan`: what they say at the end, and how to go on after Ctrl-C."""

from __future__ import annotations

import numpy as np
import pytest

from monai_segdiff.__main__ import main
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.workflows.study_stages import STAGES


@pytest.fixture
def scans(tmp_path):
    """Three images with a square in the middle, in folders."""
    for n in range(3):
        label = np.zeros((24, 32, 20), np.uint8)
        label[8:16, 8:16, 5:15] = 1
        for part, array in (
            ("images", label * 10.0**n + np.random.default_rng(n).random(label.shape)),
            ("labels", label),
        ):
            save_nifti(tmp_path / "in" / part / f"p{n}.nii.gz", array, np.eye(4))
    return str(tmp_path / "in")


def arguments(scans, tmp_path, *more):
    return [scans, "--output", str(tmp_path / "s"), "--classes", "square=1", *more]


def test_ctrl_c_says_in_one_line_how_to_go_on(scans, tmp_path, capsys, monkeypatch):
    def stop(study, result):
        raise KeyboardInterrupt

    monkeypatch.setattr(STAGES["check"], "run", stop)
    assert main(["run", *arguments(scans, tmp_path)]) == 130
    assert capsys.readouterr().err == "stopped; run the same command again to go on\n"


def test_the_end_says_what_to_open_and_the_main_figures(scans, tmp_path, capsys, monkeypatch):
    found = {"dice": 0.75, "ceiling": 0.8, "failed": 0.1, "failed_real": None}

    def write(name):
        def run(study, result):
            path = STAGES[name].result(study)
            path.write_text("") if path.suffix else path.mkdir(parents=True)
            result.update({"said": "x", "expected": dict.fromkeys(TIMES, 60.0), **found})

        return run

    TIMES = ("prepare", "train", "guide", "tune", "generate", "evaluate")
    for name, stage in STAGES.items():
        monkeypatch.setattr(stage, "run", write(name))
        monkeypatch.setattr(stage, "inputs", lambda study: {})
        monkeypatch.setattr(stage, "said", lambda study: "made")
    assert main(["run", *arguments(scans, tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Dice to the label map 0.750, of 0.800 on real images (94%)" in out
    assert "failed samples 10.0%\n" in out
    for line in ("report:   ", "overview: ", "pairs:    ", "weights:  "):
        assert f"\n{line}{tmp_path / 's'}" in out
    assert "expected 6.0 min" in out


def test_plan_stops_before_anything_is_prepared(scans, tmp_path, capsys, measured):
    assert main(["plan", *arguments(scans, tmp_path, "--images", "64")]) == 0
    out = capsys.readouterr().out
    assert f"look at {tmp_path / 's' / 'overview.png'}, and edit {tmp_path / 's' / 'plan.yaml'}" in out
    assert not (tmp_path / "s" / "prepared").exists()
    assert "max_images: 48" in (tmp_path / "s" / "plan.yaml").read_text()
    assert measured[0]["prepare.crop"] == "labels"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hours", "0"], "'0' is no number from 0.001"),
        (["--images", "0"], "'0' is no whole number from 1"),
        (["--until", "rest"], "invalid choice: 'rest'"),
    ],
)
def test_options_that_are_wrong_usage(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit, match="2"):
        main(["run", *arguments(str(tmp_path), tmp_path, *options)])
    assert message in capsys.readouterr().err


def test_hours_and_images_exclude_each_other(scans, tmp_path, capsys):
    assert main(["run", *arguments(scans, tmp_path, "--hours", "1", "--images", "5")]) == 2
    assert "hours (--hours) and images (--images) exclude each other: leave one out" in capsys.readouterr().err
