from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.data import check_dataset, read_dataset
from monai_segdiff.data.case_files import image_files, list_images, one_channel_each, unread


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_what_is_hidden_or_of_another_kind_is_no_image(tmp_path: Path) -> None:
    touch(
        tmp_path, "b.PNG", "a.nii.gz", "._a.nii.gz", ".DS_Store", "__MACOSX/._a.nii.gz", "x.tif", "notes", "sub/c.png"
    )
    assert [file.name for file in image_files(tmp_path)] == ["a.nii.gz", "b.PNG"]
    assert list(list_images(tmp_path)) == ["a", "b"]
    assert unread(tmp_path) == f"3 files or folders in {tmp_path} are not read: notes, sub, x.tif"
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
    def names(*images: str, labels: tuple[str, ...] = (), every: bool = False) -> list[str]:
        return list(one_channel_each({name: Path(f"{name}.png") for name in images}, labels, every))

    assert names("a_0000", "b_0001", labels=("a", "b")) == ["a", "b"]
    assert names("a_0000", "a_0001", labels=("a_0000", "a_0001")) == ["a_0000", "a_0001"]
    assert names("a_0000", "a_0001") == ["a_0000", "a_0001"], "frames of a film, for all that is known"
    assert names("a_0000", "b_0000") == ["a", "b"]
    assert names("a_0003", every=True) == ["a"]
    with pytest.raises(ValueError, match=r"2 channels of 'a' \(a_0000\.png, a_0001\.png\)"):
        names("a_0000", "a_0001", labels=("a",))
