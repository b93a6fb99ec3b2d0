from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from benchmarks.killing import Kill, run_apart
from benchmarks.kills import Work, differences, measure
from monai_segdiff.files import atomic_file, claim_folder


def write_two(folder: Path) -> int:
    """Whole or absent, whenever it is killed."""
    with claim_folder(folder / "out"):
        for name in ("first", "second"):
            with atomic_file(folder / "out" / name) as temporary:
                temporary.write_text(name * 100)
    return 0


def write_in_place(folder: Path) -> int:
    """What is there is taken as finished, though it may be half of it."""
    os.makedirs(folder / "out", exist_ok=True)
    if not (folder / "out" / "first").exists():
        with open(folder / "out" / "first", "w") as file:
            file.write("half")
            file.flush()
            os.fsync(file.fileno())
            file.write("whole")
    os.mkdir(folder / f".tmp-{time.time_ns()}")
    return 0


@pytest.mark.parametrize(
    ("number", "after", "made"), [(0, False, []), (0, True, ["a"]), (1, False, ["a"]), (1, True, ["a", "b"])]
)
def test_a_process_is_killed_before_or_after_its_operation(
    tmp_path: Path, number: int, after: bool, made: list[str]
) -> None:
    def work() -> int:
        for name in ("a", "b", "c"):
            os.mkdir(tmp_path / "made" / name)
        return 0

    (tmp_path / "made").mkdir()
    assert run_apart(work, tmp_path / "log", Kill(call=number, after=after)).killed
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == made


def test_a_process_that_is_left_alone_says_how_it_ended(tmp_path: Path) -> None:
    def work() -> int:
        print("done", flush=True)
        os.mkdir(tmp_path / "made")
        return 3

    ended = run_apart(work, tmp_path / "log")
    assert (ended.code, ended.calls, ended.killed) == (3, 1, False)
    assert (tmp_path / "log").read_text() == "done\n"
    assert run_apart(lambda: 1 // 0, tmp_path / "log").code == 1
    assert "ZeroDivisionError" in (tmp_path / "log").read_text()


def test_a_process_is_killed_at_its_moment(tmp_path: Path) -> None:
    ended = run_apart(lambda: time.sleep(600) or 0, tmp_path / "log", Kill(seconds=0.1))
    assert ended.killed
    assert 0.1 <= ended.seconds < 60


def test_what_is_whole_or_absent_passes(tmp_path: Path) -> None:
    cells = measure(Work("careful", write_two, None), tmp_path, kills=6, seed=0)
    assert (cells["kills"], cells["refused"], cells["different"], cells["leftovers"]) == (6, 0, 0, 0)
    assert cells["in_writing"]


def test_half_results_and_leftovers_are_counted(tmp_path: Path) -> None:
    found = tmp_path / "work"
    (tmp_path / "whole").mkdir()
    write_in_place(tmp_path / "whole")
    run_apart(lambda: write_in_place(found), tmp_path / "log", Kill(call=2))
    write_in_place(found)
    assert differences(tmp_path / "whole", found) == ["out/first"]


def test_tensors_are_compared_by_their_values(tmp_path: Path) -> None:
    for name, value, file in (("a", 1.0, "x.pt"), ("b", 1.0, "x.pt"), ("c", 2.0, "x.pt"), ("d", 1.0, "y.pt")):
        (tmp_path / name).mkdir()
        torch.save({"weight": torch.tensor(value), "name": ["n"]}, tmp_path / name / file)
    assert differences(tmp_path / "a", tmp_path / "b") == []
    assert differences(tmp_path / "a", tmp_path / "c") == ["x.pt"]
    assert differences(tmp_path / "a", tmp_path / "d") == ["x.pt", "y.pt"]
