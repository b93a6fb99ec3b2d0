from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from monai_segdiff.data import Case, SegmentationDataset, read_dataset, write_dataset
from monai_segdiff.data.build import build_once
from monai_segdiff.data.nifti import save_nifti

SETTINGS = {"size": (4, 4), "seed": 1}


def fill(folder: Path) -> SegmentationDataset:
    paths = [folder / part / "a.nii.gz" for part in ("images", "labels")]
    for path in paths:
        save_nifti(path, np.eye(4, dtype=np.uint8), np.eye(4))
    return SegmentationDataset(folder, "x", {"a": 1}, {"training": [Case("a", *paths, "p")]}, settings=dict(SETTINGS))


def test_of_two_processes_the_first_to_finish_wins(tmp_path: Path) -> None:
    def overtaken(folder: Path) -> SegmentationDataset:
        dataset = fill(folder)
        write_dataset(folder, dataset)
        shutil.copytree(folder, tmp_path / "data")
        (tmp_path / "data/first").touch()
        return dataset

    dataset = build_once(tmp_path / "data", SETTINGS, overtaken)
    assert dataset == read_dataset(tmp_path / "data")
    assert (tmp_path / "data/first").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_an_empty_folder_is_filled_and_then_found(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    first = build_once(tmp_path / "data", SETTINGS, fill)

    def never(folder: Path) -> SegmentationDataset:
        raise AssertionError("built twice")

    assert build_once(tmp_path / "data", SETTINGS, never) == first
