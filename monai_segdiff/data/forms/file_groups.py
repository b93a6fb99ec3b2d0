"""Which files of one folder belong together: an image, or its channels, and its label map, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monai_segdiff.data.case_files import case_name
from monai_segdiff.data.forms.form import Choices, matching
from monai_segdiff.data.forms.words import IMAGE_WORDS, SEQUENCES, tokens, without

__all__ = ["Group", "grouped", "is_label_name"]

_LABEL_STARTS = ("seg", "mask", "label", "annot")
_LABEL_WORDS = ("gt", "groundtruth")
_Key = tuple[str, ...]


@dataclass
class Group:
    """Files of one case.

    Args:
        key: what their names share, beside the words that say what they are.
        images: by the name of their channel, which is empty where the name has none.
        label: the label map.
    """

    key: _Key
    images: dict[str, Path] = field(default_factory=dict)
    label: Path | None = None


def is_label_name(name: str) -> bool:
    """Whether a part of a name says that it is a label map: `label`, `mask`, `seg...`, `gt`.

    Args:
        name: of a file, without its extension.
    """
    return any(part.startswith(_LABEL_STARTS) or part in _LABEL_WORDS for part in tokens(name))


def grouped(folder: Path, files: Sequence[Path], choices: Choices) -> tuple[list[Group], list[Path]]:
    """Sort the image files of a folder into cases.

    Args:
        folder: the folder, whose name files may begin with.
        files: image files in it.
        choices: names of the image, or of its channels, and of the label map, where they are told.

    Returns:
        The cases, and the files that belong to none.

    Raises:
        ValueError: if several files may be the image, or the label map, and the choices do not say which; names them.
    """
    start = tokens(folder.name)
    own = {file: _rest(file, start) for file in files}
    labels = [file for file in files if _is_label(file, start, choices)]
    images = [file for file in files if file not in labels and _is_image(file, start, choices)]
    if choices.image:
        images = [file for pattern in choices.image for file in images if _fits(pattern, file, start)]
    groups: dict[_Key, Group] = {}
    keys = {file: tuple(part for part in own[file] if not is_label_name(part)) for file in labels}
    for file in images:
        key, channel = _image_key(own[file], set(keys.values()))
        if choices.image:  # those that are named belong together
            key, channel = (), channel or (case_name(file) if len(choices.image) > 1 else "")
        group = groups.setdefault(key, Group(key))
        if group.images.get(channel, file) != file:
            raise _several(folder, "the image", [group.images[channel], file], "--image-name")
        group.images[channel] = file
    for group in groups.values():
        if "" in group.images and len(group.images) > 1:
            raise _several(folder, "the image", list(group.images.values()), "--image-name")
    _give_labels(folder, groups, keys)
    used = {file for group in groups.values() for file in (*group.images.values(), group.label)}
    labeled = [group for group in groups.values() if group.label is not None]
    kept = labeled or list(groups.values())
    left_out = [file for group in groups.values() if group not in kept for file in group.images.values()]
    return kept, sorted([*left_out, *(file for file in files if file not in used)])


def _give_labels(folder: Path, groups: dict[_Key, Group], keys: dict[Path, _Key]) -> None:
    """Put each label map to the image of its key; the only one of a folder to the only image."""
    left = []
    for file, key in keys.items():
        if not groups or not any(group.images for group in groups.values()):
            groups.setdefault(key or tokens(case_name(file)), Group(key)).label = file
        elif key in groups and groups[key].label is None:
            groups[key].label = file
        else:
            left.append(file)
    if not left:
        return
    if len(keys) == len(left) == 1:
        if len(groups) == 1:
            next(iter(groups.values())).label = left[0]
            return
        images = [file for group in groups.values() for file in group.images.values()]
        raise _several(folder, f"the image of {left[0].name}", images, "--image-name")
    if sum(bool(group.images) for group in groups.values()) > 1:  # those of others, which have no image
        for file in left:
            groups.setdefault(tokens(case_name(file)), Group(keys[file])).label = file
        return
    raise _several(folder, "the label map", list(keys), "--label-name")


def _rest(file: Path, start: _Key) -> _Key:
    """Parts of a file's name, without those of its folder's at the beginning."""
    parts = tokens(case_name(file))
    return parts[len(start) :] if parts[: len(start)] == start else parts


def _image_key(parts: _Key, labels: set[_Key]) -> tuple[_Key, str]:
    """What an image's name shares with its label map's, and the name of its channel."""
    numbered = without(parts, IMAGE_WORDS)
    if numbered and len(numbered[-1]) == 4 and numbered[-1].isdigit() and numbered[:-1] in labels:
        return numbered[:-1], numbered[-1]
    channel = "_".join(part for part in numbered if part in SEQUENCES)
    return without(numbered, SEQUENCES), channel


def _is_label(file: Path, start: _Key, choices: Choices) -> bool:
    if choices.label is None:
        return is_label_name("_".join(_rest(file, start)))
    return _fits(choices.label, file, start)


def _is_image(file: Path, start: _Key, choices: Choices) -> bool:
    if choices.image:
        return any(_fits(pattern, file, start) for pattern in choices.image)
    return choices.label is None or not is_label_name("_".join(_rest(file, start)))


def _fits(pattern: str, file: Path, start: _Key) -> bool:
    return bool(matching(pattern, [file.name, case_name(file), "_".join(_rest(file, start))]))


def _several(folder: Path, what: str, files: Sequence[Path], option: str) -> ValueError:
    shown = ", ".join(repr(file.name) for file in files)
    more = f"; several channels are named in their order ({option} NAME NAME)" if option == "--image-name" else ""
    return ValueError(
        f"{folder} has several files that may be {what} ({shown}), and which is meant is unknown: name it ({option} "
        f"'{case_name(files[0])}', * stands for any signs{more}), or move the others away"
    )
