"""Classes that get lost on the way from the source to the splits of a prepared data set, by name and number."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from monai_segdiff.data.cases import Case
from monai_segdiff.data.description.classes import BODY, OUTSIDE_VIEW, named_ids

__all__ = ["ClassCounts", "absent_classes"]

_SHOWN = 5


class ClassCounts:
    """Which classes each case has, and each of the slices or volumes made of it.

    Args:
        classes: class name to source id or ids, in the order of the prepared ids.
        body: whether a class of this name comes before them.
    """

    def __init__(self, classes: Mapping[str, int | Sequence[int]], body: bool) -> None:
        self.of_id = {i: name for name, i in named_ids(classes)}
        self.names = [*([BODY] if body else []), *classes]
        if OUTSIDE_VIEW not in self.names:
            self.names.append(OUTSIDE_VIEW)
        self.body = body
        self.source: dict[str, set[str]] = {}
        self.made: dict[str, dict[str, set[str]]] = {}

    def add_case(self, case: str, ids: Collection[int]) -> None:
        """Note the ids of a case's label map, once all that is made of it is there."""
        self.source[case] = {self.of_id[i] for i in ids if i in self.of_id}
        self.made.setdefault(case, {})

    def add_piece(self, case: str, piece: str, ids: Collection[int]) -> None:
        """Note the ids that a prepared label map of a case holds."""
        self.made.setdefault(case, {})[piece] = {self.names[i - 1] for i in ids if i}

    def present(self, names: Sequence[str]) -> list[str]:
        """The classes, with that of what lies outside the field of view where something does."""
        beyond = any(OUTSIDE_VIEW in held for pieces in self.made.values() for held in pieces.values())
        return [*names, *([OUTSIDE_VIEW] if beyond and OUTSIDE_VIEW not in names else [])]

    def remarks(self, splits: Mapping[str, Sequence[Case]]) -> Iterator[str]:
        """Say what got lost.

        Args:
            splits: the prepared cases.
        """
        empty = [case for case, pieces in self.made.items() if not pieces]
        if empty:
            yield (
                f"{len(empty)} of {len(self.made)} cases are left out ({_listed(empty)}), as no slice of them has "
                "enough labeled pixels (--min-foreground)"
            )
        kept = {case: set().union(*pieces.values()) for case, pieces in self.made.items()}
        names = [name for name in self.names if name != OUTSIDE_VIEW]
        for name in names:
            if name == BODY and self.body:
                if not any(name in held for held in kept.values()):
                    yield f"class {name!r} is in nothing that was prepared: no intensity is above --body-threshold"
                continue
            having = [case for case, held in self.source.items() if name in held]
            lost = [case for case in having if name not in kept[case]]
            if len(lost) < len(having):  # of cases that are left out as a whole was said above
                lost = [case for case in lost if self.made[case]]
            if not having:
                yield f"class {name!r} is in none of the {len(self.source)} label maps"
            elif lost:
                yield (
                    f"class {name!r} is in {len(having)} label maps and got lost in {len(lost)} of them "
                    f"({_listed(lost)}): it was in slices that are left out (--min-foreground), beyond the image "
                    "(--spacing), or too thin for voxels of this size (--size, --spacing)"
                )
        of_piece = {piece: held for pieces in self.made.values() for piece, held in pieces.items()}
        held = {split: [of_piece[case.id] for case in cases] for split, cases in splits.items()}
        yield from absent_classes(names, held)


def absent_classes(names: Sequence[str], held: Mapping[str, Sequence[Collection[str]]]) -> Iterator[str]:
    """Say which classes are in some splits of a data set and not in others.

    Args:
        names: the classes.
        held: split to the classes of each of its label maps.
    """
    counts = {name: {split: sum(name in each for each in maps) for split, maps in held.items()} for name in names}
    for split, maps in held.items():
        absent = [name for name in names if maps and not counts[name][split] and any(counts[name].values())]
        if absent:
            there = [f"{name!r} (in {sum(counts[name].values())} elsewhere)" for name in absent]
            more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
            yield f"{split} has {len(maps)} label maps, and none with {', '.join(there[:_SHOWN])}{more}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
