from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monai_segdiff.files import atomic_folder
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
    with claim_output(target), atomic_folder(target) as live:
        with pytest.raises(FileExistsError, match=r"another run is writing .*synthetic: wait for it, or .* -o"):
            claim_output(target).__enter__()
        assert live.is_dir()
        with claim_output(tmp_path / "other" / "synthetic"):
            pass
    assert [one.name for one in target.parent.iterdir()] == ["synthetic"]


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
        assert not list(tmp_path.iterdir())


def test_results_are_not_overwritten_and_places_must_be_writable(tmp_path: Path) -> None:
    (tmp_path / "synthetic").mkdir()
    with pytest.raises(FileExistsError, match="synthetic holds the results of another run: name another folder"):
        claim_output(tmp_path / "synthetic").__enter__()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write .*synthetic: .*name another folder with -o"):
        claim_output(tmp_path / "file" / "synthetic").__enter__()
