"""Trainings that are killed at random moments and run again: do they end with the weights of one that was not?"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import Cell, Column, Results, Table, arguments, say
from monai_segdiff.bundle import copy_bundle
from monai_segdiff.data import make_ct_phantoms
from monai_segdiff.handlers import ResumeCheckpoint
from monai_segdiff.networks import weights_hash

_OVERLAY = Path(__file__).with_name("resume.yaml")
_COLUMNS = {
    "kills": Column("kills (kill -9)", "{:,d}"),
    "in_writing": Column("of these while a checkpoint was written", "{:,d}"),
    "moments": Column("killed after (newest whole epoch)"),
    "epochs": Column("epochs", "{:,d}"),
    "files_read": Column("checkpoints read after kills", "{:,d}"),
    "unreadable": Column("unreadable", "{:,d}"),
    "equal": Column("final state equal bit for bit"),
    "weights": Column("weights, SHA-256"),
    "seconds": Column("seconds", "{:,d}"),
}
_TEXT = (
    "A training by `python -m monai.bundle run training`, killed with all its processes (SIGKILL), run again until "
    "it is complete, and compared with one that was left alone: exported weights, and network, moving average, "
    "optimizer and schedule of the last checkpoint. After every kill all checkpoints in the folder are read."
)
_MOST_TRAININGS = 10  # that may end before they are killed
_CHECKPOINT = re.compile(r"checkpoint_epoch=(\d+)\.pt")
_POLL = 2e-4  # a checkpoint of this size is written in some milliseconds


@dataclass
class Training:
    """A bundle folder and the command that trains it.

    Args:
        bundle: the folder; made from ``ct_organ`` if need be.
        dataset: data to train on.
        num_workers: of the data loaders.
        max_images: length of the training, or None for the overlay's.
    """

    bundle: Path
    dataset: Path
    num_workers: int
    max_images: int | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Run the command; what it says goes to ``training.log`` in the folder."""
        copy_bundle("ct_organ", self.bundle)
        configs = [str(self.bundle / "configs" / "train.yaml"), str(_OVERLAY)]
        options = {"bundle_root": self.bundle, "dataset_dir": self.dataset, "num_workers": self.num_workers}
        if self.max_images is not None:
            options["max_images"] = self.max_images
        command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(configs)]
        command += [text for key, value in options.items() for text in (f"--{key}", str(value))]
        # one thread: the order of a sum must not depend on how many threads share it
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with open(self.bundle / "training.log", "ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    @property
    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return ResumeCheckpoint(self.bundle / "models", {}).files()

    @property
    def epoch(self) -> int:
        """Newest whole epoch on disk."""
        return int(_CHECKPOINT.findall(self.checkpoints[-1].name)[0]) if self.checkpoints else 0

    def unfinished(self) -> dict[str, int]:
        """Checkpoints under their temporary names, with their epochs: being written, or left there by a kill."""
        folder = self.bundle / "models"
        names = [entry.name for entry in os.scandir(folder)] if folder.is_dir() else []
        found = {name: _CHECKPOINT.search(name) for name in names if not _CHECKPOINT.fullmatch(name)}
        return {name: int(match[1]) for name, match in found.items() if match}

    def final_state(self) -> dict[str, Any]:
        """All that a finished training leaves to be compared."""
        state = torch.load(self.checkpoints[-1], map_location="cpu", weights_only=True)
        return {**state, "exported": torch.load(self.bundle / "models" / "model.pt", weights_only=True)}


@dataclass
class Kills:
    """What has been killed so far, and what was found afterwards."""

    moments: list[str] = field(default_factory=list)
    in_writing: int = 0
    files_read: int = 0
    unreadable: list[str] = field(default_factory=list)

    def note(self, training: Training, after: float, in_writing: bool) -> None:
        """Note a kill, and read all checkpoints that it has left."""
        self.moments.append(f"{after:.1f} s ({training.epoch}{', in writing' if in_writing else ''})")
        self.in_writing += in_writing
        for path in training.checkpoints:
            self.files_read += 1
            try:
                torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # a damaged file fails in many ways; each counts
                self.unreadable.append(f"{path.name}: {error}")


def equal(first: Any, second: Any) -> bool:
    """Whether two nested states hold the same keys and values, tensors bit for bit."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second)


@contextmanager
def running(training: Training) -> Iterator[subprocess.Popen[bytes]]:
    """Run a training; if the block ends first, the training and its workers are killed.

    Raises:
        RuntimeError: if the training failed.
    """
    process = training.start()
    try:
        yield process
    finally:
        killed = process.poll() is None
        if killed:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if not killed and process.returncode != 0:
        log = (training.bundle / "training.log").read_text(errors="replace")
        raise RuntimeError(f"the training in {training.bundle} ended with {process.returncode}:\n{log[-2000:]}")


def run_whole(training: Training) -> tuple[float, float]:
    """Train undisturbed.

    Returns:
        Seconds until the first checkpoint, and until the end.
    """
    started, first = time.monotonic(), None
    with running(training) as process:
        while process.poll() is None:
            if first is None and training.checkpoints:
                first = time.monotonic() - started
            time.sleep(0.05)
    seconds = time.monotonic() - started
    return seconds if first is None else first, seconds


def kill_when(training: Training, is_time: Callable[[float], bool]) -> float | None:
    """Run a training and kill it, with its workers, when it is time.

    Args:
        training: what to run.
        is_time: seconds since the start to whether it is time.

    Returns:
        Seconds since the start; None if the training ended before.
    """
    started = time.monotonic()
    with running(training) as process:
        while process.poll() is None:
            after = time.monotonic() - started
            if is_time(after):
                return after
            time.sleep(_POLL)
    return None


def kill_and_resume(
    make: Callable[[int], Training], number: int, times: tuple[float, float], epochs: int, seed: int
) -> tuple[Kills, list[Training]]:
    """Kill trainings until there are enough kills, one of them inside the writing of a checkpoint, and finish them.

    Args:
        make: gives a fresh training by its number; a second one is needed only where the first one ends too soon.
        number: number of kills, at least.
        times: seconds until the first checkpoint and until the end of an undisturbed training.
        epochs: length of the training.
        seed: of the moments.

    Returns:
        What was killed, and the trainings, all complete.
    """
    draws = random.Random(seed)
    kills, trainings = Kills(), [make(0)]
    first, whole = times
    in_writing_at = draws.randrange(number)  # which kill waits for a checkpoint
    pace = 1.0  # grows where the machine has become faster than it was when the times were measured
    while len(kills.moments) < number or not kills.in_writing:
        training = trainings[-1]
        known = training.unfinished()
        if len(kills.moments) >= in_writing_at and not kills.in_writing:
            least = training.epoch + draws.randint(1, 3)

            def is_time(_: float, training: Training = training, known: Any = known, least: int = least) -> bool:
                return any(epoch >= least for name, epoch in training.unfinished().items() if name not in known)
        else:
            left = (whole - first) * (1 - training.epoch / epochs)
            moment = draws.uniform(0.5 * first, first + 0.7 * left) / pace

            def is_time(after: float, moment: float = moment) -> bool:
                return after >= moment

        after = kill_when(training, is_time)
        if after is not None:
            # the temporary file that stays proves that the kill came within the writing
            kills.note(training, after, in_writing=bool(training.unfinished().keys() - known.keys()))
            say(f"killed after {kills.moments[-1]}")
        elif len(trainings) < _MOST_TRAININGS:
            say("the training ended before it was killed; a fresh one goes on")
            pace *= 2
            trainings.append(make(len(trainings)))
        else:
            raise RuntimeError(f"{_MOST_TRAININGS} trainings ended too soon to be killed: make them longer")
    run_whole(trainings[-1])
    return kills, trainings


def _parser() -> argparse.ArgumentParser:
    parser = arguments("kill -9 at random moments, run again: equal weights, no unreadable checkpoint.", "resume")
    parser.add_argument("--kills", type=int, default=5, help="kills of a training, one while a checkpoint is written")
    parser.add_argument("--num-workers", type=int, nargs="+", default=[0, 2], help="rows: workers of the data loaders")
    parser.add_argument("--max-images", type=int, help="length of the training in images (default: as resume.yaml)")
    parser.add_argument("--patients", type=int, default=40, help="phantom patients, 8 images each")
    parser.add_argument("--work", type=Path, default=Path("runs/resume"), help="empty or new folder for the trainings")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = _parser().parse_args(argv)
    args.work = args.work.resolve()
    dataset = make_ct_phantoms(
        args.work / f"phantoms_{args.patients}_{args.seed}", args.patients, 32, slices_per_patient=8, seed=args.seed
    )
    rows = {f"workers_{number}": number for number in args.num_workers}
    settings = {
        "training": _OVERLAY.name,
        "training images": len(dataset.splits["training"]),
        "length in images": args.max_images,
        "kills": args.kills,
        "threads": 1,
        "seed": args.seed,
    }
    tables = [Table("Killed and run again", _COLUMNS, {key: f"num_workers {n}" for key, n in rows.items()})]
    results = Results(args.output, "Resume", _TEXT, settings, tables, overwrite=args.overwrite)
    for key, number in rows.items():
        if key in results:
            say(f"{key}: measured before")
            continue
        say(key)
        results.add(key, measure_row(args, dataset.root, key, number))
    say(f"results: {results.page}")


def measure_row(args: argparse.Namespace, dataset: Path, key: str, num_workers: int) -> dict[str, Cell]:
    """Train once undisturbed and once with kills, and compare."""
    started = time.monotonic()
    folder = args.work / f"{key}_{time.strftime('%Y%m%d_%H%M%S')}"  # a row that was stopped is begun anew

    def make(name: str) -> Training:
        return Training(folder / name, dataset, num_workers, args.max_images)

    whole = make("whole")
    times = run_whole(whole)
    say(f"undisturbed: first checkpoint after {times[0]:.1f} s, complete after {times[1]:.1f} s")
    kills, trainings = kill_and_resume(lambda i: make(f"killed_{i}"), args.kills, times, whole.epoch, args.seed)
    expected = whole.final_state()
    same = all(equal(training.final_state(), expected) for training in trainings)
    for text in kills.unreadable:
        say(f"UNREADABLE: {text}")
    return {
        "kills": len(kills.moments),
        "in_writing": kills.in_writing,
        "moments": ", ".join(kills.moments),
        "epochs": whole.epoch,
        "files_read": kills.files_read,
        "unreadable": len(kills.unreadable),
        "equal": "yes" if same else "NO",
        "weights": weights_hash(whole.bundle / "models" / "model.pt")[:16],
        "seconds": round(time.monotonic() - started),
    }


if __name__ == "__main__":
    main()
