from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monai_segdiff.data import Case, check_dataset, describe, read_dataset

CHANNELS = {"0": "T1", "1": "FLAIR"}


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def nnunet(root: Path, *files: str, **more: Any) -> Path:
    touch(root, *files)
    content = {"channel_names": CHANNELS, "labels": {"background": 0, "x": 1}, "file_ending": ".nii.gz", **more}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def two_channels(*names: str, folder: str = "imagesTr") -> list[str]:
    return [f"{folder}/{name}_{number:04d}.nii.gz" for name in names for number in (0, 1)]


def test_channels_of_a_case_are_files_in_their_order(tmp_path: Path) -> None:
    files = [*two_channels("a", "b"), *two_channels("c", folder="imagesTs"), "labelsTr/a.nii.gz", "labelsTr/b.nii.gz"]
    dataset = read_dataset(nnunet(tmp_path, *files, numTraining=2))
    root = tmp_path.resolve()
    assert dataset.channels == ("T1", "FLAIR")
    assert dataset.splits["training"][0] == Case(
        "a",
        root / "imagesTr/a_0000.nii.gz",
        root / "labelsTr/a.nii.gz",
        "a",
        channel_files=(root / "imagesTr/a_0000.nii.gz", root / "imagesTr/a_0001.nii.gz"),
    )
    assert [len(case.channel_files) for case in dataset.splits["test"]] == [2]
    assert describe(tmp_path) == (
        "nnU-Net v2 raw folder, 2 channels: T1, FLAIR, 2 training cases, 1 test case (1 without label map), 1 class: "
        "x, "
        "patients not named"
    )


@pytest.mark.parametrize("lacking", [0, 1])
def test_a_channel_that_is_missing_is_named(tmp_path: Path, lacking: int) -> None:
    files = [*two_channels("a", "b"), "labelsTr/a.nii.gz", "labelsTr/b.nii.gz"]
    nnunet(tmp_path, *files)
    (tmp_path / f"imagesTr/b_{lacking:04d}.nii.gz").unlink()
    name = list(CHANNELS.values())[lacking]
    with pytest.raises(
        FileNotFoundError, match=rf"case 'b' lacks its channel '{name}', .* no .*b_000{lacking}\.nii\.gz"
    ):
        read_dataset(tmp_path)
    assert any(f"case 'b' lacks its channel '{name}'" in issue.message for issue in check_dataset(tmp_path))


def test_a_channel_without_a_name_is_asked_for(tmp_path: Path) -> None:
    nnunet(tmp_path, *two_channels("a"), "imagesTr/a_0002.nii.gz", "labelsTr/a.nii.gz")
    with pytest.raises(
        ValueError, match=r"a_0002\.nii\.gz is channel 2 of 'a', and dataset\.json names 2.*channel_names"
    ):
        read_dataset(tmp_path)


def test_cases_may_be_named_in_the_description(tmp_path: Path) -> None:
    files = touch(tmp_path, "elsewhere/s1.png", "elsewhere/s2.png", "labelsTr/a.png")
    entry = {"images": ["elsewhere/s1.png", "elsewhere/s2.png"], "label": "labelsTr/a.png"}
    nnunet(files, dataset={"a": entry})
    (case,) = read_dataset(tmp_path).splits["training"]
    assert (case.id, [file.name for file in case.channel_files]) == ("a", ["s1.png", "s2.png"])


def test_another_number_of_cases_than_was_counted_is_said(tmp_path: Path) -> None:
    nnunet(tmp_path, *two_channels("a"), "labelsTr/a.nii.gz", numTraining=20)
    messages = [issue.message for issue in check_dataset(tmp_path)]
    assert f"{tmp_path.resolve()} has 1 training cases, and its dataset.json says numTraining 20" in messages


def test_pictures_of_colors_are_files_without_a_channel(tmp_path: Path) -> None:
    colors = {"0": "R", "1": "G", "2": "B"}
    nnunet(tmp_path, "imagesTr/a_0000.png", "labelsTr/a.png", channel_names=colors, file_ending=".png")
    (case,) = read_dataset(tmp_path).splits["training"]
    assert (case.image, case.channel_files) == (tmp_path.resolve() / "imagesTr/a_0000.png", ())
