"""Masks without some of their classes: what images then obey, and what their label maps may say."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai_segdiff.data import Case, load_label_map, write_like
from monai_segdiff.generation.folder import SOURCES, copy_file
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.generation.job import GenerationJob
from monai_segdiff.generation.shaping import Shaping, need
from monai_segdiff.transforms import ablate_classes

__all__ = ["DroppedClasses"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DroppedClasses(Shaping):
    """Classes that are taken out of every mask, as class ablation takes them out in training.

    Args:
        names: the classes that are dropped.
        fill: what their pixels become: ``"parent"``, the class around them, or ``"background"``.
    """

    key = "dropped_classes"
    names: tuple[str, ...]
    fill: str = "parent"

    def header(self, generator: TrainedGenerator, masks: Sequence[Case] = ()) -> dict[str, Any]:
        """What the manifest says of them.

        Args:
            generator: what generates.
            masks: not needed.

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
        return {"names": list(self.names), "fill": self.fill}

    def as_written(self, generator: TrainedGenerator) -> TrainedGenerator:
        """The generator, with the classes that stay and their parents.

        Args:
            generator: what generates.
        """
        return replace(generator, classes=self.kept(generator), parents=self.parents(generator))

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

    def write_label(self, job: GenerationJob, mask: Case, target: Path) -> bool:
        """Write the label map of a sample without them, and keep the whole mask beside it.

        Args:
            job: what is made.
            mask: the case that the sample is made for.
            target: file to write, with the extension of the mask's.

        Returns:
            True.

        Raises:
            ValueError: for labels that are none of the generator's.
            OSError: if it cannot be written.
        """
        label, generator = need(mask.label, "label map", mask), job.generator
        keep = list(self.kept(generator))
        ablated = ablate_classes(load_label_map(label), generator.classes, keep, generator.parents, self.fill)
        write_like(ablated.numpy(), label, target)
        copy_file(label, job.root / SOURCES / label.name)
        return True

    def source(self, job: GenerationJob, mask: Case) -> dict[str, str]:
        """The real image, if there is one, and the whole mask.

        Args:
            job: what is made.
            mask: the case that a sample is made for.
        """
        image = {} if mask.image is None else {"image": os.path.relpath(mask.image, job.root.resolve())}
        return {**image, "label": f"{SOURCES}/{need(mask.label, 'label map', mask).name}"}
