"""Subsets of a mask's classes, and how far an image obeys the classes that it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from monai_segdiff.evaluation.measure.measure import Batch
from monai_segdiff.metrics import dice_per_class, foreground_dice
from monai_segdiff.transforms.vocabulary import ClassVocabulary

__all__ = ["GivenDice", "Subset", "subsets"]


@dataclass(frozen=True)
class Subset:
    """Classes that a mask is given.

    Args:
        given: their names.
        classes: names of all classes, in order.
    """

    given: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name in tables and folders."""
        return "+".join(self.given)

    @property
    def dropped(self) -> list[str]:
        """The other classes."""
        return [name for name in self.classes if name not in self.given]


def subsets(classes: Sequence[str]) -> list[Subset]:
    """All non-empty subsets, the whole first."""
    sizes = range(len(classes), 0, -1)
    return [Subset(given, tuple(classes)) for size in sizes for given in combinations(classes, size)]


class GivenDice:
    """Dice on the classes that are given, once those that are not are merged into the ones around them.

    Args:
        subset: what is given.
        parents: class name to the name of the class around it.
    """

    def __init__(self, subset: Subset, parents: Mapping[str, str]) -> None:
        vocabulary = ClassVocabulary({name: index for index, name in enumerate(subset.classes, start=1)}, parents)
        self._kept = vocabulary.kept(subset.given)
        self._destination = vocabulary.destinations(self._kept)

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Mean Dice of each image over the given classes that its mask holds, (B,); NaN where it holds none."""
        assert batch.readings is not None
        reading, mask = (self._destination[indices.cpu().long()] for indices in (batch.readings, batch.masks))
        return foreground_dice(dice_per_class(reading, mask, len(self._kept))[:, self._kept])
