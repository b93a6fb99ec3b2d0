"""Paired data sets from label maps."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from monai_segdiff.data import Case, SegmentationDataset, case_name, read_dataset, write_like
from monai_segdiff.data.writers import check_range
from monai_segdiff.files import inside
from monai_segdiff.generation.acceptance import Acceptance, Drawn, draw_accepted
from monai_segdiff.generation.dicom import DicomOutput
from monai_segdiff.generation.dropping import DroppedClasses
from monai_segdiff.generation.folder import (
    ANATOMIES,
    IMAGES,
    LABELS,
    REGIONS,
    SOURCES,
    base_header,
    copy_file,
    digest_of_inputs,
    fill_folder,
    write_description,
)
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.generation.pathology import Pathology
from monai_segdiff.generation.similarity import Similarity
from monai_segdiff.inferers import RegressionInferer, XRealInferer

__all__ = ["generate_dataset"]


def generate_dataset(
    generator: TrainedGenerator,
    masks: Sequence[Case],
    output: str | os.PathLike[str],
    *,
    per_mask: int = 1,
    batch_size: int = 16,
    drop_classes: Sequence[str] = (),
    drop_fill: str = "parent",
    similarity: Similarity | None = None,
    pathology: Pathology | None = None,
    accept: Acceptance | None = None,
    dicom: DicomOutput | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> SegmentationDataset:
    """Generate images for label maps and write both as a data set.

    Images take names, file format and geometry from their label maps. Sample ``k`` of mask ``m`` has index
    ``m * per_mask + k``, and seed and index alone decide its noise: the result depends neither on the batch size nor on
    how often the run was stopped and taken up again, nor on how many processes share it, but for the network's
    rounding. Under ``torchrun`` each process takes every n-th sample.

    Where classes are dropped, the label maps that are written hold the others only, and so does the data set: that is
    what the images obey. The whole masks are copied to ``sourceTr``; the manifest links each sample to its own.

    Where findings are asked for, ``dataset.json`` names those of each image, their regions are written to
    ``regionsTr``, and the image of the anatomy alone, from which it was made, to ``anatomyTr``.

    Args:
        generator: from :func:`monai_segdiff.generation.load_generator`.
        masks: from :func:`monai_segdiff.generation.collect_masks`, or, with a similarity,
            :func:`~monai_segdiff.generation.collect_pairs`.
        output: folder for ``imagesTr``, ``labelsTr``, ``dataset.json``, ``manifest.json`` and
            ``manifest.seconds.json``. What is there already, made with the same arguments, is not made again.
        per_mask: images for each mask, at least 1.
        batch_size: images sampled at once.
        drop_classes: names of classes to take out of every mask, as class ablation does in training.
        drop_fill: what their pixels become: ``"parent"``, the class around them, or ``"background"``.
        similarity: how far each image is drawn to the real image of its case.
        pathology: which findings the images are to show, and where; for a generator that knows findings.
        accept: which images are kept; others are drawn again.
        dicom: how to write each pair as a DICOM series and segmentation, too, to ``dicom/<sample>``.
        overwrite: remove first what another run has generated in the folder.
        progress: show a progress bar.

    Returns:
        The data set; everything is in its split ``training``.

    Raises:
        ValueError: if a mask does not fit the generator, the folder holds something that was made otherwise, or no
            image at all was accepted.
        OSError: if a file cannot be written; samples that were finished stay, and the next run goes on from there.
    """
    if per_mask < 1 or batch_size < 1:
        raise ValueError(
            f"per_mask (--per-mask) and batch_size (--batch-size) must be at least 1, got {per_mask} and {batch_size}"
        )
    dropped = DroppedClasses(tuple(drop_classes), drop_fill) if drop_classes else None
    work = _Work(generator, masks, Path(output), per_mask, dropped, similarity, pathology, accept, dicom)
    fill_folder(
        work.root,
        work.header,
        len(masks) * per_mask,
        [
            *(file for mask in masks for file in (mask.image, mask.label, pathology.file(mask) if pathology else None)),
            *(dicom.sources.values() if dicom else ()),
        ],
        work.make,
        work.finish,
        batch_size=batch_size,
        overwrite=overwrite,
        progress=progress,
    )
    if accept is not None and not (work.root / "dataset.json").is_file():
        raise ValueError(
            f"no image reached {accept.threshold:g} in {accept.max_tries} tries, see {work.root / 'manifest.json'}: "
            "lower the threshold (--accept-dice), or train the generator for longer"
        )
    return read_dataset(work.root)


@dataclass(frozen=True)
class _Work:
    """What `generate_dataset` was asked for, with its own argument names."""

    generator: TrainedGenerator
    masks: Sequence[Case]
    root: Path
    per_mask: int
    dropped: DroppedClasses | None
    similarity: Similarity | None
    pathology: Pathology | None
    accept: Acceptance | None
    dicom: DicomOutput | None

    @cached_property
    def header(self) -> dict[str, Any]:
        """What all samples share, for the manifest."""
        masks = {"number": len(self.masks), "sha256": self._digest(), "per_mask": self.per_mask}
        patients = digest_of_inputs({"patient": m.patient, "known": m.patient_known} for m in self.masks)
        header = {**base_header(self.generator), "masks": masks, "patients": {"sha256": patients}}
        for mask in self.masks:
            check_range(_need(mask.label, "label map", mask), *self.generator.intensity_range)
        if self.dropped is not None:
            self.dropped.check(self.generator)
            header["dropped_classes"] = {"names": list(self.dropped.names), "fill": self.dropped.fill}
        if self.similarity is not None:
            header["similarity"] = self.similarity.header(self.generator)
        if self.pathology is not None:
            header["pathology"] = self.pathology.header(self.generator, self.masks)
        if self.accept is not None:
            if isinstance(self.generator.inferer, RegressionInferer):
                raise ValueError(f"{self.generator.name} has one image for each mask, so none can be drawn again")
            header["accept"] = self.accept.header()
        if self.dicom is not None:
            header["dicom"] = self.dicom.header(self.generator)
        return header

    def _digest(self) -> str:
        """Hash of names and contents: other masks under the same names are other masks."""
        return digest_of_inputs(
            {
                "mask": mask.id,
                "label": _need(mask.label, "label map", mask),
                **({} if self.similarity is None else {"image": _need(mask.image, "image", mask)}),
            }
            for mask in self.masks
        )

    def make(self, indices: list[int]) -> Iterator[dict[str, Any]]:
        labels = [self._write_label(index) for index in indices]
        conditions = self._conditions(indices, labels)
        started = time.perf_counter()
        drawn = list(self._draw(indices, labels, conditions))
        seconds = round((time.perf_counter() - started) / len(indices), 6)
        for index, label, result in zip(indices, labels, drawn, strict=True):
            yield {**self._record(index, label, result), "seconds": seconds}

    def _write_label(self, index: int) -> Path:
        mask = self.masks[index // self.per_mask]
        source = _need(mask.label, "label map", mask)
        ending = source.name[len(mask.id) :]
        target = inside(self.root / LABELS, f"{mask.id}_{index % self.per_mask:03d}{ending}")
        if self.dropped is None:
            copy_file(source, target)
        else:
            self.dropped.write(source, target, self.generator)
            copy_file(source, self.root / SOURCES / source.name)
        return target

    def _conditions(self, indices: Sequence[int], labels: Sequence[Path]) -> torch.Tensor:
        encoded: dict[int, torch.Tensor] = {}
        for index, label in zip(indices, labels, strict=True):
            number = index // self.per_mask
            if number in encoded:
                continue
            mask = self.masks[number]
            if self.dropped is None:  # messages then name the user's own file
                encoded[number] = self.generator.condition(_need(mask.label, "label map", mask))
            else:
                encoded[number] = self.generator.condition(label, self.dropped.known(self.generator))
        return torch.stack([encoded[index // self.per_mask] for index in indices])

    def _draw(self, indices: list[int], labels: Sequence[Path], conditions: torch.Tensor) -> Iterator[Drawn]:
        cases = [self.masks[index // self.per_mask] for index in indices]
        shaping = self._shaping(cases)

        def sample(positions: list[int], noise: list[int]) -> torch.Tensor:
            images = self.generator.sample(conditions[positions], noise, **shaping(positions))
            if self.pathology is not None:
                self._write_anatomies([labels[position] for position in positions])
            return images

        if self.accept is None:
            return (Drawn(image, {}) for image in sample(list(range(len(indices))), indices))
        return draw_accepted(sample, indices, labels, len(self.masks) * self.per_mask, self.accept)

    def _shaping(self, cases: Sequence[Case]) -> Callable[[list[int]], dict[str, Any]]:
        """What the inferer is told of some of the cases beside their masks."""
        if self.similarity is not None:
            similarity = self.similarity
            like = torch.stack([self.generator.image(_need(case.image, "image", case)) for case in cases])
            return lambda positions: {"start": similarity.start(like[positions], self.generator.network_range)}
        if self.pathology is not None:
            regions = self.pathology.regions(cases, self.generator)
            names = [self.pathology.names(case) for case in cases]
            return lambda positions: {"findings": [names[p] for p in positions], "regions": regions[positions]}
        return lambda positions: {}

    def _write_anatomies(self, labels: Sequence[Path]) -> None:
        """The images before the findings; those of an image that is drawn again replace those of its last try."""
        inferer = self.generator.inferer
        if isinstance(inferer, XRealInferer) and inferer.anatomy is not None:
            for image, label in zip(self.generator.intensities(inferer.anatomy), labels, strict=True):
                write_like(image[0].numpy(), label, self.root / ANATOMIES / label.name)

    def _record(self, index: int, label: Path, drawn: Drawn) -> dict[str, Any]:
        mask, generator = self.masks[index // self.per_mask], self.generator
        about = {"mask": mask.id, "patient": mask.patient, "seed": generator.settings["seed"], **drawn.facts}
        if drawn.image is None:
            label.unlink(missing_ok=True)
            (self.root / ANATOMIES / label.name).unlink(missing_ok=True)
            return {"index": index, **about}
        write_like(drawn.image[0].numpy(), label, self.root / IMAGES / label.name)
        return {
            "index": index,
            "image": f"{IMAGES}/{label.name}",
            "label": f"{LABELS}/{label.name}",
            **about,
            **({} if mask.patient_known else {"patient_known": False}),
            "evaluations": self._evaluations(mask) * drawn.facts.get("tries", 1),
            "weights_sha256": generator.weights_sha256,
            **self._source(mask),
            **self._pathology(mask, label),
            **self._dicom(index, label, drawn.image, about),
        }

    def _dicom(self, index: int, label: Path, image: torch.Tensor, about: dict[str, Any]) -> dict[str, Any]:
        """The study of a sample, where it is to have one."""
        if self.dicom is None:
            return {}
        classes = self.generator.classes if self.dropped is None else self.dropped.kept(self.generator)
        facts, name = {"index": index, **about}, case_name(label)
        patient = self.patients[about["patient"]]
        # Nothing of the patient, not even as a hash, is part of what names a study.
        run = {key: value for key, value in self.header.items() if key != "patients"}
        return self.dicom.write(self.root, image, label, name, facts, run, patient, self.generator, classes)

    @cached_property
    def patients(self) -> dict[str, int]:
        """A number for each patient, in the order of the masks."""
        return {name: number for number, name in enumerate(dict.fromkeys(mask.patient for mask in self.masks))}

    def _evaluations(self, mask: Case) -> int:
        """Of one try; a sample without findings has no part in the second run of its batch."""
        inferer = self.generator.inferer
        if isinstance(inferer, XRealInferer) and (self.pathology is not None and self.pathology.names(mask) is None):
            return inferer.anatomy_evaluations
        return inferer.evaluations

    def _pathology(self, mask: Case, label: Path) -> dict[str, Any]:
        """Findings of a sample, with the files that belong to them."""
        if self.pathology is None:
            return {}
        facts = self.pathology.facts(mask, self.root)
        if self.pathology.write(mask, label, self.root / REGIONS / label.name, self.generator) is not None:
            facts["region_map"] = f"{REGIONS}/{label.name}"
        return {**facts, "anatomy": f"{ANATOMIES}/{label.name}"}

    def _source(self, mask: Case) -> dict[str, Any]:
        """The whole mask and the real image, for a sample that is more than an image for its mask."""
        if self.dropped is None and self.similarity is None:
            return {}
        source = {}
        if mask.image is not None:
            source["image"] = os.path.relpath(mask.image, self.root.resolve())
        if self.dropped is not None:
            source["label"] = f"{SOURCES}/{_need(mask.label, 'label map', mask).name}"
        return {"source": source}

    def finish(self, records: Sequence[dict[str, Any]]) -> None:
        if not records:
            return
        name = f"synthetic images of {self.generator.name}"
        if self.dropped is None:
            write_description(self.root, records, self.generator, name)
        else:
            kept, parents = self.dropped.kept(self.generator), self.dropped.parents(self.generator)
            write_description(self.root, records, self.generator, name, kept, parents)


def _need(file: Path | None, what: str, case: Case) -> Path:
    if file is None:
        raise ValueError(f"case {case.id!r} has no {what}: add it, or leave the case out")
    return file
