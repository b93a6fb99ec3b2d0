from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import resume
from benchmarks.resume import Kills, Training, equal, kill_and_resume, kill_when


class Counting(Training):
    """A stand-in whose training writes numbered checkpoints slowly and goes on from the newest one."""

    program = """
import sys, time, pathlib, torch
folder = pathlib.Path(sys.argv[1]) / "models"
folder.mkdir(parents=True, exist_ok=True)
names = [p.name for p in folder.glob("checkpoint*.pt")]
epoch = max([int(n[17:-3]) for n in names], default=0)
for epoch in range(epoch + 1, 7):
    temporary = folder / f".tmp-{epoch}-{time.time_ns()}-checkpoint_epoch={epoch}.pt"
    torch.save({"weight": torch.tensor(epoch)}, temporary)
    time.sleep(0.1)
    temporary.rename(folder / f"checkpoint_epoch={epoch}.pt")
torch.save({"weight": torch.tensor(6)}, folder / "model.pt")
"""

    def start(self):  # type: ignore[no-untyped-def]
        self.bundle.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-c", self.program, str(self.bundle)]
        return subprocess.Popen(command, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def training(folder: Path) -> Counting:
    return Counting(folder, folder, 0)


@pytest.mark.slow
def test_trainings_are_killed_as_often_as_asked_once_inside_a_writing_and_then_finished(tmp_path: Path) -> None:
    whole = training(tmp_path / "whole")
    times = resume.run_whole(whole)
    kills, trainings = kill_and_resume(lambda i: training(tmp_path / f"killed_{i}"), 2, times, whole.epoch, seed=1)
    assert len(kills.moments) >= 2
    assert kills.in_writing >= 1
    assert kills.unreadable == []
    assert whole.epoch == 6
    assert all(equal(each.final_state(), whole.final_state()) for each in trainings)


def test_a_kill_ends_the_process_at_its_moment_and_a_finished_training_is_none(tmp_path: Path) -> None:
    first, program = training(tmp_path / "first"), Counting.program
    first.program = program.replace("time.sleep(0.1)", "time.sleep(3600)")
    after = kill_when(first, lambda seconds: seconds > 0.2)
    assert after is not None
    assert 0.2 < after < 120
    first.program = program
    assert not (tmp_path / "first" / "models" / "model.pt").exists()
    assert kill_when(first, lambda _: False) is None
    assert first.epoch == 6


def test_unreadable_checkpoints_are_counted(tmp_path: Path) -> None:
    each = training(tmp_path)
    (tmp_path / "models").mkdir()
    torch.save({"weight": torch.ones(3)}, tmp_path / "models" / "checkpoint_epoch=1.pt")
    (tmp_path / "models" / "checkpoint_epoch=2.pt").write_bytes(b"half")
    kills = Kills()
    kills.note(each, 1.0, in_writing=False)
    assert kills.files_read == 2
    assert len(kills.unreadable) == 1
    assert kills.moments == ["1.0 s (2)"]


def test_equal_sees_one_bit_and_one_key() -> None:
    state = {"a": torch.ones(2), "b": [1, {"c": torch.zeros(1)}]}
    assert equal(state, {"a": torch.ones(2), "b": [1, {"c": torch.zeros(1)}]})
    assert not equal(state, {**state, "a": torch.tensor([1.0, 1.0 + 2**-23])})
    assert not equal(state, {"a": torch.ones(2)})
    assert not equal(state, {**state, "a": torch.ones(2, dtype=torch.float64)})


def test_a_failed_training_is_reported_with_its_log(tmp_path: Path) -> None:
    broken = training(tmp_path)
    broken.program = "raise SystemExit(3)"  # type: ignore[misc]
    (tmp_path / "training.log").write_text("no space left")
    with pytest.raises(RuntimeError, match="ended with 3:\nno space left"):
        kill_when(broken, lambda _: False)
