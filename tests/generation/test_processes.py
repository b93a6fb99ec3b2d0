"""Generation by processes that are killed, and by several at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from monai_segdiff.__main__ import main

HELD = """
import sys, time
from monai_segdiff.__main__ import main
from monai_segdiff.generation.manifest import Manifest
append, records = Manifest.append, []
def hold(self, record, rank):
    append(self, record, rank)
    records.append(record)
    if len(records) == 3:
        time.sleep(3600)
Manifest.append = hold
main(sys.argv[1:])
"""


def arguments(bundle, output, *more):
    return ["generate", "--bundle", str(bundle.root), "--masks", str(bundle.phantoms), "--output", str(output), *more]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_killed_and_run_again_it_ends_the_same(trained_bundle, tmp_path, differences, capsys):
    options = ("--per-mask", "8", "--batch-size", "2")
    output = tmp_path / "killed"
    command = [sys.executable, "-c", HELD, *arguments(trained_bundle, output, *options)]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    journal, started = output / "manifest.0.jsonl", time.monotonic()
    while not (journal.is_file() and journal.read_bytes().count(b"\n") == 3):
        assert process.poll() is None, "the process ended before it could be killed"
        assert time.monotonic() - started < 900
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = len(list((output / "imagesTr").glob("*.nii.gz")))
    assert 0 < made < 32
    assert not (output / "manifest.json").exists()
    assert main(arguments(trained_bundle, output, *options)) == 0
    assert main(arguments(trained_bundle, tmp_path / "whole", *options)) == 0
    assert differences(tmp_path / "whole", output) < 1e-4
    assert (output / "manifest.json").read_text() == (tmp_path / "whole" / "manifest.json").read_text()
    assert "32 pairs" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_share_the_work(trained_bundle, tmp_path, differences):
    options = ("--per-mask", "3", "--batch-size", "4")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*torchrun, "-m", "monai_segdiff", *arguments(trained_bundle, tmp_path / "two", *options)]
    finished = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=900)
    assert finished.returncode == 0, finished.stderr
    assert main(arguments(trained_bundle, tmp_path / "one", *options)) == 0
    assert differences(tmp_path / "one", tmp_path / "two") < 1e-4
    assert (tmp_path / "two" / "manifest.json").read_text() == (tmp_path / "one" / "manifest.json").read_text()
    assert (tmp_path / "two" / "dataset.json").read_text() == (tmp_path / "one" / "dataset.json").read_text()
