"""`python -m monai_segdiff run` on data in the forms that people have: does it get through, and in the planned time?

    SEGDIFF_DATA=../shared/data python -m benchmarks.own_data --only dicom pictures

Each row is one command, typed in a folder that holds nothing but the data, or names the real samples where they lie.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import Cell, Column, Results, Table, arguments, say
from benchmarks.own_data_forms import FORMS
from monai_segdiff.workflows.plan.fingerprint import read_fingerprint
from monai_segdiff.workflows.study_state import StudyState

__all__ = ["facts_of", "main", "run"]

_PLANNED = ("prepare", "train", "guide", "tune", "generate", "evaluate")
_COLUMNS = {
    "command": Column("command", "`{}`"),
    "patients": Column("patients", "{:,d}"),
    "images": Column("images", "{:,d}"),
    "seconds": Column("seconds, whole command", "{:,.0f}"),
    "expected": Column("seconds, planned", "{:,.0f}"),
    "difference": Column("difference", "{:+.0%}"),
    "spent": Column("seconds of the planned stages", "{:,.0f}"),
    "difference_of_stages": Column("difference", "{:+.0%}"),
    "failed": Column("failed samples", "{:.1%}"),
    "pairs": Column("pairs", "{:,d}"),
}
_TEXT = (
    "Real data in the forms that people have them in, and the one command that takes them: it checks, plans, prepares, "
    "trains, generates and, where the row is not until the pairs only, evaluates. The data of a row lie in the folder "
    "in which the command is typed, or, where it names `$SEGDIFF_DATA`, as they came."
)
_NOTES = (
    "Images are files of the data: volumes, or pictures.",
    "Seconds planned: what `plan.yaml` expects of the stages from preparing on that the command reaches. The whole "
    "command reads, checks and measures the data beforehand, which the plan cannot tell; so there are two differences, "
    "of the whole command and of the planned stages alone, each over what was planned.",
    "A training on 64 images shows that the way is open, no more: its images are noise. Failed samples are known where "
    "there is a report.",
    "Hippocampus: Medical Segmentation Decathlon (CC BY-SA 4.0). Chest X-rays: ml-workgroup covid-19-image-repository "
    "(CC BY 3.0), masks by v7labs (CC BY 4.0). CT: TotalSegmentator (Apache-2.0).",
)


def run(command: str, folder: Path, samples: Path) -> float:
    """Run a command as it is typed in a folder, and say how many seconds it took.

    Args:
        command: begins with `python`; may name `$SEGDIFF_DATA`.
        folder: where it is typed; what it says goes to `log.txt` there.
        samples: folder of the real samples.

    Raises:
        RuntimeError: if it fails; names its log and shows its last line.
    """
    environment = {**os.environ, "SEGDIFF_DATA": str(samples), "PYTHONPATH": str(Path(__file__).parents[1])}
    words = [word.replace("$SEGDIFF_DATA", str(samples)) for word in shlex.split(command)]
    log, began = folder / "log.txt", time.monotonic()
    with log.open("w") as file:
        done = subprocess.run(
            [sys.executable, *words[1:]], cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    if done.returncode:
        last = next((line for line in reversed(log.read_text().splitlines()) if line.strip()), "nothing was said")
        raise RuntimeError(f"`{command}` failed, see {log}: {last}")
    return time.monotonic() - began


def facts_of(study: Path, seconds: float) -> dict[str, Cell]:
    """The figures of a row from the folder of its study.

    Args:
        study: the folder.
        seconds: that the whole command took.
    """
    fingerprint, stages = read_fingerprint(study / "fingerprint.json"), StudyState.read(study / "study.json").stages
    reached = [name for name in _PLANNED if name in stages]
    expected = sum(stages["plan"].result["expected"][name] for name in reached)
    spent = sum(stages[name].seconds for name in reached)
    return {
        "patients": len(fingerprint.patients),
        "images": fingerprint.number,
        "seconds": seconds,
        "expected": expected,
        "difference": seconds / expected - 1,
        "spent": spent,
        "difference_of_stages": spent / expected - 1,
        "failed": stages["evaluate"].result["failed"] if "evaluate" in stages else None,
        "pairs": stages["generate"].result["pairs"],
    }


def _lengths(words: Sequence[str]) -> dict[str, int]:
    """Numbers of images by row, from `ROW=N`."""
    found = {}
    for word in words:
        name, _, number = word.partition("=")
        if name not in FORMS or not number.isdigit() or int(number) < 1:
            raise SystemExit(f"--images {word}: give ROW=N, where ROW is one of {', '.join(FORMS)}")
        found[name] = int(number)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = arguments("A study of data in every form, by one command each.", "own_data")
    parser.add_argument("--only", nargs="+", choices=tuple(FORMS), metavar="ROW", help=f"rows: {', '.join(FORMS)}")
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="ROW=N",
        help="images that a row's training sees ("
        + ", ".join(f"{name}={form.images}" for name, form in FORMS.items())
        + ")",
    )
    parser.add_argument("--patients", type=int, default=20, help="patients in the folders that are made")
    parser.add_argument("--work", type=Path, default=Path("runs/own_data"), help="where data and studies go")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = _parser().parse_args(argv)
    where = os.environ.get("SEGDIFF_DATA")
    if not where:
        raise SystemExit("set SEGDIFF_DATA to the folder that holds the real sample data")
    samples = Path(where).resolve()
    lengths = {name: form.images for name, form in FORMS.items()} | _lengths(args.images)
    table = Table("One command", _COLUMNS, {name: form.title for name, form in FORMS.items()}, _NOTES)
    settings: dict[str, Any] = {
        "images": lengths,
        "patients": args.patients,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
    }
    results = Results(args.output, "Your own data", _TEXT, settings, [table], None, args.overwrite)
    for name in args.only or FORMS:
        form = FORMS[name]
        if name in results:
            say(f"{form.title}: measured before")
            continue
        folder = args.work.resolve() / name
        shutil.rmtree(folder / "study", ignore_errors=True)  # of a run that was stopped: its time would be lost
        folder.mkdir(parents=True, exist_ok=True)
        form.write(samples, folder, args.patients)
        command = form.command(lengths[name])
        say(f"{form.title}: {command}")
        seconds = run(command, folder, samples)
        results.add(name, {"command": command, **facts_of(folder / "study", seconds)})
        say(f"{seconds:,.0f} s, {results.rows[name]['pairs']} pairs")
    say(f"results: {results.page}")


if __name__ == "__main__":
    main()
