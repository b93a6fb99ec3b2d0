from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_segdiff.__main__ import main
from monai_segdiff.data import LabelVolumes, check_dataset
from monai_segdiff.data.load import label_counts, label_ids


def test_ids_have_cases_voxels_and_milliliters(tmp_path: Path, make_pair: Callable) -> None:
    first, second = np.zeros((10, 12, 14), np.uint8), np.zeros((10, 12, 14), np.uint8)
    first[:4], first[6:8, 0, 0], second[:2] = 1, 7, 1
    make_pair("a", label=first)
    make_pair("b", label=second)
    volumes = LabelVolumes()
    check_dataset(tmp_path / "source", {"box": 1, "dot": 7}, volumes=volumes)
    assert {i: (v.cases, v.voxels) for i, v in volumes.ids.items()} == {1: (2, 6 * 12 * 14), 7: (1, 2)}
    assert volumes.ids[1].milliliters == pytest.approx(6 * 12 * 14 * 12 / 1000)  # voxels of 2x2x3 mm
    assert volumes.table().splitlines() == [
        "id  class   cases  voxels     mL  mL a case",
        " 1  box    2 of 2    1008   12.1       6.05",
        " 7  dot    1 of 2       2  0.024      0.024",
    ]


def test_pictures_have_no_milliliters_and_ids_without_a_class_are_listed(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for folder, array in (("images", pixels), ("labels", (pixels > 30).astype(np.uint8) * 255)):
        (tmp_path / folder).mkdir()
        Image.fromarray(array).save(tmp_path / folder / "a.png")
    volumes = LabelVolumes()
    check_dataset(tmp_path, volumes=volumes)
    assert volumes.table().splitlines()[1].split() == ["255", "?", "1", "of", "1", "33", "-", "-"]


def test_counts_of_a_large_label_map_are_those_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_segdiff.data.load._BLOCK", 7)
    array = np.random.default_rng(0).integers(-2, 5, (5, 6, 7))
    expected = {int(i): int((array == i).sum()) for i in np.unique(array) if i}
    assert label_counts(array, label_ids(array)) == expected


def test_the_verb_says_what_the_folder_is_and_what_it_holds(
    tmp_path: Path, make_pair: Callable, capsys: pytest.CaptureFixture
) -> None:
    for name in ("a", "b"):
        make_pair(name)
    assert main(["check-data", str(tmp_path / "source"), "--classes", "box=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "folders of images and label maps, 2 training cases, 1 class: box, patients not named"
    assert lines[1].split() == ["id", "class", "cases", "voxels", "mL", "mL", "a", "case"]
    assert lines[2].split()[:5] == ["1", "box", "2", "of", "2"]


def test_the_verb_takes_what_decides(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    (tmp_path / "set" / "p1").mkdir(parents=True)
    for name, array in (("image", pixels), ("seg", pixels // 40), ("seg_manual", pixels // 33)):
        Image.fromarray(array).save(tmp_path / "set" / "p1" / f"{name}.png")
    assert main(["check-data", str(tmp_path / "set")]) == 1
    assert "--label-name" in capsys.readouterr().out
    assert main(["check-data", str(tmp_path / "set"), "--label-name", "seg_manual", "--classes", "x=1"]) == 0
    assert capsys.readouterr().out.splitlines()[-2].split()[5] == str(int((pixels // 33 == 1).sum()))
    assert main(["check-data", str(tmp_path / "set"), "--label-name", "seg", "--fold", "0"]) == 1
    assert "fold (--fold) has no effect" in capsys.readouterr().out
