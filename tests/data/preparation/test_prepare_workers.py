from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_segdiff.data import prepare_dataset
from monai_segdiff.data.preparation import samples


def contents(root: Path) -> dict[str, bytes]:
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_what_is_written_does_not_depend_on_the_workers(tmp_path: Path, make_pair: Callable) -> None:
    label = np.zeros((12, 14, 5), np.uint8)
    label[3:8, 4:11] = 1
    pairs = [make_pair(f"p{i}", label.shape, label=label) for i in range(4)]
    for workers in (1, 2):
        prepare_dataset(pairs, tmp_path / str(workers), {"box": 1}, size=8, workers=workers, progress=False)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert len(contents(tmp_path / "1")) == 4 * 5 * 2 + 2

    np.asarray(label)[0, 0, 0] = 9
    bad = make_pair("p9", label.shape, label=label)
    for workers in (1, 2):
        with pytest.raises(ValueError, match=r"p9.*label map holds unknown ids \[9\]"):
            prepare_dataset([*pairs[:3], bad], tmp_path / "bad", {"box": 1}, workers=workers, progress=False)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp-") or path.name == "bad"]


def test_a_killed_process_is_an_error_that_names_the_file(
    tmp_path: Path, make_pair: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [make_pair(f"p{i}", (8, 8, 2)) for i in range(2)]

    def broken(act: object, tasks: list, workers: int, in_order: bool) -> Iterator[Any]:
        yield tasks[0], None

    monkeypatch.setattr(samples, "in_processes", broken)
    with pytest.raises(ChildProcessError, match=r"p0.*was killed.*fewer workers \(--workers\)"):
        prepare_dataset(pairs, tmp_path / "out", {"box": 1}, workers=2, progress=False)
    assert not (tmp_path / "out").exists()
