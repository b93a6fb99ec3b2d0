"""Segments of DICOM objects merged to one label map: which class each is, and what happens where they overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

__all__ = ["LabelMapBuilder", "label_tensor", "segment_names", "vocabulary"]


def segment_names(segments: Mapping[str, Sequence[str]] | None, found: Iterable[str]) -> dict[str, str]:
    """Say which class each segment is, from the segments of each class.

    Args:
        segments: class name to the names of the segments that it consists of.
        found: names of all segments that there are.

    Returns:
        Segment name to class name.

    Raises:
        ValueError: if a segment is named in two classes, or one that is named does not exist.
    """
    names = {label: name for name, labels in (segments or {}).items() for label in labels}
    if segments is not None and sum(len(labels) for labels in segments.values()) > len(names):
        raise ValueError(f"a segment can belong to one class only, got {dict(segments)}")
    every = sorted(set(found))
    if absent := [label for label in names if label not in every]:
        raise ValueError(
            f"no segment is named {', '.join(map(repr, absent))}, as the classes' segments (segments, --segments) say; "
            f"the names found are {', '.join(map(repr, every))}"
        )
    return names


def vocabulary(
    labels: Iterable[str],
    classes: Mapping[str, int] | None,
    names: Mapping[str, str] | None,
    drop_others: bool,
    what: Any,
) -> tuple[dict[str, str], dict[str, int]]:
    """Say which class each segment is.

    Args:
        labels: what the segments are called.
        classes: class name to label id; by default the classes that occur, numbered from 1 in their order.
        names: what a segment is called to its class. A class that is given here consists of these segments and no
            others; segments of the others are called as their class, in upper or lower case.
        drop_others: whether segments of other classes are left out rather than an error.
        what: the file, for messages.

    Returns:
        Segment label to class name, without those that are left out, and class name to label id.

    Raises:
        ValueError: if a segment has no name, is of no class, or ids are not distinct positive numbers.
    """
    found = list(dict.fromkeys(labels))
    if "" in found:
        raise ValueError(f"{what} has a segment without a name; name it in the software that drew it")
    given = dict(names or {})
    replaced = {name.casefold() for name in given.values()}
    of = {label: given.get(label, label) for label in found}
    unknown = [label for label in found if label not in given and label.casefold() in replaced]
    if classes is None:
        ids = {name: i for i, name in enumerate(dict.fromkeys(of[lb] for lb in found if lb not in unknown), start=1)}
    else:
        ids = dict(classes)
        if any(not isinstance(i, int) or i < 1 for i in ids.values()) or len(set(ids.values())) < len(ids):
            raise ValueError(f"classes need distinct ids of at least 1, got {ids}")
        folded = {name.casefold(): name for name in ids}
        of = {label: name if name in ids else folded.get(name.casefold(), name) for label, name in of.items()}
        unknown = [label for label in found if label in unknown or of[label] not in ids]
    if unknown and not drop_others:
        raise ValueError(
            f"{what} has unknown segments {', '.join(map(repr, unknown))}; the classes are {', '.join(ids)}: add "
            "them, say which class they are (names, --segments), or leave them out (drop_others, --drop-other-labels)"
        )
    return {label: of[label] for label in found if label not in unknown}, ids


class LabelMapBuilder:
    """A label map that takes one segment after the other.

    Args:
        shape: (X, Y, Z).
        classes: class name to label id.
        precedence: classes in their order; where two overlap, the one named first is kept, and a class that is named
            before one that is not.
        what: the file, for messages.

    Raises:
        ValueError: if the precedence names something that is no class.
    """

    def __init__(self, shape: Sequence[int], classes: Mapping[str, int], precedence: Sequence[str], what: Any) -> None:
        if unknown := [name for name in precedence if name not in classes]:
            raise ValueError(f"the order of precedence names {', '.join(unknown)}, but the classes are {list(classes)}")
        self.labels = np.zeros(shape, dtype=np.uint8 if max(classes.values(), default=0) < 256 else np.int32)
        self.classes = dict(classes)
        self.what = what
        self._rank = {classes[name]: rank for rank, name in enumerate(precedence)}
        self._name = {index: name for name, index in classes.items()}
        self._undecided: list[tuple[str, str, NDArray[np.int64]]] = []

    def add(self, name: str, mask: NDArray[np.bool_]) -> None:
        """Add the voxels of a class.

        Args:
            name: the class.
            mask: where it is, of the map's shape.
        """
        own = self.classes[name]
        below = self.labels[mask]
        last = len(self._rank)
        for other in np.unique(below[(below > 0) & (below != own)]).tolist():
            ranks = self._rank.get(own, last), self._rank.get(other, last)
            shared = mask & (self.labels == other)
            if ranks[0] == ranks[1]:
                self._undecided.append((self._name[other], name, np.flatnonzero(shared)))
            if ranks[1] < ranks[0]:
                mask = mask & ~shared
        self.labels[mask] = own

    def finish(self) -> NDArray[Any]:
        """The label map.

        Raises:
            ValueError: if classes overlap and the order of precedence does not say which is kept.
        """
        overlaps: Counter[tuple[str, str]] = Counter()
        flat = self.labels.reshape(-1)
        for *pair, places in self._undecided:  # but for where a class of a rank came to lie in the end
            overlaps[pair[0], pair[1]] += int((~np.isin(flat[places], list(self._rank))).sum())
        if overlaps := Counter({pair: count for pair, count in overlaps.items() if count}):
            listed = ", ".join(f"{a!r} and {b!r} ({count} voxels)" for (a, b), count in overlaps.items())
            raise ValueError(
                f"{self.what}: segments overlap, where a label map holds one class only: {listed}; say which of them "
                "are kept there (precedence, --precedence: the classes in their order)"
            )
        return self.labels


def label_tensor(labels: NDArray[Any], affine: Any, header: Any, file: Path, *, flat: bool, **about: Any) -> MetaTensor:
    """A label map with its place and what its file says of it.

    Args:
        labels: ids, (X, Y, Z).
        affine: index to RAS mm.
        header: of the DICOM object, which says whose it is.
        file: the object.
        flat: whether the result has two axes.
        about: more metadata.
    """
    meta = {"filename_or_obj": str(file), "patient_id": str(header.get("PatientID") or ""), **about}
    values = torch.from_numpy(np.ascontiguousarray(labels[..., 0] if flat else labels))[None]
    return MetaTensor(values, affine=torch.as_tensor(affine), meta=meta)
