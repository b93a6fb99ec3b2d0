from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from monai_segdiff.integrations.deploy.output import claim_output

HOLDS = """
import sys, time
from pathlib import Path
from monai_segdiff.integrations.deploy.output import claim_output
with claim_output(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_an_output_is_of_one_run_at_a_time(tmp_path: Path) -> None:
    target = tmp_path / "out" / "synthetic"
    with claim_output(target):
        live = target.with_name(".tmp-1-synthetic")
        live.mkdir()
        with pytest.raises(FileExistsError, match=r"another run is writing .*synthetic: wait for it, or .* -o"):
            claim_output(target).__enter__()
        assert live.is_dir()
        with claim_output(tmp_path / "other" / "synthetic"):
            pass
    assert [one.name for one in target.parent.iterdir()] == [live.name]


def test_what_killed_runs_have_left_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "synthetic"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(target)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        (tmp_path / ".tmp-1-synthetic").mkdir()
        with pytest.raises(FileExistsError, match="another run is writing"):
            claim_output(target).__enter__()
        other.send_signal(signal.SIGKILL)
    with claim_output(target):
        assert [one.name for one in tmp_path.iterdir()] == [".synthetic.lock"]
    assert not list(tmp_path.iterdir())


def test_a_lock_that_was_removed_in_between_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run may end between the moments in which this one opens the file and locks it."""
    lock, inodes = fcntl.flock, []

    def late(descriptor: int, how: int) -> Any:
        inodes.append(os.fstat(descriptor).st_ino)
        if len(inodes) == 1:
            (tmp_path / ".synthetic.lock").unlink()
        return lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with claim_output(tmp_path / "synthetic"):
        assert len(inodes) == 2
        assert (tmp_path / ".synthetic.lock").stat().st_ino == inodes[1]


def test_results_are_not_overwritten_and_places_must_be_writable(tmp_path: Path) -> None:
    (tmp_path / "synthetic").mkdir()
    with pytest.raises(FileExistsError, match="synthetic holds the results of another run: name another folder"):
        claim_output(tmp_path / "synthetic").__enter__()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write .*synthetic: .*name another folder with -o"):
        claim_output(tmp_path / "file" / "synthetic").__enter__()
