"""The classes of a label map: their ids, their order, and which class encloses which."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor

__all__ = ["ClassVocabulary"]

BACKGROUND = "background"
_LARGEST_ID = 2**24 - 1  # the largest whole number that float32, in which readers may give label maps, holds exactly


class ClassVocabulary:
    """Named classes of a label map, and the class each one lies in.

    A class has an *index*: 0 for the background, then 1..C in the order of ``classes``. A class may hold several label
    ids (left and right kidney); its first id stands for it wherever one has to be written.

    Args:
        classes: class name to its label id or ids, each at least 1. The mapping's order is the order of the classes.
        parents: class name to the name of the class that encloses it. A class without an entry lies in the background.

    Raises:
        ValueError: where an id is 0, negative, above 2^24 - 1 or listed twice, a name is empty or ``background``, a
            parent or child is no class, or the parents form a cycle.
    """

    def __init__(self, classes: Mapping[str, int | Sequence[int]], parents: Mapping[str, str] | None = None) -> None:
        self.classes: dict[str, tuple[int, ...]] = {str(name): _as_ids(name, ids) for name, ids in classes.items()}
        if not self.classes:
            raise ValueError("classes is empty: name at least one class.")
        if BACKGROUND in self.classes or "" in self.classes:
            raise ValueError(
                f"'{BACKGROUND}' is label id 0 and is never listed among the classes, nor is an empty name."
            )
        owners: dict[int, str] = {}
        for name, ids in self.classes.items():
            for label_id in ids:
                if label_id in owners:
                    raise ValueError(f"label id {label_id} is listed twice: for '{owners[label_id]}' and for '{name}'.")
                owners[label_id] = name
        if max(owners) > _LARGEST_ID:
            raise ValueError(
                f"label id {max(owners)} is above {_LARGEST_ID}, which no table of ids is made for: number the classes "
                "from 1, as the prepare command does."
            )
        self.parents = dict(parents or {})
        self._check_parents()

        names = self.names
        self._parent_index = [0] + [1 + names.index(self.parents[n]) if n in self.parents else 0 for n in names]
        # The entry after the largest id stays -1, and index -1 is that entry: both ends mean "no class has this id".
        self._index_of_id = torch.full((max(owners) + 2,), -1, dtype=torch.long)
        self._index_of_id[0] = 0
        for label_id, name in owners.items():
            self._index_of_id[label_id] = 1 + names.index(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The class names in channel order."""
        return tuple(self.classes)

    @property
    def first_ids(self) -> torch.Tensor:
        """The label id that stands for each class index, (C + 1,), beginning with 0 for the background."""
        return torch.tensor([0, *(ids[0] for ids in self.classes.values())])

    def kept(self, names: Sequence[str]) -> torch.Tensor:
        """Flags of the classes named.

        Args:
            names: class names.

        Returns:
            A bool tensor (C,).

        Raises:
            ValueError: where a name is no class.
        """
        if isinstance(names, str):
            raise ValueError(f"expected a sequence of class names, got the single string '{names}'.")
        self._check_names(names, "class")
        return torch.tensor([name in names for name in self.names])

    def destinations(self, kept: torch.Tensor) -> torch.Tensor:
        """The class index where the pixels of each class go when only some classes are kept.

        A kept class stays; a removed one goes to the nearest class around it that is kept, in the end the background.

        Args:
            kept: bool (C,).

        Returns:
            An int64 tensor (C + 1,) on the CPU, indexed by class index.
        """
        stays = [True, *kept.tolist()]
        destinations = []
        for index in range(len(stays)):
            target = index
            while not stays[target]:
                target = self._parent_index[target]
            destinations.append(target)
        return torch.tensor(destinations)

    def indices(self, label_map: torch.Tensor, source: str = "") -> torch.Tensor:
        """The class index of every pixel.

        Args:
            label_map: label ids of any shape. Floating point is accepted where the values are whole numbers, as image
                readers often return label maps so.
            source: the file, for messages.

        Returns:
            An int64 tensor of the same shape, values 0..C.

        Raises:
            ValueError: where a value is not finite, not a whole number, or the id of no class; the message names the
                file and the values.
        """
        where = f" in {source}" if source else ""
        wide = label_map.double() if label_map.is_floating_point() else label_map.long()
        if label_map.is_floating_point():
            if not bool(torch.isfinite(wide).all()):
                raise ValueError(f"NaN or infinite values{where}: a label map holds whole numbers; write it again.")
            fractional = wide != wide.round()
            if bool(fractional.any()):
                raise ValueError(
                    f"label values{where} are not whole numbers ({_some(wide[fractional])}): is this an image, or a "
                    "label map that was resampled with interpolation? Resample label maps with mode='nearest'."
                )
        table = self._index_of_id.to(label_map.device)
        index = table[wide.clamp(-1, len(table) - 1).long()]
        unknown = index < 0
        if bool(unknown.any()):
            known = ", ".join(f"{name}={_some(torch.tensor(ids))}" for name, ids in self.classes.items())
            raise ValueError(
                f"unknown label ids {_some(wide[unknown])}{where}: the classes are background=0, {known}. "
                "Add the ids to the classes, or map them to known ids first."
            )
        return index

    def _check_names(self, names: Sequence[str], role: str) -> None:
        unknown = [str(name) for name in names if name not in self.classes]
        if unknown:
            raise ValueError(f"unknown {role} {', '.join(unknown)}: the classes are {', '.join(self.names)}.")

    def _check_parents(self) -> None:
        self._check_names(list(self.parents), "child in parents")
        self._check_names(list(self.parents.values()), "parent")
        for name in self.parents:
            path = [name]
            while path[-1] in self.parents:
                path.append(self.parents[path[-1]])
                if path[-1] in path[:-1]:
                    raise ValueError(f"parents form a cycle: {' -> '.join(path)}.")


def _as_ids(name: Any, ids: int | Sequence[int]) -> tuple[int, ...]:
    values = tuple(ids) if isinstance(ids, Sequence) and not isinstance(ids, str) else (ids,)
    try:
        whole = tuple(operator.index(value) for value in values)
    except TypeError as error:
        raise ValueError(f"the label ids of class '{name}' must be whole numbers, got {ids!r}.") from error
    if not whole or min(whole) < 1:
        raise ValueError(f"class '{name}' needs label ids of at least 1, got {ids!r}: 0 is the background.")
    return whole


def _some(values: torch.Tensor, limit: int = 10) -> str:
    """The first few distinct values as text."""
    distinct = torch.unique(values).tolist()
    texts = [str(int(value)) if float(value).is_integer() else f"{value:g}" for value in distinct[:limit]]
    return ", ".join(texts) + (", ..." if len(distinct) > limit else "")


def source_of(label_map: Any) -> str:
    """The file that a MetaTensor was read from, or an empty text."""
    return str(label_map.meta.get("filename_or_obj", "")) if isinstance(label_map, MetaTensor) else ""


def check_channel_first(label_map: torch.Tensor, source: str) -> None:
    """Raise unless the label map has one channel in front and at least one spatial dimension."""
    if label_map.ndim < 2 or label_map.shape[0] != 1:
        raise ValueError(
            f"expected a label map of shape (1, *spatial), got {tuple(label_map.shape)}"
            f"{f' in {source}' if source else ''}: use EnsureChannelFirst, and one channel of label ids rather than "
            "one channel a class."
        )
