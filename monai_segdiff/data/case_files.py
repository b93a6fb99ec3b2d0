"""Image files in folders: what their names say, which of them belong together, and what is no image."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from monai_segdiff.data.load import READABLE

__all__ = [
    "case_name",
    "channels_of_cases",
    "default_patient",
    "file_extension",
    "image_files",
    "list_images",
    "unread",
    "with_channels",
]

_SLICE = re.compile(r"[_-](?:slice|sl|z)[_-]?\d+$", re.IGNORECASE)
_CHANNEL = re.compile(r"(.+)_(\d{4})")
_SHOWN = 5


def file_extension(path: str | Path) -> str:
    """Extension in lower case, .nii.gz in one piece."""
    name = Path(path).name.lower()
    return next((extension for extension in READABLE if name.endswith(extension)), Path(name).suffix)


def case_name(path: str | Path) -> str:
    """File name without its extension."""
    name = Path(path).name
    return name[: len(name) - len(file_extension(name))]


def default_patient(case: str) -> str:
    """Patient that a case belongs to when nothing says so: its name without a slice ending such as `_slice012`."""
    return _SLICE.sub("", case)


def image_files(folder: Path) -> list[Path]:
    """Files of a folder whose names are those of images, sorted; none if there is no such folder.

    Hidden ones are left out, and with them what macOS puts beside files that it copies (`._scan.nii.gz`).

    Raises:
        ValueError: if something is named like an image that is no file.
    """
    found = [entry for entry in _visible(folder) if _has_image_name(entry)]
    if wrong := next((entry for entry in found if entry.exists() and not entry.is_file()), None):
        what = "a folder" if wrong.is_dir() else "a pipe or a device"
        raise ValueError(f"{wrong} is {what} that is named like an image: rename it, or put the file in its place")
    return found


def unread(folder: Path) -> str:
    """Say what lies in a folder of images and is not read: files of other extensions, and sub-folders; empty if none.

    Hidden files count as none.
    """
    names = [entry.name for entry in _visible(folder) if not _has_image_name(entry)]
    if not names:
        return ""
    shown = ", ".join([*names[:_SHOWN], *(["..."] if len(names) > _SHOWN else [])])
    return f"{len(names)} files or folders in {folder} are not read: {shown}"


def list_images(folder: Path) -> dict[str, Path]:
    """Image files of a folder by case name; none if there is no such folder.

    Raises:
        ValueError: if two differ only by their extension, or by upper and lower case; names both.
    """
    found = {case_name(file): file for file in image_files(folder)}
    first: dict[str, Path] = {}
    twins = []
    for file in image_files(folder):
        other = first.setdefault(case_name(file).casefold(), file)
        if other is not file:
            twins.append(f"{other} and {file}")
    if twins:
        more = f", and {len(twins) - _SHOWN} more pairs" if len(twins) > _SHOWN else ""
        raise ValueError(
            f"{'; '.join(twins[:_SHOWN])}{more} have the same name, so which of them is meant is unknown: keep one, or "
            "rename the other"
        )
    return found


def channels_of_cases(
    images: Mapping[str, Path], labels: Collection[str], every: bool = False
) -> dict[str, dict[int, Path]]:
    """Images by the name of their case and the number of their channel.

    A file of nnU-Net's layout ends in its channel (`_0000`); an image without one is channel 0.

    Args:
        images: image files by their own names.
        labels: names of the label maps, which have no such ending.
        every: whether the ending is a channel even where there is no label map.
    """
    every = every or (bool(images) and all(name.endswith("_0000") for name in images))
    found: dict[str, dict[int, Path]] = {}
    for name, file in images.items():
        match = _CHANNEL.fullmatch(name)
        if match is not None and name not in labels and (every or match[1] in labels):
            found.setdefault(match[1], {})[int(match[2])] = file
        else:
            found.setdefault(name, {})[0] = file
    return {name: dict(sorted(channels.items())) for name, channels in found.items()}


def with_channels(files: Mapping[int, Path], number: int) -> tuple[Path, ...]:
    """Files of the channels of a case; empty where there is one, or one file without an ending that holds all.

    Args:
        files: by the number of their channel, at least one.
        number: how many channels there are.

    Returns:
        A file for each; where one is not there, the path at which it is missing.
    """
    known, file = next(iter(files.items()))
    stem = case_name(file).removesuffix(f"_{known:04d}")
    if number < 2 or (len(files) == 1 and stem == case_name(file)):
        return ()
    return tuple(files.get(i, file.with_name(f"{stem}_{i:04d}{file_extension(file)}")) for i in range(number))


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX")))


def _has_image_name(entry: Path) -> bool:
    return entry.name.lower().endswith(READABLE)
