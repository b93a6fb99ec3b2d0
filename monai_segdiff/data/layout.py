"""Data sets on disk: `dataset.json` of the Decathlon or of nnU-Net, or plain `images*`/`labels*` folders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from monai_segdiff.data.case_files import (
    case_name,
    default_patient,
    file_extension,
    list_images,
    one_channel_each,
    unread,
)
from monai_segdiff.data.cases import Case, SegmentationDataset
from monai_segdiff.data.channels import check_channel_files
from monai_segdiff.data.description.classes import check_classes
from monai_segdiff.data.description.dataset_json import DESCRIPTION, SPLITS, read_description, write_dataset
from monai_segdiff.data.patients import guess_patients

__all__ = [
    "Case",
    "NoDatasetError",
    "SPLITS",
    "SegmentationDataset",
    "case_folders",
    "case_name",
    "default_patient",
    "file_extension",
    "is_dataset",
    "list_images",
    "read_dataset",
    "read_labeled",
    "unread_files",
    "write_dataset",
]

_SUFFIXES = {"": "training", "Tr": "training", "Val": "validation", "Ts": "test"}


class NoDatasetError(FileNotFoundError):
    """A folder has neither a `dataset.json` nor folders of images and label maps."""


def read_dataset(
    path: str | Path, classes: Mapping[str, int | Sequence[int]] | None = None, *, check_files: bool = True
) -> SegmentationDataset:
    """Read a data set's description; opens no image.

    Args:
        path: folder with `dataset.json` (entries `{"image", "label", "patient"}`, and `findings`, a list of names, and
            `region`, a path, where they are known; or bare image paths under `test`), or with `images`/`labels`,
            `imagesTr`/`labelsTr`, `imagesVal`/`labelsVal`, `imagesTs`/`labelsTs`; or with both, where `dataset.json`
            lists no cases. Image files may end in a channel (`_0000`), one a case, as nnU-Net has them.
        classes: class name to label id or ids, where the folder does not say or another naming is wanted.
        check_files: whether every file must exist and every image have its label map.

    Raises:
        FileNotFoundError: if the folder or a file is missing, or the folder has no data set's layout
            (`NoDatasetError`).
        ValueError: if `dataset.json` cannot be understood, the data set is empty, or files of one name or several
            channels of a case are in a folder.
    """
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"data set folder {root} does not exist")
    described, guess = (root / DESCRIPTION).is_file(), True
    if not described and os.path.lexists(root / DESCRIPTION):
        raise ValueError(f"{root / DESCRIPTION} is no file, or a link to one that is not there: restore it")
    if described:
        description = read_description(root, classes)
        dataset, guess = description.dataset, description.patients_known
        if not description.lists_cases:
            dataset.splits = _read_folders(root, described, description.channel_endings)
    else:
        splits = _read_folders(root, described)
        dataset = SegmentationDataset(root, root.name, {} if classes is None else check_classes(classes), splits)
    if not any(dataset.splits.values()):
        also = "".join(f" ({text})" for text in unread_files(dataset)[:1])
        raise ValueError(
            f"data set {root} is empty: put cases into its images*/labels* folders or into dataset.json{also}"
        )
    if guess:
        _guess_patients(dataset)
    if check_files:
        _check_files(dataset, root / DESCRIPTION if described else root)
    return dataset


def read_labeled(
    path: str | Path, classes: Mapping[str, int | Sequence[int]] | None = None
) -> tuple[SegmentationDataset, list[str]]:
    """Read the cases of a data set that have a label map, whatever its splits; opens no image.

    Args:
        path: as for `read_dataset`.
        classes: as for `read_dataset`.

    Returns:
        The data set, with these cases as its training split and no other, and what is left out, in words.

    Raises:
        FileNotFoundError: as for `read_dataset`.
        ValueError: as for `read_dataset`, and if there are no label maps, or one has no image.
    """
    dataset = read_dataset(path, classes)
    every = [case for members in dataset.splits.values() for case in members]
    labeled = [case for case in every if case.label is not None]
    if alone := next((case for case in labeled if case.image is None), None):
        raise ValueError(f"{alone.label} has no image; add it, or leave the case out")
    if not labeled:
        raise ValueError(f"{path} holds no label maps; add them, or say which folder holds them (--labels)")
    left_out = unread_files(dataset)
    if without := [case for case in every if case.label is None]:
        left_out.append(f"{len(without)} cases have no label map and are left out, such as {without[0].image}")
    return replace(dataset, splits={"training": labeled}), left_out


def is_dataset(path: str | os.PathLike[str]) -> bool:
    """Whether a folder has a data set's layout, sound or not."""
    return (Path(path) / DESCRIPTION).is_file() or bool(case_folders(path))


def case_folders(path: str | os.PathLike[str]) -> list[Path]:
    """The folders of images and label maps (`imagesTr`, `labelsTr`, ...) that there are in a data set's."""
    folders = [Path(path) / f"{kind}{suffix}" for suffix in _SUFFIXES for kind in ("images", "labels")]
    return [folder for folder in folders if folder.is_dir()]


def unread_files(dataset: SegmentationDataset) -> list[str]:
    """Say what lies in the folders of images and label maps that a data set has, and is not read."""
    return [text for folder in case_folders(dataset.root) if (text := unread(folder))]


def _read_folders(root: Path, described: bool, channel_endings: bool = False) -> dict[str, list[Case]]:
    if not case_folders(root):
        lists = f"a {DESCRIPTION} that lists cases" if described else DESCRIPTION
        error = FileNotFoundError if described else NoDatasetError
        raise error(
            f"{root} holds no data set: it has neither {lists} nor folders named images*/labels* (images and labels, "
            "imagesTr and labelsTr, ...); check the path, or say which folders hold images and label maps (prepare "
            "IMAGES OUTPUT --labels LABELS)"
        )
    splits: dict[str, list[Case]] = {}
    for suffix, split in _SUFFIXES.items():
        by_label = list_images(root / f"labels{suffix}")
        by_image = one_channel_each(list_images(root / f"images{suffix}"), by_label.keys(), channel_endings)
        for name in sorted(by_image.keys() | by_label.keys()):
            case = Case(name, by_image.get(name), by_label.get(name), default_patient(name), patient_known=False)
            splits.setdefault(split, []).append(case)
    return splits


def _guess_patients(dataset: SegmentationDataset) -> None:
    sizes = {split: len(cases) for split, cases in dataset.splits.items()}
    cases = iter(guess_patients([case for members in dataset.splits.values() for case in members]))
    dataset.splits = {split: [next(cases) for _ in range(size)] for split, size in sizes.items()}


def _check_files(dataset: SegmentationDataset, where: Path) -> None:
    for split, cases in dataset.splits.items():
        wanted = [key for key in ("image", "label") if any(getattr(case, key) for case in cases)]
        for case in cases:
            check_channel_files(case, dataset.channels)
            for key in (*wanted, "region"):
                file = getattr(case, key)
                if file is None and split != "test" and key != "region":
                    raise FileNotFoundError(
                        f"case {case.id!r} in split {split!r} of {where} has no {key}: add the missing {key} "
                        "file, or remove the case (check-data lists every such case)"
                    )
                if file is not None and not file.is_file():
                    raise FileNotFoundError(
                        f"{key} file {file} of case {case.id!r} is missing: restore it, or remove the case from "
                        f"{where} (check-data lists every such file)"
                    )
