from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.data import check_dataset, read_dataset
from monai_segdiff.data.case_files import channels_of_cases, image_files, list_images, unread, with_channels


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_what_is_hidden_or_of_another_kind_is_no_image(tmp_path: Path) -> None:
    touch(
        tmp_path, "b.PNG", "a.nii.gz", "._a.nii.gz", ".DS_Store", "__MACOSX/._a.nii.gz", "x.npy", "notes", "sub/c.png"
    )
    assert [file.name for file in image_files(tmp_path)] == ["a.nii.gz", "b.PNG"]
    assert list(list_images(tmp_path)) == ["a", "b"]
    assert unread(tmp_path) == f"3 files or folders in {tmp_path} are not read: notes, sub, x.npy"
    assert unread(tmp_path / "sub") == ""
    assert image_files(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    "twins", [("p0.nii", "p0.nii.gz"), ("a.jpg", "a.png"), ("A.png", "a.png"), ("Case.png", "case.nii")]
)
def test_two_files_of_one_name_are_refused_by_both_names(tmp_path: Path, twins: tuple[str, str]) -> None:
    touch(tmp_path, "images/z.png", "labels/z.png", *(f"labels/{name}" for name in twins))
    with pytest.raises(ValueError, match="have the same name") as error:
        read_dataset(tmp_path)
    (finding,) = check_dataset(tmp_path)
    for name in twins:
        assert str(tmp_path / "labels" / name) in str(error.value)
        assert str(tmp_path / "labels" / name) in finding.message
    assert finding.severity == "error"


def test_many_twins_are_not_all_listed(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{n}.{end}" for n in range(9) for end in ("jpg", "png")))
    with pytest.raises(ValueError, match="and 4 more pairs have the same name"):
        list_images(tmp_path)


def test_an_ending_is_a_channel_only_where_a_label_map_says_so() -> None:
    def names(*images: str, labels: tuple[str, ...] = (), every: bool = False) -> dict[str, list[int]]:
        found = channels_of_cases({name: Path(f"{name}.png") for name in images}, labels, every)
        return {name: list(files) for name, files in found.items()}

    assert names("a_0000", "b_0001", labels=("a", "b")) == {"a": [0], "b": [1]}
    assert names("a_0001", "a_0000", labels=("a",)) == {"a": [0, 1]}
    assert names("a_0000", "a_0001", labels=("a_0000", "a_0001")) == {"a_0000": [0], "a_0001": [0]}
    assert list(names("a_0000", "a_0001")) == ["a_0000", "a_0001"], "frames of a film, for all that is known"
    assert names("a_0000", "b_0000") == {"a": [0], "b": [0]}
    assert names("a_0003", every=True) == {"a": [3]}


def test_a_channel_that_is_not_there_is_a_path_that_says_so() -> None:
    files = {0: Path("x/a_0000.nii.gz"), 2: Path("x/a_0002.nii.gz")}
    assert [file.name for file in with_channels(files, 3)] == ["a_0000.nii.gz", "a_0001.nii.gz", "a_0002.nii.gz"]
    assert with_channels({1: Path("a_0001.png")}, 2) == (Path("a_0000.png"), Path("a_0001.png"))
    assert with_channels({0: Path("a_0000.png")}, 1) == ()
    assert with_channels({0: Path("a.nii.gz")}, 3) == ()
