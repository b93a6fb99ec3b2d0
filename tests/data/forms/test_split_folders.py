from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.data import Choices, describe, read_dataset


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(root: Path, choices: Choices | None = None) -> dict[str, list[tuple[str, str, str]]]:
    def parts(file: Path | None) -> str:
        return "" if file is None else str(file.relative_to(root.resolve()).parent)

    splits = read_dataset(root, choices=choices).splits
    return {split: [(c.id, parts(c.image), parts(c.label)) for c in cases] for split, cases in splits.items()}


def test_images_by_split_and_label_maps_by_kind_and_split(tmp_path: Path) -> None:
    touch(tmp_path, "img_dir/train/a.png", "img_dir/val/b.png", "img_dir/test/c.png")
    touch(tmp_path, *(f"seg_dir/all/{file}" for file in ("train/a.png", "val/b.png", "test/c.png")))
    assert names(tmp_path) == {
        "training": [("a", "img_dir/train", "seg_dir/all/train")],
        "validation": [("b", "img_dir/val", "seg_dir/all/val")],
        "test": [("c", "img_dir/test", "seg_dir/all/test")],
    }
    assert describe(tmp_path).startswith(
        "folders of images and label maps for each split, 1 training case, 1 validation case, 1 test case"
    )


def test_several_kinds_of_label_maps_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "img_dir/train/a.png", "seg_dir/all/train/a.png", "seg_dir/breast/train/a.png")
    with pytest.raises(ValueError, match=r"several kinds of label maps \('all', 'breast'\).*\(--label-name all\)"):
        read_dataset(tmp_path)
    found = names(tmp_path, Choices(label="breast"))
    assert found == {"training": [("a", "img_dir/train", "seg_dir/breast/train")]}


def test_the_split_may_stand_first(tmp_path: Path) -> None:
    touch(tmp_path, "Train/images/a.png", "Train/masks/a.png", "valid/images/b.png", "valid/masks/b.png")
    assert names(tmp_path) == {
        "training": [("a", "Train/images", "Train/masks")],
        "validation": [("b", "valid/images", "valid/masks")],
    }


def test_a_test_split_may_have_images_or_label_maps_alone(tmp_path: Path) -> None:
    touch(tmp_path, "images/train/a.png", "masks/train/a.png", "images/test/b.png")
    assert names(tmp_path)["test"] == [("b", "images/test", "")]
    touch(tmp_path / "masks alone", "masks/train/a.png")
    assert names(tmp_path / "masks alone") == {"training": [("a", "", "masks/train")]}


def test_two_folders_of_images_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "images/train/a.png", "imgs/train/a.png", "masks/train/a.png")
    with pytest.raises(ValueError, match=r"the images \('images', 'imgs'\).*\(--image-name images\)"):
        read_dataset(tmp_path)
    assert names(tmp_path, Choices(image=("imgs",)))["training"] == [("a", "imgs/train", "masks/train")]
