"""The label maps that images are generated for, and the real images that these are to be like."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from monai_segdiff.data import Case, SegmentationDataset, case_name, read_dataset
from monai_segdiff.data.layout import default_patient, list_images

__all__ = ["collect_masks", "collect_pairs"]

_ENDINGS = (".nii.gz", ".nii", ".png")


def collect_masks(path: str | os.PathLike[str], split: str = "test") -> list[Case]:
    """List the label maps of a data set's split, or those that lie in a folder.

    Args:
        path: a data set's folder, or a folder that holds label maps and nothing else.
        split: split of a data set; a plain folder has none.

    Returns:
        One case for each label map, in a fixed order, with its image where the data set has one.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if there is no label map, or two have the same name.
    """
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder of masks at {root}")
    files = sorted(file for file in root.iterdir() if file.name.lower().endswith(_ENDINGS))
    if files and not (root / "dataset.json").is_file():
        cases = [Case(case_name(file), None, file, default_patient(case_name(file))) for file in files]
    else:
        dataset = read_dataset(root)
        cases = [case for case in dataset.splits.get(split, []) if case.label is not None]
        if not cases:
            held = ", ".join(name for name, cases in dataset.splits.items() if cases)
            raise ValueError(f"{root} has no label maps in split {split!r}; choose another with --split: {held}")
    names = [case.id for case in cases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{root} has several masks named {twice[0]!r}: names must differ, rename one of them")
    return cases


def collect_pairs(
    images: str | os.PathLike[str], masks: str | os.PathLike[str] | None = None, split: str = "test"
) -> list[Case]:
    """List real images with the label maps under which images like them are to be generated.

    Without masks each image is under its own, which a data set knows: the one given, or the one that the image lies in.
    With masks a single image goes with each of them, and the images of a data set or folder go with those of their
    name.

    Args:
        images: an image file, a data set's folder, or a folder of images.
        masks: a data set's folder, or a folder of label maps; not needed where the images are those of a data set.
        split: split of a data set.

    Returns:
        One case for each label map, with its image.

    Raises:
        FileNotFoundError: if a file or folder does not exist.
        ValueError: if an image's own label map is not to be found, or a label map has no image of its name.
    """
    path = Path(images)
    if path.is_file():
        if masks is None:
            return [_case_of(path)]
        return [replace(case, image=path.resolve()) for case in collect_masks(masks, split)]
    if masks is None:
        cases = collect_masks(path, split)
        if lacking := next((case for case in cases if case.image is None), None):
            raise ValueError(
                f"no label map of {path}'s {lacking.id!r} is known: give a data set of images and label maps, or the "
                "folder of label maps with --masks"
            )
        return cases
    by_name = _images(path, split)
    cases = collect_masks(masks, split)
    if unlike := next((case for case in cases if case.id not in by_name), None):
        raise ValueError(
            f"{path} holds no image named {unlike.id!r} for the mask {unlike.label}: add it, or the mask goes"
        )
    return [replace(case, image=by_name[case.id]) for case in cases]


def _images(path: Path, split: str) -> dict[str, Path]:
    """Images by the name of their case: of a data set's split, or those that lie in a folder."""
    if not path.is_dir():
        raise FileNotFoundError(f"no image file, data set or folder of images at {path}")
    if not (path / "dataset.json").is_file() and (found := list_images(path)):
        return {name: file.resolve() for name, file in found.items()}
    return {case.id: case.image for case in read_dataset(path).splits.get(split, []) if case.image is not None}


def _case_of(image: Path) -> Case:
    """The case of the data set that an image file lies in."""
    for root in list(image.resolve().parents)[:2]:
        for cases in _splits(root):
            for case in cases:
                if case.image == image.resolve() and case.label is not None:
                    return case
    raise ValueError(f"no label map of {image} is known, as no data set around it names it: give one with --masks")


def _splits(root: Path) -> Sequence[list[Case]]:
    try:
        dataset: SegmentationDataset = read_dataset(root, check_files=False)
    except (ValueError, OSError):
        return []
    return list(dataset.splits.values())
