"""The making of a paired data set: sample by sample, as its parts shape them."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

from monai_segdiff.data import Case, write_like
from monai_segdiff.data.writers import check_writable, extension_of
from monai_segdiff.files import inside
from monai_segdiff.generation.folder import (
    IMAGES,
    LABELS,
    base_header,
    digest_of_inputs,
    write_description,
    write_label_map,
)
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.generation.own_grid import Drawn, OwnGrid, draw
from monai_segdiff.generation.shaping import Draw, Sample, Shaping, need

__all__ = ["GenerationJob"]


@dataclass(frozen=True)
class GenerationJob:
    """What a data set is made from, and how a batch of it is made.

    Args:
        generator: makes the images.
        masks: the cases whose label maps the images obey.
        root: folder of the data set.
        per_mask: images for each mask.
        parts: what shapes the samples, in the order in which they are asked.
        batch_size: images, or windows of a larger one, that go through the network at once.
        extension: of the files of pairs; None for that of the label map, where it can be written.
    """

    generator: TrainedGenerator
    masks: Sequence[Case]
    root: Path
    per_mask: int
    parts: Sequence[Shaping] = ()
    batch_size: int = 16
    extension: str | None = None

    @property
    def number(self) -> int:
        """How many samples there are."""
        return len(self.masks) * self.per_mask

    @cached_property
    def header(self) -> dict[str, Any]:
        """What all samples share, for the manifest."""
        masks = {"number": len(self.masks), "sha256": self._digest(), "per_mask": self.per_mask}
        patients = digest_of_inputs({"patient": m.patient, "known": m.patient_known} for m in self.masks)
        header = {**base_header(self.generator), "masks": masks, "patients": {"sha256": patients}}
        header |= {"grid": self.generator.grid.facts(), "extension": self.extension}
        for mask in self.masks:
            label = need(mask.label, "label map", mask)
            limits, channels = self.generator.intensity_range, len(self.generator.channels) or 1
            check_writable(label, self.extension, limits, channels)
        return header | {part.key: part.header(self.generator, self.masks) for part in self.parts}

    def _digest(self) -> str:
        """Hash of names and contents: other masks under the same names are other masks."""
        return digest_of_inputs(
            {
                "mask": mask.id,
                "label": need(mask.label, "label map", mask),
                **{kind: file for part in self.parts for kind, file in part.inputs(mask).items()},
            }
            for mask in self.masks
        )

    @property
    def files(self) -> list[Path | None]:
        """What the samples are made from."""
        own = [file for mask in self.masks for file in (mask.image, mask.label, *mask.channel_files)]
        return [*own, *(file for part in self.parts for file in part.files(self.masks))]

    @cached_property
    def as_written(self) -> TrainedGenerator:
        """The generator, with the classes and parents of the label maps that are written."""
        return reduce(lambda generator, part: part.as_written(generator), self.parts, self.generator)

    @cached_property
    def patients(self) -> dict[str, int]:
        """A number for each patient, in the order of the masks."""
        return {name: number for number, name in enumerate(dict.fromkeys(mask.patient for mask in self.masks))}

    def make(self, indices: list[int]) -> Iterator[dict[str, Any]]:
        """Make some samples, files first.

        Args:
            indices: their numbers.

        Yields:
            The record of each.
        """
        grids: dict[int, OwnGrid] = {}
        samples = [self._sample(index, grids) for index in indices]
        started = time.perf_counter()
        drawn = self._draw(samples, grids)
        seconds = round((time.perf_counter() - started) / len(indices), 6)
        for sample in drawn:
            yield {**self._record(sample), "seconds": seconds}

    def _sample(self, index: int, grids: dict[int, OwnGrid]) -> Sample:
        """A sample with its label map, but for the image; its grid is found where it is not known yet."""
        number = index // self.per_mask
        mask = self.masks[number]
        source = need(mask.label, "label map", mask)
        target = inside(self.root / LABELS, f"{mask.id}_{index % self.per_mask:03d}{self.ending(source)}")
        written = any(part.write_label(self, mask, target) for part in self.parts)
        if not written:
            write_label_map(source, target)
        read = target if written else source
        if number not in grids:
            told = {name: v for part in self.parts for name, v in part.told(mask, self.generator).items()}
            grids[number] = OwnGrid.of_file(read, self.generator, self._known, told)
            self._warn(source, grids[number].remark)
        about = {"mask": mask.id, "patient": mask.patient, "seed": self.generator.settings["seed"]}
        if placement := grids[number].facts():
            about["placement"] = placement
        return Sample(index, mask, target, read, about)

    def _warn(self, label: Path, remark: str) -> None:
        """Say what cannot be right about a label map, once of each kind; the records have it of every sample."""
        kind = re.split(r"\d", remark)[0]
        if remark and kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(f"{label}: {remark}; the manifest has it of each sample", stacklevel=2)

    @cached_property
    def _warned(self) -> set[str]:
        return set()

    @cached_property
    def _known(self) -> list[bool] | None:
        """Which classes are known; None where all are."""
        if self.as_written is self.generator:
            return None
        return [name in self.as_written.classes for name in self.generator.classes]

    def ending(self, label: Path) -> str:
        """Extension of the files of a pair.

        Args:
            label: the label map that it is made for.
        """
        return self.extension or extension_of(label)

    def _draw(self, samples: Sequence[Sample], grids: dict[int, OwnGrid]) -> list[Sample]:
        def draw_all(samples: Sequence[Sample], noise: Sequence[int]) -> list[Sample]:
            own = [grids[sample.index // self.per_mask] for sample in samples]
            arguments: dict[str, Any] = {}
            for part in self.parts:
                arguments |= part.arguments([sample.mask for sample in samples], self.generator)
            if arguments:
                self._check_on_grid(own)
            images = draw(own, noise, len(samples) if arguments else self.batch_size, arguments)
            return [
                replace(sample, image=drawn.image, measured=_measured(drawn))
                for sample, drawn in zip(samples, images, strict=True)
            ]

        wrapped: Draw = draw_all
        for part in self.parts:
            wrapped = part.wrap(self, wrapped)
        return wrapped(samples, [sample.index for sample in samples])

    def _check_on_grid(self, grids: Sequence[OwnGrid]) -> None:
        if other := next((grid for grid in grids if grid.placed is not None), None):
            raise ValueError(
                f"{other.labels.meta['filename_or_obj']} has size {tuple(other.labels.shape[1:])}, and similarity and "
                f"findings need the grid of {self.generator.name}, {self.generator.image_size}: bring it and what goes "
                "with it there with the prepare command"
            )

    def _record(self, sample: Sample) -> dict[str, Any]:
        """Write what was drawn, and say of it what is to be known."""
        mask, name = sample.mask, sample.label.name
        if sample.image is None:
            sample.label.unlink(missing_ok=True)
            for part in self.parts:
                part.discard(self, sample)
            return {"index": sample.index, **sample.about}
        pixels = sample.image.cpu().numpy()
        write_like(pixels, sample.label, self.root / IMAGES / name, channels=len(pixels))
        source = {kind: file for part in self.parts for kind, file in part.source(self, mask).items()}
        record = {
            "index": sample.index,
            "image": f"{IMAGES}/{name}",
            "label": f"{LABELS}/{name}",
            **sample.about,
            **({} if mask.patient_known else {"patient_known": False}),
            "evaluations": self.generator.inferer.evaluations * sample.about.get("tries", 1),
            "weights_sha256": self.generator.weights_sha256,
            **sample.measured,
            **({"source": source} if source else {}),
        }
        for part in self.parts:
            record |= part.record(self, sample, sample.image)
        return record

    def finish(self, records: Sequence[dict[str, Any]]) -> None:
        """Describe the finished data set.

        Args:
            records: those of the samples that were kept.
        """
        if records:
            write_description(self.root, records, self.as_written, f"synthetic images of {self.generator.name}")


def _measured(drawn: Drawn) -> dict[str, float]:
    return {} if drawn.seam_gradient is None else {"seam_gradient": round(drawn.seam_gradient, 3)}
