"""Folders with a sub-folder for each split: `img_dir/train` and `seg_dir/all/train`, or `train/images` and `train/masks`."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

from monai_segdiff.data.case_files import unread
from monai_segdiff.data.cases import Case, SegmentationDataset
from monai_segdiff.data.description.classes import check_classes
from monai_segdiff.data.forms.folders import chosen_folder, numbered_channels, paired
from monai_segdiff.data.forms.form import Choices, Form, Look, matching, sub_folders
from monai_segdiff.data.forms.words import IMAGE_WORDS, MASK_WORDS, SPLIT_WORDS

__all__ = ["SPLIT_FOLDERS", "split_folders"]

_Pair = tuple[Path | None, Path | None]


def split_folders(root: Path) -> dict[str, list[Path]]:
    """Sub-folders that are named as splits (`train`, `val`, `test`), by the split; none where there are no such."""
    found: dict[str, list[Path]] = {}
    for folder in sub_folders(root):
        if (split := SPLIT_WORDS.get(folder.name.casefold())) is not None:
            found.setdefault(split, []).append(folder)
    return found


def _holds(look: Look, choices: Choices) -> bool:
    try:
        return bool(_pairs(look, choices))
    except ValueError:  # several candidates, which `_read` asks about
        return True


def _pairs(look: Look, choices: Choices) -> dict[str, list[_Pair]]:
    """Folders of images and of label maps, by split."""
    if outer := split_folders(look.root):
        found = {split: [_within(folder, choices) for folder in folders] for split, folders in outer.items()}
        return {split: kept for split, pairs in found.items() if (kept := [pair for pair in pairs if pair])}
    by_mask = {name: splits for name, folder in look.folders.items() if (splits := _label_folders(folder, choices))}
    if not by_mask:
        return {}
    label = _the_one(look.root, list(by_mask), choices.label, "label maps", "--label-name")
    by_image = {
        name: splits
        for name, folder in look.folders.items()
        if name not in by_mask and _begins(name, IMAGE_WORDS) and (splits := split_folders(folder))
    }
    labels, images = by_mask[label], {}
    if by_image:
        images = by_image[
            _the_one(look.root, list(by_image), next(iter(choices.image), None), "images", "--image-name")
        ]
    return {split: list(zip_longest(images.get(split, []), labels.get(split, []))) for split in {**images, **labels}}


def _begins(name: str, words: frozenset[str]) -> bool:
    return name.casefold() in words or name.casefold().partition("_")[0] in words


def _label_folders(folder: Path, choices: Choices) -> dict[str, list[Path]]:
    """Folders of label maps by split, in a folder of label maps, or in the one folder in it (`all`).

    Raises:
        ValueError: if it holds several kinds of label maps, and nothing says which is meant.
    """
    if not _begins(folder.name, MASK_WORDS):
        return {}
    if direct := split_folders(folder):
        return direct
    kinds = {kind.name: found for kind in sub_folders(folder) if (found := split_folders(kind))}
    if len(kinds) > 1 and choices.label is not None:
        kinds = {name: kinds[name] for name in matching(choices.label, list(kinds))}
    if len(kinds) > 1:
        raise ValueError(
            f"{folder} holds several kinds of label maps ({', '.join(map(repr, kinds))}), and which is meant is unknown: "
            f"name it (--label-name {next(iter(kinds))})"
        )
    return next(iter(kinds.values()), {})


def _the_one(root: Path, names: list[str], pattern: str | None, what: str, option: str) -> str:
    names = (matching(pattern, names) if pattern is not None else []) or names
    if len(names) > 1:
        raise ValueError(
            f"{root} has several folders that may hold the {what} ({', '.join(map(repr, names))}), and which is meant "
            f"is unknown: name it ({option} {names[0]}), or move the others away"
        )
    return names[0]


def _within(folder: Path, choices: Choices) -> _Pair | None:
    """The folders of images and of label maps in the folder of a split."""
    inner = sub_folders(folder)
    label = chosen_folder(inner, MASK_WORDS, choices.label, "--label-name") if inner else None
    if label is None:
        return None
    others = [other for other in inner if other != label]
    return chosen_folder(others, IMAGE_WORDS, next(iter(choices.image), None), "--image-name"), label


def _read(look: Look, choices: Choices) -> SegmentationDataset:
    classes = {} if choices.classes is None else check_classes(choices.classes)
    splits: dict[str, list[Case]] = {}
    remarks = []
    pairs = _pairs(look, choices)
    for split in ("training", "validation", "test"):
        for image, label in pairs.get(split, []):
            splits.setdefault(split, []).extend(paired(image, label))
            remarks += [text for folder in (image, label) if folder is not None and (text := unread(folder))]
    dataset = SegmentationDataset(
        look.root, look.root.name, classes, {s: cases for s, cases in splits.items() if cases}
    )
    dataset.form, dataset.remarks = "folders of images and label maps for each split", tuple(remarks)
    dataset.channels = numbered_channels(dataset.splits)
    return dataset


SPLIT_FOLDERS = Form("folders of images and label maps for each split", _holds, _read, frozenset({"image", "label"}))
