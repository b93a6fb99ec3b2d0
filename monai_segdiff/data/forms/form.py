"""What a form of data is: how it is recognised, and what is read of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from monai_segdiff.data.cases import SegmentationDataset
from monai_segdiff.data.description.dataset_json import DESCRIPTION, load_description

__all__ = ["Choices", "Form", "Look", "matching"]


@dataclass(frozen=True)
class Choices:
    """What decides where a folder alone does not.

    Args:
        classes: class name to label id or ids, in place of what the folder says.
        image: names of the image, or of its channels in their order, as patterns (`t1*`); of files or, where images
            lie in one folder, of that.
        label: name of the label map, or of the folder of label maps, as a pattern.
        fold: which fold of a list with folds is held out for validation; 0 by default.
        segments: class name to the names of the segments, or of the files of one structure each, that it consists of.
        precedence: classes in their order; where segments overlap, the first is kept.
        drop_others: whether segments of no class are left out rather than an error.
        progress: whether to show a progress bar.
    """

    classes: Mapping[str, int | Sequence[int]] | None = None
    image: Sequence[str] = ()
    label: str | None = None
    fold: int | None = None
    segments: Mapping[str, str | Sequence[str]] | None = None
    precedence: Sequence[str] = ()
    drop_others: bool = False
    progress: bool = False

    @property
    def parts(self) -> dict[str, list[str]] | None:
        """The segments of each class as lists; None where none are named."""
        named = {name: [own] if isinstance(own, str) else list(own) for name, own in (self.segments or {}).items()}
        return named or None


class Look:
    """A folder that is looked at, each thing in it once.

    Args:
        root: the folder.
        file: the list of cases in it, where that was named rather than the folder.
    """

    def __init__(self, root: Path, file: Path | None = None) -> None:
        self.root = root
        self.file = file

    @cached_property
    def folders(self) -> dict[str, Path]:
        """Its sub-folders by name, sorted; hidden ones are none."""
        return {path.name: path for path in sub_folders(self.root)}

    @cached_property
    def description(self) -> Any:
        """What its `dataset.json` holds; None where there is none.

        Raises:
            ValueError: if it is damaged, or no file.
        """
        if not os.path.lexists(self.root / DESCRIPTION):
            return None
        if not (self.root / DESCRIPTION).is_file():
            raise ValueError(f"{self.root / DESCRIPTION} is no file, or a link to one that is not there: restore it")
        return load_description(self.root)

    def says(self, *keys: str) -> bool:
        """Whether its `dataset.json` has one of some entries; not where it is damaged."""
        try:
            return isinstance(self.description, dict) and any(self.description.get(key) is not None for key in keys)
        except (ValueError, OSError):
            return False

    @property
    def says_that_patients_are_unknown(self) -> bool:
        """Whether its `dataset.json` says that the patients that it names are nothing but names of files."""
        return self.file is None and self.says("patients_known") and self.description["patients_known"] is False


@dataclass(frozen=True)
class Form:
    """A form of data.

    Args:
        name: what it is called, as in "nnU-Net v2 raw folder".
        holds: whether a folder has it, sound or not; opens no image.
        read: what it says of itself and of the files of its cases; opens no image.
        takes: names of the `Choices` that have an effect on it, beside the classes.
    """

    name: str
    holds: Callable[[Look, Choices], bool]
    read: Callable[[Look, Choices], SegmentationDataset]
    takes: frozenset[str] = frozenset()


def sub_folders(root: Path) -> list[Path]:
    """Folders in a folder, sorted, without hidden ones and what macOS leaves; none if there is no such folder."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if not path.name.startswith((".", "__MACOSX")) and path.is_dir())


def matching(pattern: str, names: Sequence[str]) -> list[str]:
    """Those of some names that a pattern fits, in upper or lower case.

    Args:
        pattern: a name, with `*` and `?` for any signs.
        names: the names.
    """
    return [name for name in names if fnmatchcase(name.casefold(), pattern.casefold())]
