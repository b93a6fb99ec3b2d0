"""Verbs stopped while they write: one line, an exit code, nothing left over, and the same result in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_segdiff.__main__ import main
from monai_segdiff.generation import collect_masks

# Stops by itself where a file of this name is about to be written, whichever process does it.
HELD = """
import os, pathlib, sys, time
from monai_segdiff import files
replace = os.replace
def hold(source, target):
    if pathlib.Path(target).match(sys.argv[1]) and not os.path.exists(sys.argv[2]):
        pathlib.Path(sys.argv[2]).touch()
        time.sleep(600)
    replace(source, target)
os.replace = hold
from monai_segdiff.__main__ import main
sys.exit(main(sys.argv[3:]))
"""


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """A data set of four small volumes, and legs to project."""
    x, y = np.meshgrid(*[(np.arange(24) - 11.5) * 3.0] * 2, indexing="ij")
    for number in range(4):
        plane = np.where(np.hypot(x, y) < 8, 700, np.where(np.hypot(x, y) < 20 + number, 40, -1000))
        leg = np.repeat(plane[:, :, None], 12, axis=2).astype(np.int16)
        for folder, array in (("imagesTr", leg), ("labelsTr", (leg > 0).astype(np.uint8)), ("legs", leg)):
            (tmp_path / folder).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([3.0, 3, 3, 1])), tmp_path / folder / f"leg{number}.nii.gz")
    return tmp_path


def made(root: Path) -> dict[str, bytes]:
    files = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != "manifest.seconds.json"}


def stopped(arguments: list[str], held_at: str, sign: Path, number: int) -> tuple[int, str]:
    """Exit code and last line of a verb that gets a signal while it writes a file."""
    command = [sys.executable, "-c", HELD, held_at, str(sign), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        started = time.monotonic()
        while not sign.exists():
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() - started < 600
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    return process.returncode, err.decode().replace("\r", "\n").strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
@pytest.mark.parametrize("verb", ["prepare", "make-drr", "generate"])
def test_a_verb_that_is_stopped_while_it_writes(verb, number, code, volumes, trained_bundle, tmp_path, capsys):
    fractions = ("--fractions", "0.5", "0.25", "0.25")

    def arguments(output: str) -> list[str]:
        if verb == "prepare":
            return [verb, str(volumes), str(tmp_path / output), "--size", "16", "--classes", "body=1", *fractions]
        if verb == "make-drr":
            drawn = ("--size", "12", "--views", "4", "--workers", "1")
            return [verb, str(volumes / "legs"), str(tmp_path / output), *drawn, *fractions]
        source = ["--bundle", str(trained_bundle.root), "--masks", str(trained_bundle.phantoms)]
        return [verb, *source, "--output", str(tmp_path / output), "--batch-size", "1"]

    third = f"{collect_masks(trained_bundle.phantoms)[2].id}*.nii.gz"
    held_at = {"prepare": "leg2_*.nii.gz", "make-drr": "leg2_view001.nii.gz", "generate": third}[verb]
    found, line = stopped(arguments("stopped"), held_at, tmp_path / "sign", number)
    assert found == code
    if number != signal.SIGKILL:
        how = "begin anew" if verb == "prepare" else "go on"
        assert line.startswith("stopped; ")
        assert line.endswith(f"run the same command again to {how}")
        assert not list(tmp_path.rglob(".tmp*"))
        assert (tmp_path / "stopped").exists() == (verb != "prepare")
    assert main(arguments("stopped")) == 0
    assert main(arguments("whole")) == 0
    assert not list(tmp_path.rglob(".tmp*"))
    assert made(tmp_path / "stopped") == made(tmp_path / "whole")
