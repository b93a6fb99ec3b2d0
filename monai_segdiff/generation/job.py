"""The making of a paired data set: sample by sample, as its parts shape them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import torch

from monai_segdiff.data import Case, write_like
from monai_segdiff.data.writers import check_format
from monai_segdiff.files import inside
from monai_segdiff.generation.folder import (
    IMAGES,
    LABELS,
    base_header,
    copy_file,
    digest_of_inputs,
    write_description,
)
from monai_segdiff.generation.generator import TrainedGenerator
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
    """

    generator: TrainedGenerator
    masks: Sequence[Case]
    root: Path
    per_mask: int
    parts: Sequence[Shaping] = ()

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
        for mask in self.masks:
            label = need(mask.label, "label map", mask)
            check_format(label, self.generator.intensity_range, len(self.generator.channels) or 1)
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
        samples = [self._sample(index) for index in indices]
        conditions = self._conditions(samples)
        started = time.perf_counter()
        drawn = self._draw(samples, conditions)
        seconds = round((time.perf_counter() - started) / len(indices), 6)
        for sample in drawn:
            yield {**self._record(sample), "seconds": seconds}

    def _sample(self, index: int) -> Sample:
        """A sample with its label map, but for the image."""
        mask = self.masks[index // self.per_mask]
        source = need(mask.label, "label map", mask)
        ending = source.name[len(mask.id) :]
        target = inside(self.root / LABELS, f"{mask.id}_{index % self.per_mask:03d}{ending}")
        written = any(part.write_label(self, mask, target) for part in self.parts)
        if not written:
            copy_file(source, target)
        about = {"mask": mask.id, "patient": mask.patient, "seed": self.generator.settings["seed"]}
        return Sample(index, mask, target, target if written else source, about)

    def _conditions(self, samples: Sequence[Sample]) -> dict[int, torch.Tensor]:
        """The condition of each sample, by its index; that of a mask is read once."""
        known = None
        if self.as_written is not self.generator:
            known = [name in self.as_written.classes for name in self.generator.classes]
        encoded: dict[int, torch.Tensor] = {}
        for sample in samples:
            number = sample.index // self.per_mask
            if number not in encoded:
                told = {name: v for part in self.parts for name, v in part.told(sample.mask, self.generator).items()}
                encoded[number] = self.generator.condition(sample.condition_file, known, told)
        return {sample.index: encoded[sample.index // self.per_mask] for sample in samples}

    def _draw(self, samples: Sequence[Sample], conditions: dict[int, torch.Tensor]) -> list[Sample]:
        def draw(samples: Sequence[Sample], noise: Sequence[int]) -> list[Sample]:
            masks = [sample.mask for sample in samples]
            arguments: dict[str, Any] = {}
            for part in self.parts:
                arguments |= part.arguments(masks, self.generator)
            stacked = torch.stack([conditions[sample.index] for sample in samples])
            images = self.generator.sample(stacked, list(noise), **arguments)
            return [replace(sample, image=image) for sample, image in zip(samples, images, strict=True)]

        wrapped: Draw = draw
        for part in self.parts:
            wrapped = part.wrap(self, wrapped)
        return wrapped(samples, [sample.index for sample in samples])

    def _record(self, sample: Sample) -> dict[str, Any]:
        """Write what was drawn, and say of it what is to be known."""
        mask, name = sample.mask, sample.label.name
        if sample.image is None:
            sample.label.unlink(missing_ok=True)
            for part in self.parts:
                part.discard(self, sample)
            return {"index": sample.index, **sample.about}
        write_like(sample.image.numpy(), sample.label, self.root / IMAGES / name, channels=len(sample.image))
        source = {kind: file for part in self.parts for kind, file in part.source(self, mask).items()}
        record = {
            "index": sample.index,
            "image": f"{IMAGES}/{name}",
            "label": f"{LABELS}/{name}",
            **sample.about,
            **({} if mask.patient_known else {"patient_known": False}),
            "evaluations": self.generator.inferer.evaluations * sample.about.get("tries", 1),
            "weights_sha256": self.generator.weights_sha256,
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
