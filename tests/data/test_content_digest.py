"""What changes in a data set is seen in the digest of what it is part of."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from monai_segdiff.data import Case, SegmentationDataset, content_digest
from monai_segdiff.data.nifti import save_nifti


@pytest.fixture
def dataset(tmp_path: Path) -> SegmentationDataset:
    def case(index: int, split: str) -> Case:
        files = [tmp_path / "set" / kind / f"{split}{index}.nii.gz" for kind in ("images", "labels", "regions")]
        for place, file in enumerate(files):
            save_nifti(file, np.full((2, 2), 10 * index + place, np.uint8), np.eye(4))
        return Case(f"{split}{index}", files[0], files[1], "p", ("opacity", "effusion"), files[2])

    splits = {split: [case(index, split) for index in range(3)] for split in ("training", "validation", "test")}
    return SegmentationDataset(tmp_path / "set", "set", {"liver": 1}, splits)


def changed(dataset: SegmentationDataset, change: Callable[[list[Case]], object], split: str = "training") -> list[str]:
    """What is another entry of the digest after a change of a split's cases."""
    before = content_digest(dataset)
    change(dataset.splits[split])
    after = content_digest(dataset)
    assert before.keys() == after.keys()
    return sorted(name for name in after if after[name] != before[name])


def test_every_channel_counts(dataset: SegmentationDataset, tmp_path: Path) -> None:
    other = save_nifti(tmp_path / "set/other.nii.gz", np.ones((2, 2), np.uint8), np.eye(4))

    def add(cases: list[Case]) -> None:
        assert cases[1].image is not None
        cases[1] = replace(cases[1], channel_files=(cases[1].image, other))

    assert changed(dataset, add) == ["set of training images"]
    assert changed(dataset, lambda _: save_nifti(other, np.zeros((2, 2), np.uint8), np.eye(4))) == [
        "set of training images"
    ]


def test_entries_are_called_what_a_user_calls_them(dataset: SegmentationDataset) -> None:
    kinds = ("cases", "findings", "images", "label maps", "region maps")
    expected = [f"set of {split} {kind}" for split in ("training", "validation") for kind in kinds]
    assert sorted(content_digest(dataset)) == expected
    plain = [replace(case, findings=None, region=None) for case in dataset.splits["test"]]
    dataset.splits = {"training": plain}
    kinds = ("cases", "images", "label maps")
    assert sorted(content_digest(dataset)) == [f"set of training {kind}" for kind in kinds]


@pytest.mark.parametrize(("key", "kind"), [("image", "images"), ("label", "label maps"), ("region", "region maps")])
def test_another_content_is_seen(dataset: SegmentationDataset, key: str, kind: str) -> None:
    def change(cases: list[Case]) -> None:
        save_nifti(getattr(cases[1], key), np.full((2, 2), 77, np.uint8), np.eye(4))

    assert changed(dataset, change) == [f"set of training {kind}"]
    assert changed(dataset, change, "validation") == [f"set of validation {kind}"]
    assert changed(dataset, change, "test") == []


def test_another_order_name_or_finding_is_seen(dataset: SegmentationDataset) -> None:
    def exchange_label_maps(cases: list[Case]) -> None:
        first, second, third = cases
        cases[:] = [replace(first, label=second.label), replace(second, label=first.label), third]

    def rename(cases: list[Case]) -> None:
        cases[0] = replace(cases[0], id="other")

    def find(cases: list[Case]) -> None:
        cases[0] = replace(cases[0], findings=())

    assert changed(dataset, exchange_label_maps) == ["set of training label maps"]
    assert changed(dataset, rename) == ["set of training cases"]
    assert changed(dataset, find) == ["set of training findings"]
    in_another_order = [replace(case, findings=tuple(reversed(case.findings))) for case in dataset.splits["validation"]]
    assert changed(dataset, lambda cases: cases.__setitem__(slice(None), in_another_order), "validation") == []


def test_where_the_folder_lies_plays_no_part(dataset: SegmentationDataset, tmp_path: Path) -> None:
    def moved(file: Path) -> Path:
        return tmp_path / "moved" / file.relative_to(dataset.root)

    before = content_digest(dataset)
    shutil.move(dataset.root, tmp_path / "moved")
    for split, cases in dataset.splits.items():
        dataset.splits[split] = [
            replace(case, image=moved(case.image), label=moved(case.label), region=moved(case.region)) for case in cases
        ]
    assert content_digest(dataset) == before


def test_a_lost_file_is_named(dataset: SegmentationDataset) -> None:
    dataset.splits["training"][1].label.unlink()
    with pytest.raises(FileNotFoundError, match="training1"):
        content_digest(dataset)
