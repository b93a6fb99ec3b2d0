"""One line and an exit code, whatever happens in a command."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest
import torch
import yaml

from monai_segdiff.ends import TRACEBACK, Ending
from monai_segdiff.errors import UnreadableFileError
from monai_segdiff.files import atomic_file


def end(error: BaseException | Callable[[], Any], **options: Any) -> int:
    def act() -> int:
        if isinstance(error, BaseException):
            raise error
        error()
        return 0

    return Ending("paint", **options).run(act)


def nested(depth: int) -> list[Any]:
    return [] if depth == 0 else [nested(depth - 1)]


# Errors that libraries raise, from within them.
LIBRARIES = {
    "struct.error": lambda: struct.unpack("<i", b"x"),
    "zlib.error": lambda: zlib.decompress(b"no"),
    "KeyError": lambda: {}["missing"],
    "IndexError": lambda: [][0],
    "TypeError": lambda: None + 1,
    "AttributeError": lambda: None.shape,
    "AssertionError": lambda: exec("assert False"),
    "RecursionError": lambda: json.dumps(nested(20000)),
    "JSONDecodeError": lambda: json.loads("{"),
    "ParserError": lambda: yaml.safe_load("a: [1,\nb: }"),
    "RuntimeError": lambda: torch.nn.Linear(2, 2).load_state_dict({"weight": torch.zeros(3, 3)}),
    "NotImplementedError": lambda: exec("raise NotImplementedError"),
    "StopIteration": lambda: next(iter(())),
    "UnicodeDecodeError": lambda: (b"\xff" * 9).decode(),
}


@pytest.mark.parametrize("kind", LIBRARIES)
def test_what_a_library_throws_is_one_line_that_tells_its_kind_and_how_to_see_more(kind, capsys, monkeypatch):
    monkeypatch.delenv(TRACEBACK, raising=False)
    assert end(LIBRARIES[kind]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: paint failed unexpectedly ({kind}")
    assert err.endswith(f"); {TRACEBACK}=1 in the environment shows where\n")
    assert err.count("\n") == 1
    assert err.count(kind) == 1
    assert len(err) < 500


def test_what_this_package_says_of_an_input_stands_alone(capsys, tmp_path):
    (tmp_path / "file").touch()

    def write() -> None:
        with atomic_file(tmp_path / "file" / "deep"):
            pass

    assert end(write) == 2
    assert capsys.readouterr().err == (
        f"error: cannot write {tmp_path}/file/deep: File exists; what was there before is unharmed; something else is "
        "there, choose another folder\n"
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.nii.gz"), "No such file or directory: 'a.nii.gz'"),
        (ImportError("this needs that: pip install that"), "error: this needs that: pip install that\n"),
        (OSError("disk\n  on fire"), "error: disk on fire\n"),
        (MemoryError(), "there is not enough memory for paint: reduce --batch-size, --workers"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "there is not enough memory for paint"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "there is not enough memory"),
        (
            BrokenProcessPool("A process in the process pool was terminated abruptly"),
            "killed, perhaps because memory",
        ),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "killed, perhaps because memory"),
        (BrokenPipeError(32, "Broken pipe"), "paint failed unexpectedly (BrokenPipeError: [Errno 32] Broken pipe)"),
        (
            ValueError(
                "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
                '  File "x.py", line 1\nValueError: a.nii.gz holds NaN: repair it\n'
            ),
            "paint failed unexpectedly (ValueError: a.nii.gz holds NaN: repair it)",
        ),
    ],
)
def test_what_the_system_does_is_told_in_one_line(error, said, capsys):
    assert end(error) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_the_cause_below_monais_layers_is_what_is_told(capsys):
    outer = RuntimeError("applying transform")
    outer.__cause__ = UnreadableFileError("a.nii.gz cannot be read")
    assert end(outer) == 2
    assert "a.nii.gz cannot be read" in capsys.readouterr().err


def test_the_environment_shows_where(capsys, monkeypatch):
    monkeypatch.setenv(TRACEBACK, "1")
    assert end(KeyError("x")) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("error: paint failed unexpectedly (KeyError: 'x')")


def test_names_that_a_terminal_cannot_show_are_written_out():
    program = (
        "from monai_segdiff.ends import Ending\n"
        "def act():\n    print('caf\\udce9'); raise OSError('cannot read caf\\udce9')\n"
        "raise SystemExit(Ending('paint').run(act))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "caf\\udce9\n", "error: cannot read caf\\udce9\n")


def test_wrong_usage_ends_as_argparse_says(capsys):
    with pytest.raises(SystemExit, match="2"):
        end(SystemExit(2))
    assert capsys.readouterr().err == ""


def test_ctrl_c_says_how_to_go_on(capsys):
    assert end(KeyboardInterrupt(), stopped="run the same again") == 130
    assert capsys.readouterr().err == "stopped; run the same again\n"


def test_sigterm_ends_as_ctrl_c_does_and_leaves_nothing(capsys, tmp_path):
    before = signal.getsignal(signal.SIGTERM)

    def write() -> None:
        with atomic_file(tmp_path / "file") as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("the signal must end the block")

    assert end(write, stopped="run the same again") == 143
    assert capsys.readouterr().err == "stopped; run the same again\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_who_ignores_sigterm_goes_on_to_do_so():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert end(lambda: os.kill(os.getpid(), signal.SIGTERM)) == 0
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_signals_are_left_alone():
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(end(lambda: None)))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize("lines", [1, 100_000])
def test_nobody_reads_on(lines):
    """As with `| head -1`: quietly, whether all was printed before, or much is still to come."""
    program = (
        "import sys\nfrom monai_segdiff.ends import Ending\nsys.stdin.read()\n"
        f"raise SystemExit(Ending('paint').run(lambda: print('line\\n' * {lines}) or 0))"
    )
    reads, writes = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=writes, stderr=subprocess.PIPE
    ) as process:
        os.close(writes)
        os.close(reads)
        _, err = process.communicate()
    assert (process.returncode, err) == (141, b"")
