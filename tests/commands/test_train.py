"""Verb `train`: what its arguments mean, and what it says; the training itself is tested with `train_bundle`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from monai_segdiff import bundle_path
from monai_segdiff.__main__ import main
from monai_segdiff.handlers import ResumeCheckpoint


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """What `train_bundle` is called with, in an empty folder; nothing is trained."""
    monkeypatch.chdir(tmp_path)
    recorded: list[tuple[Path, dict[str, Any]]] = []

    def train_bundle(bundle: Path, **options: Any) -> Path:
        recorded.append((bundle, options))
        return bundle / "models" / "model.pt"

    monkeypatch.setattr("monai_segdiff.workflows.train.train_bundle", train_bundle)
    return recorded


def test_a_bundle_is_copied_once_and_then_used_as_it_is(calls: Any, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "ct_organ", "--output", "my ct", "--data", "prepared"]
    assert main(arguments) == 0
    copied = {path.name for path in Path("my ct/configs").iterdir()}
    assert copied == {path.name for path in (bundle_path("ct_organ") / "configs").iterdir()}
    assert capsys.readouterr().out == (
        "weights: my ct/models/model.pt\n"
        "next: python -m monai_segdiff generate --bundle 'my ct' --masks prepared --output synthetic\n"
    )
    Path("my ct/configs/train.yaml").write_text("mine")
    assert main(arguments) == 0
    assert Path("my ct/configs/train.yaml").read_text() == "mine"
    assert [bundle for bundle, _ in calls] == [Path("my ct")] * 2
    assert calls[0][1]["dataset"] == Path("prepared")


def test_options_are_handed_on(calls: Any) -> None:
    shutil.copytree(bundle_path("ct_organ"), "mine")
    options = [
        "--images",
        "50",
        "--tune",
        "--plan",
        "p.yaml",
        "--overlay",
        "a.yaml",
        "b",
        "--overlay",
        "c",
        "--device",
        "cpu",
    ]
    assert main(["train", "mine", "--data", "d", *options, "--tracking", "mlflow", "--verbose"]) == 0
    assert calls == [
        (
            Path("mine"),
            {
                "dataset": Path("d"),
                "plan": Path("p.yaml"),
                "overlays": ["a.yaml", "b", "c"],
                "images": 50,
                "tune": 0.25,
                "device": "cpu",
                "tracking": "mlflow",
                "quiet": False,
            },
        )
    ]


def test_a_study_names_bundle_data_and_plan(calls: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("study/prepared").mkdir(parents=True)
    Path("study/plan.yaml").write_text("batch_size: 4\nprepare:\n  parents: {$import os: body}\n")
    assert main(["train", "study"]) == 0
    bundle, options = calls[0]
    assert bundle == Path("study/bundle")
    assert (bundle / "configs" / "train.yaml").is_file()
    assert (options["dataset"], options["plan"]) == (Path("study/prepared"), bundle / "configs" / "plan.yaml")
    assert "import" not in options["plan"].read_text(), "names from the data are in no configuration"
    expected = "generate --bundle study/bundle --masks study/prepared --output study/synthetic"
    assert capsys.readouterr().out.endswith(f"next: python -m monai_segdiff {expected}\n")
    Path("study/plan.yaml").unlink()
    assert main(["train", "study", "--data", "other"]) == 2  # which is no folder
    assert "other" in capsys.readouterr().err


def test_without_data_phantoms_are_named(calls: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(bundle_path("ct_organ"), "mine")
    Path("mine/phantoms_16x16").mkdir()
    assert main(["train", "mine"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == "mine: without --data it is trained on phantoms, which it makes once"
    assert "--masks mine/phantoms_16x16 " in last


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ct_organ"], "ct_organ comes with the package and stays as it is: give --output FOLDER for a copy of it"),
        (["ct_organs", "--output", "mine"], "no bundle 'ct_organs': give one of breast_mri, "),
        (["nothing"], "no bundle 'nothing': give one of breast_mri, "),
        (["study"], "study has no prepared data set: make it with `python -m monai_segdiff prepare SCANS study/prep"),
        (["study", "--output", "mine"], "--output does not go with a study: study/bundle is trained; leave it out"),
        (["ct_organ", "--output", "full"], "cannot create full"),
        (["ct_organ", "--output", "mine", "--device", "cuda:77"], "device 'cuda:77' cannot be used"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    arguments: list[str], said: str, calls: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("study").mkdir()
    Path("study/plan.yaml").write_text("batch_size: 4\n")
    Path("full").mkdir()
    Path("full/thesis.txt").write_text("all of it")
    assert main(["train", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1
    assert calls == []
    assert sorted(path.name for path in Path().rglob("*")) == ["full", "plan.yaml", "study", "thesis.txt"]


def test_several_processes_do_not_copy(
    calls: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "ct_organ", "--output", "mine"]) == 2
    assert "monai_segdiff.copy_bundle('ct_organ', 'mine')" in capsys.readouterr().err
    assert not Path("mine").exists()


@pytest.mark.slow
def test_a_signal_ends_the_command_in_one_line_and_it_goes_on(
    trained_bundle: Any, make_bundle: Callable[..., Any], tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path, images_per_epoch=40, val_interval=9, preview_interval=9)
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump({name: value for name, value in bundle.overrides.items() if "phantom" not in name}))
    command = [sys.executable, "-m", "monai_segdiff", "train", str(bundle.root), "--plan", str(plan)]
    command += ["--data", str(trained_bundle.phantoms)]
    models = ResumeCheckpoint(bundle.root / "models", {})
    process = subprocess.Popen(
        [*command, "--images", "80000"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while process.poll() is None and not models.files():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 143, err
    said = re.fullmatch(
        r"stopped at image ([\d,]+) of 80,000 \(epoch (\d+) of 2000\): run the same command again to go on",
        err.replace("\r", "\n").strip().splitlines()[-1],
    )
    assert said, err
    assert out.startswith("the same by MONAI: ")
    images = 40 * int(said[2])
    done = subprocess.run([*command, "--images", str(images)], text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert f"weights: {bundle.root}/models/model.pt" in done.stdout
    assert models.files()[-1].name == f"checkpoint_epoch={said[2]}.pt"
