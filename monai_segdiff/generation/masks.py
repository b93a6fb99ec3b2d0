"""The label maps that images are generated for, and the real images that these are to be like."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from monai_segdiff.data import Case, SegmentationDataset, file_extension, read_dataset
from monai_segdiff.data.case_files import default_patient, image_files, list_images, unread
from monai_segdiff.data.case_names import distinct_cases
from monai_segdiff.data.layout import is_dataset
from monai_segdiff.data.load import READABLE
from monai_segdiff.data.patients import guess_patients

__all__ = ["check_split", "collect_masks", "collect_pairs"]

_LOSSY = (".jpg", ".jpeg")


def collect_masks(path: str | os.PathLike[str], split: str | None = None) -> list[Case]:
    """List the label maps of a data set's split, or those that lie in a folder.

    Args:
        path: a data set's folder, in any form whose label maps are files, or a folder that holds label maps, of any
            format that is read.
        split: split of a data set, `test` by default, or the only one of a data set that was never split; a plain
            folder has none.

    Returns:
        One case for each label map, in a fixed order, with its image where the data set has one.

    Warns:
        UserWarning: of what lies in a plain folder and is no label map.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if there is no label map, two have the same name, one is a JPEG, or a split is asked for where there
            is none.
    """
    root = Path(path)
    sorted_in = is_dataset(root)
    if not root.is_dir() and not sorted_in:
        raise FileNotFoundError(f"no folder of masks at {root}")
    if not sorted_in:
        check_split(split, root)
        cases = _plain(root)
    else:
        dataset = read_dataset(root, check_files=False)
        if split is None and dataset.split_kind is None and len(dataset.splits) == 1:
            split = next(iter(dataset.splits))  # nothing is split
        cases = [case for case in dataset.splits.get(split or "test", []) if case.label is not None]
        if not cases:
            held = ", ".join(name for name, cases in dataset.splits.items() if any(case.label for case in cases))
            raise ValueError(
                f"{root} has no label maps in split {split or 'test'!r}; choose another with --split: "
                f"{held or 'none has any'}"
            )
        for case in cases:
            if case.label is not None and not case.label.is_file():
                raise FileNotFoundError(
                    f"label file {case.label} of case {case.id!r} is missing: restore it, or remove the case"
                )
    if lossy := next((case.label for case in cases if case.label and file_extension(case.label) in _LOSSY), None):
        raise ValueError(f"{lossy} is a label map in a format that changes ids: save it anew as PNG or NIfTI (.nii.gz)")
    return distinct_cases(cases)


def check_split(split: str | None, *places: str | os.PathLike[str] | None) -> None:
    """Refuse a split that nothing has.

    Args:
        split: the one that is asked for, or None.
        places: files and folders that images and label maps are taken from.

    Raises:
        ValueError: if one is asked for, and none of the places is a data set.
    """
    given = [place for place in places if place is not None]
    if split is not None and not any(is_dataset(place) for place in given):
        listed = " and ".join(os.fspath(place) for place in given)
        raise ValueError(f"a split (--split) is one of a data set, and {listed} is none: leave it out")


def _plain(root: Path) -> list[Case]:
    left_out = unread(root)
    if not image_files(root):
        raise FileNotFoundError(
            f"{root} holds no data set and no label maps ({', '.join(READABLE)}): check the path"
            + (f"; {left_out}" if left_out else "")
        )
    if left_out:
        warnings.warn(left_out, stacklevel=3)
    cases = [
        Case(name, None, file, default_patient(name), patient_known=False) for name, file in list_images(root).items()
    ]
    return guess_patients(cases)


def collect_pairs(
    images: str | os.PathLike[str], masks: str | os.PathLike[str] | None = None, split: str | None = None
) -> list[Case]:
    """List real images with the label maps under which images like them are to be generated.

    Without masks each image is under its own, which a data set knows: the one given, or the one that the image lies in.
    With masks a single image goes with each of them, and the images of a data set or folder go with those of their
    name.

    Args:
        images: an image file, a data set's folder, or a folder of images.
        masks: a data set's folder, or a folder of label maps; not needed where the images are those of a data set.
        split: split of a data set, `test` by default.

    Returns:
        One case for each label map, with its image.

    Raises:
        FileNotFoundError: if a file or folder does not exist.
        ValueError: if an image's own label map is not to be found, or a label map has no image of its name.
    """
    path = Path(images)
    check_split(split, path, masks)
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
    cases = collect_masks(masks, split if is_dataset(masks) else None)
    if unlike := next((case for case in cases if case.id not in by_name), None):
        raise ValueError(
            f"{path} holds no image named {unlike.id!r} for the mask {unlike.label}: add it, or the mask goes"
        )
    return [replace(case, image=by_name[case.id]) for case in cases]


def _images(path: Path, split: str | None) -> dict[str, Path]:
    """Images by the name of their case: of a data set's split, or those that lie in a folder."""
    if not path.is_dir():
        raise FileNotFoundError(f"no image file, data set or folder of images at {path}")
    if not is_dataset(path) and (found := list_images(path)):
        return {name: file.resolve() for name, file in found.items()}
    return {
        case.id: case.image for case in read_dataset(path).splits.get(split or "test", []) if case.image is not None
    }


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
        if (root / "dataset.json").is_file():  # what is wrong with it is worth to be known
            raise
        return []
    return list(dataset.splits.values())
