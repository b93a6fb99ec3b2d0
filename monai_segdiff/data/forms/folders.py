"""Folders of images and of label maps that belong together by file name, one pair of them for each split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_segdiff.data.case_files import (
    channels_of_cases,
    default_patient,
    image_files,
    list_images,
    unread,
    with_channels,
)
from monai_segdiff.data.cases import Case, SegmentationDataset
from monai_segdiff.data.description.classes import check_classes
from monai_segdiff.data.forms.form import Choices, Form, Look, matching
from monai_segdiff.data.forms.words import IMAGE_WORDS, MASK_WORDS
from monai_segdiff.data.load import is_raster

__all__ = [
    "FOLDERS",
    "case_folders",
    "channel_numbers",
    "chosen_folder",
    "numbered_channels",
    "paired",
    "read_folders",
    "unread_in",
]

_SUFFIXES = {"": "training", "Tr": "training", "Val": "validation", "Ts": "test"}


def case_folders(root: Path) -> list[Path]:
    """The folders of images and label maps (`imagesTr`, `labelsTr`, ...) that there are in a data set's."""
    folders = [root / f"{kind}{suffix}" for suffix in _SUFFIXES for kind in ("images", "labels")]
    return [folder for folder in folders if folder.is_dir()]


def unread_in(root: Path) -> tuple[str, ...]:
    """What lies in these folders and is not read, in words."""
    return tuple(text for folder in case_folders(root) if (text := unread(folder)))


def read_folders(
    root: Path, channels: Sequence[str], *, described: bool = False, channel_endings: bool = False
) -> dict[str, list[Case]]:
    """Cases of `images` and `labels`, or of these with `Tr`, `Val` and `Ts` behind.

    Args:
        root: folder that holds them.
        channels: names of the channels that every image must have; empty where nothing says so.
        described: whether there is a `dataset.json`, which lists no cases.
        channel_endings: whether images end in their channel (`_0000`) even where no label map says so.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if two files have one name.
    """
    if described and not case_folders(root):
        raise FileNotFoundError(
            f"{root} holds no data set: it has neither a dataset.json that lists cases nor folders named "
            "images*/labels* (images and labels, imagesTr and labelsTr, ...); check the path, or say which folders "
            "hold images and label maps (prepare IMAGES OUTPUT --labels LABELS)"
        )
    splits: dict[str, list[Case]] = {}
    for suffix, split in _SUFFIXES.items():
        cases = paired(root / f"images{suffix}", root / f"labels{suffix}", len(channels), channel_endings)
        if cases:
            splits.setdefault(split, []).extend(cases)
    return splits


def paired(images: Path | None, labels: Path | None, channels: int = 0, channel_endings: bool = False) -> list[Case]:
    """Cases of a folder of images and one of label maps, by file name; either may be missing.

    Args:
        images: folder of images, which may end in a channel (`_0000`) that the label maps' names lack; None where there
            is none.
        labels: folder of label maps, or None.
        channels: how many channels every image must have, in files of their own or in one without such an ending; 0
            for as many as any of them has.
        channel_endings: whether endings are channels even where there is no label map.

    Raises:
        ValueError: if two files have one name, or a case has more channels than there are.
    """
    by_label = {} if labels is None else list_images(labels)
    by_image = channels_of_cases({} if images is None else list_images(images), by_label.keys(), channel_endings)
    most = max((max(files) + 1 for files in by_image.values()), default=0)
    if channels and most > channels:
        name, files = next((name, files) for name, files in by_image.items() if max(files) >= channels)
        raise ValueError(
            f"{files[max(files)]} is channel {max(files)} of {name!r}, and dataset.json names {channels}, from 0 to "
            f"{channels - 1}: add its name to channel_names, or move the file away"
        )
    if most == 1 and all(is_raster(file) for files in by_image.values() for file in files.values()):
        channels = 1  # a picture holds its colors in one file
    cases = []
    for name in sorted(by_image.keys() | by_label.keys()):
        files = by_image.get(name, {})
        several = with_channels(files, channels or most) if files else ()
        image = several[0] if several else next(iter(files.values()), None)
        owner = default_patient(name)
        cases.append(Case(name, image, by_label.get(name), owner, patient_known=False, channel_files=several))
    return cases


def chosen_folder(folders: Sequence[Path], words: frozenset[str], pattern: str | None, option: str) -> Path | None:
    """The one of some folders that holds the images, or the label maps; None if there is none.

    A folder counts whose name is one of the words (`masks`), or else begins with one (`masks_lung`), and that holds
    files that can be read, itself or in folders of its own.

    Args:
        folders: the folders.
        words: what such folders are called.
        pattern: name of the one that is meant, where that is said.
        option: what says so, for messages.

    Raises:
        ValueError: if several come into question; names them.
    """
    by_name = {folder.name: folder for folder in folders}
    if pattern is not None:
        found = matching(pattern, list(by_name))
    else:
        whole = [name for name in by_name if name.casefold() in words]
        begun = [name for name in by_name if name.casefold().partition("_")[0].partition("-")[0] in words]
        found = [name for name in whole if _holds_files(by_name[name])] or [
            name for name in begun if _holds_files(by_name[name])
        ]
    if len(found) > 1:
        shown = ", ".join(map(repr, found))
        raise ValueError(
            f"{folders[0].parent} has several folders that may hold the {_what(words)} ({shown}), and which is meant "
            "is "
            f"unknown: name it ({option} {found[0]}), or move the others away"
        )
    return by_name[found[0]] if found else None


def _what(words: frozenset[str]) -> str:
    return "images" if words is IMAGE_WORDS else "label maps"


def _holds_files(folder: Path) -> bool:
    """Whether there are images in a folder, or in the folders in it."""
    try:
        return bool(image_files(folder))
    except ValueError:  # a folder named like an image, which whoever reads it refuses
        return True


def _holds(look: Look, choices: Choices) -> bool:
    if case_folders(look.root):
        return True
    try:
        return _named(look, choices) is not None
    except ValueError:  # several, which `_read` asks about
        return True


def _named(look: Look, choices: Choices) -> tuple[Path | None, Path] | None:
    """The folders of images and of label maps under other names; or of label maps alone."""
    folders = list(look.folders.values())
    label = chosen_folder(folders, MASK_WORDS, choices.label, "--label-name")
    if label is None:
        return None
    others = [folder for folder in folders if folder != label]
    image = chosen_folder(others, IMAGE_WORDS, choices.image[0] if choices.image else None, "--image-name")
    alone = label.name.casefold() in MASK_WORDS and len(folders) == 1
    return None if image is None and not alone else (image, label)


def _read(look: Look, choices: Choices) -> SegmentationDataset:
    root, classes = look.root, {} if choices.classes is None else check_classes(choices.classes)
    dataset = SegmentationDataset(root, root.name, classes, {}, form="folders of images and label maps")
    by_split = any(folder.name not in ("images", "labels") for folder in case_folders(root))
    pair = None if by_split and not (choices.image or choices.label) else _named(look, choices)
    if pair is None and (choices.image or choices.label):
        options = "--image-name" if not choices.label else "--label-name"
        named = choices.label or choices.image[0]
        raise ValueError(f"no folder is named {named!r} ({options}); there are {', '.join(look.folders)}")
    if pair is None:
        dataset.splits, dataset.remarks = read_folders(root, ()), unread_in(root)
    else:
        dataset.splits = {"training": cases} if (cases := paired(*pair)) else {}
        dataset.form = f"folders {' and '.join(folder.name for folder in pair if folder)}"
        dataset.remarks = tuple(text for folder in pair if folder and (text := unread(folder)))
    dataset.channels = numbered_channels(dataset.splits)
    return dataset


def numbered_channels(splits: dict[str, list[Case]]) -> tuple[str, ...]:
    """Names of channels that nothing but their number tells."""
    most = max((len(case.channel_files) for cases in splits.values() for case in cases), default=0)
    return channel_numbers(most) if most > 1 else ()


def channel_numbers(number: int) -> tuple[str, ...]:
    """What channels are called that have no names.

    Args:
        number: how many there are.
    """
    return tuple(f"channel {i}" for i in range(number))


FOLDERS = Form("folders of images and label maps", _holds, _read, frozenset({"image", "label"}))
