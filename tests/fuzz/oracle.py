"""One command with one mutated file, and everything that must not happen."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_segdiff import __main__ as command_line

from .checksums import says_damaged
from .scenarios import Scenario

__all__ = ["MOST_MEMORY", "MOST_SECONDS", "PROBLEMS", "Outcome", "run"]

MOST_SECONDS = 20.0
MOST_MEMORY = 2 * 2**30

#: What must not happen, and what it means.
PROBLEMS = {
    "code": "code in the file was run",
    "outside": "something was written outside the output",
    "hang": f"more than {MOST_SECONDS:g} seconds",
    "memory": "more than 2 GB",
    "crash": "the process ended",
    "exit": "an exit code that is none of 0, 1 and 2",
    "traceback": "a traceback, or an error that no reader turned into a message",
    "unnamed": "refused by a message that does not name the file",
    "checksum": "accepted, though the file's own checksum says that it is damaged",
    "undetected": "verified as whole, though it is not what was recorded",
}
_EXPECTED = (ValueError, OSError, ImportError)  # main has a net for others, too; a message then names no file


class _TooLong(BaseException):
    """The time is over."""


@dataclass
class Outcome:
    """What a command did.

    Args:
        code: its exit code.
        problems: names of :data:`PROBLEMS`.
        seconds: how long it took.
        told: what it printed.
    """

    code: Any
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    told: str = ""


def run(
    scenario: Scenario, samples: Path, place: Path, file: str, content: bytes, most_seconds: float = MOST_SECONDS
) -> Outcome:
    """Run a command on inputs of which one file is another.

    Args:
        scenario: the command.
        samples: folder of the sound inputs.
        place: an empty folder, in which everything happens.
        file: the mutated file, relative to the inputs.
        content: what it holds.
        most_seconds: when it is stopped.
    """
    inputs, output = place / "deep" / "in", place / "deep" / "out"
    for name in scenario.inputs:
        source, target = samples / name, inputs / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    mutated = inputs / file
    before_mutation = mutated.read_bytes()
    mutated.write_bytes(content)
    for folder in ("temporary", "deep/working"):
        (place / folder).mkdir(parents=True)
    canary = place / "canary"
    owned = [output, place / "temporary"]
    if scenario.keeps_output:
        owned.append(mutated.parent)
    before, memory = _listing(place, owned), _most_memory()
    with _surroundings(place, canary):
        outcome, raised = _call(scenario.argv(inputs, output), most_seconds)
    told = outcome.told
    text = f"{told}\n{raised!r}"
    found = {
        "code": canary.exists(),
        "outside": _listing(place, [*owned, canary]) != before,
        "hang": outcome.seconds > most_seconds or isinstance(raised, _TooLong),
        "memory": _most_memory() - memory > MOST_MEMORY or isinstance(raised, MemoryError) or "enough memory" in text,
        "exit": outcome.code not in (0, 1, 2),
        "traceback": "Traceback" in told or not (raised is None or isinstance(raised, (*_EXPECTED, _TooLong))),
        "unnamed": outcome.code in (1, 2) and mutated.name not in told,
        "checksum": outcome.code == 0 and says_damaged(mutated),
        "undetected": scenario.recorded and outcome.code == 0 and content != before_mutation,
    }
    outcome.problems = [name for name, is_so in found.items() if is_so]
    return outcome


def _call(argv: list[str], most_seconds: float) -> tuple[Outcome, BaseException | None]:
    """Run a command in this process; what the verb raised is seen before the command line makes a message of it."""
    raised: list[BaseException] = []
    parser = command_line._parser()

    def parse(words: Any = None) -> argparse.Namespace:
        args = type(parser).parse_args(parser, words)
        function = args.function

        def watched(given: argparse.Namespace) -> int:
            try:
                return int(function(given))
            except BaseException as error:
                raised.append(error)
                raise

        args.function = watched
        return args

    told, started = io.StringIO(), time.monotonic()
    code: Any
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        original, command_line._parser = command_line._parser, lambda: _Parser(parse)  # type: ignore[assignment,return-value]
        signal.signal(signal.SIGALRM, _time_is_over)
        signal.setitimer(signal.ITIMER_REAL, most_seconds)
        try:
            code = command_line.main(argv)
        except SystemExit as error:
            code = error.code
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
            raised.append(error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            command_line._parser = original
    return Outcome(code, seconds=time.monotonic() - started, told=told.getvalue()), raised[0] if raised else None


@dataclass
class _Parser:
    """Stands for the command line's parser."""

    parse_args: Any


def _time_is_over(*_: Any) -> None:
    raise _TooLong


@contextlib.contextmanager
def _surroundings(place: Path, canary: Path) -> Iterator[None]:
    """A working folder, a folder for temporary files, and what code in a file would touch."""
    here = os.getcwd()
    os.environ["SEGDIFF_CANARY"] = str(canary)
    tempfile.tempdir = str(place / "temporary")
    os.chdir(place / "deep" / "working")
    try:
        yield
    finally:
        os.chdir(here)
        tempfile.tempdir = None


def _listing(place: Path, without: list[Path]) -> dict[str, tuple[int, int]]:
    """Sizes and times of all files, and names of all folders, but for those of some folders."""
    found = {}
    for folder, folders, files in os.walk(place):
        folders[:] = [name for name in folders if Path(folder, name) not in without]
        for name in (*folders, *files):
            path = Path(folder, name)
            if path not in without:
                status = path.lstat()
                found[str(path)] = (-1, 0) if name in folders else (status.st_size, status.st_mtime_ns)
    return found


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
