"""Trainings that are stopped, and that go on: with the same data only, and as if nothing had been."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_segdiff.data import read_dataset
from monai_segdiff.errors import root_cause
from monai_segdiff.handlers import ResumeCheckpoint


def mirror(file: Path) -> None:
    image = nib.load(file)
    nib.save(nib.Nifti1Image(np.flip(np.asarray(image.dataobj), 0).copy(), image.affine), file)


@pytest.mark.parametrize(
    ("split", "kind", "named"),
    [
        ("training", "label", "set of training label maps"),
        ("training", "image", "set of training images"),
        ("validation", "label", "set of validation label maps"),
    ],
)
def test_a_training_does_not_go_on_with_other_data(
    split: str, kind: str, named: str, trained_bundle: Any, make_bundle: Any, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(trained_bundle.phantoms, tmp_path / "data"))
    bundle = make_bundle(tmp_path, dataset_dir=str(data), max_images=8, sigma_data=0.5)
    bundle.run()
    shutil.move(data, tmp_path / "moved")  # which changes nothing
    bundle.overrides.update(dataset_dir=str(tmp_path / "moved"), max_images=16)
    bundle.run()
    mirror(getattr(read_dataset(tmp_path / "moved").splits[split][0], kind))
    with pytest.raises(RuntimeError) as error:
        bundle.run(max_images=24, verify_data=False)
    assert f"checkpoint_epoch=2.pt' was made with another {named} than" in str(root_cause(error.value))


@pytest.mark.slow
def test_a_signal_ends_the_command_in_one_line_and_it_goes_on(
    trained_bundle: Any, make_bundle: Any, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path, dataset_dir=str(trained_bundle.phantoms), max_images=80_000)
    bundle.overrides.update(images_per_epoch=40, val_interval=9, preview_interval=9)
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", "configs/train.yaml"]
    for name, value in bundle.overrides.items():
        command += [f"--{name}", value if isinstance(value, str) else repr(value)]
    models = ResumeCheckpoint(bundle.root / "models", {})
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):  # the second goes on from where the first was
        before = models.files()
        process = subprocess.Popen(
            command, cwd=bundle.root, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, stderr=subprocess.PIPE
        )
        while process.poll() is None and models.files() == before:
            time.sleep(0.01)
        process.send_signal(number)
        errors = process.communicate(timeout=600)[1]
        assert process.returncode == code, errors
        lines = errors.replace("\r", "\n").strip().splitlines()
        newest = models.files()[-1]
        said = re.fullmatch(
            r"stopped at image ([\d,]+) of 80,000 \(epoch (\d+) of 2000\): run the same command again to go on",
            lines[-1],
        )
        assert said, lines[-1]
        reached = torch.load(newest, weights_only=True)["trainer"]["iteration"]
        assert int(said[1].replace(",", "")) == 4 * reached
        assert "Traceback" not in errors
        assert "terminating due to exception" not in errors
        assert not list(bundle.root.rglob(".tmp-*"))
    epochs = reached // 10 + 1
    bundle.run(max_images=40 * epochs)
    whole = make_bundle(tmp_path / "whole", dataset_dir=str(trained_bundle.phantoms))
    whole.run(**{**bundle.overrides, "max_images": 40 * epochs})
    states = [
        torch.load(one.root / "models" / f"checkpoint_epoch={epochs}.pt", weights_only=True) for one in (bundle, whole)
    ]
    assert states[0]["trainer"] == states[1]["trainer"]
    for part in ("network", "ema"):
        assert all(torch.equal(states[0][part][name], value) for name, value in states[1][part].items())
