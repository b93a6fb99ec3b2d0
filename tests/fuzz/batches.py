"""Many mutated files, format by format, each format in a process that may end without harm."""

from __future__ import annotations

import json
import os
import resource
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from . import image_mutations, text_mutations, weight_mutations
from .byte_mutations import Draw, mutate_bytes
from .oracle import MOST_MEMORY, MOST_SECONDS, PROBLEMS, run
from .samples import write_samples
from .scenarios import SCENARIOS, Scenario

__all__ = ["Row", "fuzz", "table"]

_IMPORTS = 300.0  # seconds that the first command may take, which imports what it needs
_MUTATIONS: Mapping[str, Callable[[Draw, bytes], tuple[str, bytes]]] = {
    "nifti": image_mutations.mutate_nifti,
    "png": image_mutations.mutate_png,
    "jpeg": image_mutations.mutate_jpeg,
    "tiff": image_mutations.mutate_tiff,
    "nrrd": image_mutations.mutate_nrrd,
    "mha": image_mutations.mutate_mha,
    "dicom": image_mutations.mutate_dicom,
    "json": text_mutations.mutate_json,
    "yaml": text_mutations.mutate_yaml,
    "config": mutate_bytes,
    "csv": text_mutations.mutate_csv,
    "weights": weight_mutations.mutate_weights,
    "sums": text_mutations.mutate_sums,
}


@dataclass
class Row:
    """What came of the mutated files of one format.

    Args:
        inputs: their number.
        codes: how often each exit code was seen.
        problems: how often each problem of the oracle was seen.
        slowest: the longest command, in seconds.
        seconds: all commands together.
        examples: one input of each problem and verb.
    """

    inputs: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    seconds: float = 0.0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: Mapping[str, Any]) -> None:
        """Count one result."""
        self.inputs += 1
        self.codes[str(result["code"])] += 1
        self.slowest = max(self.slowest, result["seconds"])
        self.seconds += result["seconds"]
        for problem in result["problems"]:
            self.problems[problem] += 1
        if result["problems"]:
            self.examples.append(dict(result))


def fuzz(inputs: int, chosen_seed: int = 0, formats: tuple[str, ...] = (), keep: Path | None = None) -> dict[str, Row]:
    """Run commands on mutated files.

    Args:
        inputs: how many, all formats together.
        chosen_seed: of the mutations.
        formats: names of formats; all by default.
        keep: folder for the files that a problem was found with.

    Returns:
        What came of them, by format.
    """
    torch.set_num_threads(1)
    weights = Counter[str]()
    for scenario in SCENARIOS:
        if not formats or scenario.format in formats:
            weights[scenario.format] += scenario.weight
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        samples = Path(folder, "samples")
        samples.mkdir()
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            write_samples(samples)
            _try_undamaged(samples, Path(folder), formats)
        rows = {}
        for name, weight in weights.items():
            rows[name] = _format(name, round(inputs * weight / sum(weights.values())), chosen_seed, Path(folder), keep)
    return rows


def table(rows: Mapping[str, Row]) -> str:
    """What came of them, as text."""
    heads = ["format", "inputs", "exit 0", "1", "2", *PROBLEMS, "slowest s", "all s"]
    lines = []
    total = Row()
    for row in rows.values():
        total.inputs += row.inputs
        total.codes += row.codes
        total.problems += row.problems
        total.slowest = max(total.slowest, row.slowest)
        total.seconds += row.seconds
    for name, row in (*rows.items(), ("all", total)):
        cells: list[Any] = [name, row.inputs, *(row.codes[code] for code in "012")]
        cells += [row.problems[problem] for problem in PROBLEMS]
        lines.append([str(cell) for cell in (*cells, f"{row.slowest:.1f}", f"{row.seconds:.0f}")])
    widths = [max(len(line[column]) for line in (heads, *lines)) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in (heads, *lines)
    )


def _try_undamaged(samples: Path, folder: Path, formats: tuple[str, ...]) -> None:
    """Every command succeeds on the sound samples, and has imported what it needs before processes are made."""
    for scenario in SCENARIOS:
        if formats and scenario.format not in formats:
            continue
        file = _files(scenario, samples)[0]
        with tempfile.TemporaryDirectory(dir=folder) as place:
            outcome = run(scenario, samples, Path(place), file, (samples / file).read_bytes(), _IMPORTS)
        if outcome.code != 0:
            raise RuntimeError(f"{scenario.command} fails on sound inputs ({outcome.code}): {outcome.told[-800:]}")


def _files(scenario: Scenario, samples: Path) -> list[str]:
    files = sorted(str(file.relative_to(samples)) for pattern in scenario.files for file in samples.glob(pattern))
    if not files:
        raise RuntimeError(f"no file {scenario.files} among the samples")
    return files


def _format(name: str, number: int, chosen_seed: int, folder: Path, keep: Path | None) -> Row:
    """The mutated files of one format, in processes that are followed by another where one ends too soon."""
    row, attempt = Row(), 0
    while row.inputs < number and attempt < 20:
        results = folder / f"{name}.{attempt}.jsonl"
        # A process that was ended would end again in the same place, so the next one draws anew.
        drawn = chosen_seed + 1000 * attempt
        ended = _in_a_process(partial(_draw, name, number - row.inputs, drawn, folder, results, keep), results)
        begun: dict[str, Any] | None = None
        for line in results.read_text().splitlines():
            result = json.loads(line)
            begun = result if "code" not in result else None
            if begun is None:
                row.add(result)
        if begun is not None:
            row.add({**begun, "code": ended, "seconds": 0.0, "problems": ["hang" if ended == "stopped" else "crash"]})
        attempt += 1
    return row


def _in_a_process(work: Callable[[], None], results: Path) -> str:
    """Do something in a process of its own, which is stopped when it has written nothing for too long.

    Returns:
        How it ended.
    """
    results.touch()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (1, 2):
                os.dup2(nowhere, stream)
            held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            torch.set_num_threads(1)  # makes torch's pool anew, before threads do it side by side
            resource.setrlimit(resource.RLIMIT_AS, (held + MOST_MEMORY, held + MOST_MEMORY))
            work()
            status = 0
        finally:
            os._exit(status)
    ended = ""
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return ended or f"status {os.waitstatus_to_exitcode(status)}"
        if time.time() - results.stat().st_mtime > 2 * MOST_SECONDS + 10:
            ended = "stopped"
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)


def _draw(name: str, number: int, chosen_seed: int, folder: Path, results: Path, keep: Path | None) -> None:
    """Draw mutated files and run their commands."""
    samples = folder / "samples"
    scenarios = [scenario for scenario in SCENARIOS if scenario.format == name for _ in range(scenario.weight)]
    done = 0

    @seed(chosen_seed)
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def one(data: st.DataObject) -> None:
        nonlocal done
        if done >= number:
            return
        scenario = data.draw(st.sampled_from(scenarios))
        file = data.draw(st.sampled_from(_files(scenario, samples)))
        content = (samples / file).read_bytes()
        mutate = mutate_bytes if data.draw(st.integers(0, 2)) == 0 else _MUTATIONS[name]
        mutation, changed = mutate(data.draw, content)
        about = {"format": name, "command": scenario.command, "file": file, "mutation": mutation, "seed": chosen_seed}
        _say(results, about)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            outcome = run(scenario, samples, Path(place), file, changed)
        done += 1
        if outcome.problems and keep is not None:
            about["kept"] = _kept(keep, outcome.problems[0], file, changed)
        _say(results, {**about, **asdict(outcome), "code": str(outcome.code), "told": outcome.told[-1500:]})

    one()


def _say(results: Path, about: Mapping[str, Any]) -> None:
    with open(results, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(json.dumps(about) + "\n")


def _kept(keep: Path, problem: str, file: str, content: bytes) -> str:
    keep.mkdir(parents=True, exist_ok=True)
    number = len(list(keep.iterdir()))
    kept = keep / f"{problem}_{number:04d}_{Path(file).name}"
    kept.write_bytes(content)
    return str(kept)
