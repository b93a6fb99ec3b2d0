"""Masks without some of their classes: what images then obey, and what their label maps may say."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_segdiff.data import load_label_map, write_like
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.transforms import ablate_classes

__all__ = ["DroppedClasses"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DroppedClasses:
    """Classes that are taken out of every mask, as class ablation takes them out in training.

    Args:
        names: the classes that are dropped.
        fill: what their pixels become: ``"parent"``, the class around them, or ``"background"``.
    """

    names: tuple[str, ...]
    fill: str = "parent"

    def check(self, generator: TrainedGenerator) -> None:
        """Make sure that a generator can do without them.

        Args:
            generator: what generates.

        Raises:
            ValueError: for an unknown class, or where none is left.
        """
        unknown = [name for name in self.names if name not in generator.classes]
        if unknown:
            raise ValueError(f"cannot drop {', '.join(unknown)}: the classes are {', '.join(generator.classes)}")
        if not self.kept(generator):
            raise ValueError("every class is dropped: keep at least one, or there is nothing that the images obey")
        if generator.full_prob is not None and generator.full_prob >= 1.0:
            logger.warning(
                f"{generator.name} was trained on whole masks only (full_prob 1): it never saw one without "
                f"{', '.join(self.names)}; train with full_prob below 1"
            )

    def kept(self, generator: TrainedGenerator) -> dict[str, Any]:
        """The classes that stay, with their label ids.

        Args:
            generator: what generates.
        """
        return {name: ids for name, ids in generator.classes.items() if name not in self.names}

    def parents(self, generator: TrainedGenerator) -> dict[str, str]:
        """Which of the classes that stay encloses which, past those that are dropped.

        Args:
            generator: what generates.
        """
        found = {}
        for name in self.kept(generator):
            parent = generator.parents.get(name)
            while parent in self.names:
                parent = generator.parents.get(str(parent))
            if parent is not None:
                found[name] = parent
        return found

    def known(self, generator: TrainedGenerator) -> list[bool]:
        """Flags of the classes that stay, in the order of the classes.

        Args:
            generator: what generates.
        """
        return [name not in self.names for name in generator.classes]

    def write(self, label: Path, target: Path, generator: TrainedGenerator) -> None:
        """Write a label map without them.

        Args:
            label: the whole label map.
            target: file to write, with the same extension.
            generator: what generates.

        Raises:
            ValueError: for labels that are none of the generator's.
            OSError: if it cannot be written.
        """
        keep = list(self.kept(generator))
        ablated = ablate_classes(load_label_map(label), generator.classes, keep, generator.parents, self.fill)
        write_like(ablated.numpy(), label, target)
