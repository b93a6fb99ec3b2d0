"""Findings that are put into generated images, and where."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_segdiff.data import Case, case_name, load_label_map, write_like
from monai_segdiff.data.issues import case_issues
from monai_segdiff.data.load import as_slice
from monai_segdiff.generation.folder import ANATOMIES, REGIONS, digest_of_inputs
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.generation.job import GenerationJob
from monai_segdiff.generation.shaping import Draw, Sample, Shaping
from monai_segdiff.inferers import XRealInferer

__all__ = ["Pathology"]


@dataclass(frozen=True)
class Pathology(Shaping):
    """Which findings an image is to show, and in which region.

    Args:
        findings: names from the generator's vocabulary, for every image; none at all, ``()``, asks for a region
            without a finding. ``None`` takes what the data set of the masks says of each: a mask of which nothing is
            said, or that has no finding, gives an image of its anatomy alone.
        region: label map whose labeled pixels are the region, for all masks; or a folder that holds one for each mask,
            of its name. ``None`` takes the region maps of the data set of the masks.
        vocabulary: findings of that data set, in whose order its region maps have their ids; by default the
            generator's.
    """

    key = "pathology"
    findings: tuple[str, ...] | None
    region: Path | None = None
    vocabulary: tuple[str, ...] | None = None

    def names(self, case: Case) -> tuple[str, ...] | None:
        """Findings for the image of a mask; None for its anatomy alone.

        Args:
            case: the mask.
        """
        return self.findings if self.findings is not None else (case.findings or None)

    def file(self, case: Case) -> Path | None:
        """The region map for a mask; None where its image shows anatomy alone.

        Args:
            case: the mask.

        Raises:
            FileNotFoundError: when it has none.
            ValueError: when the folder holds several of its name.
        """
        if self.names(case) is None:
            return None
        if self.region is None:
            if case.region is None:
                raise FileNotFoundError(
                    f"where the findings of mask {case.id!r} are to be is not known, as its data set has no region map "
                    "for it: give a label map, or a folder of them, with --region"
                )
            return case.region
        if not self.region.is_dir():
            return self.region
        files = (file for file in sorted(self.region.iterdir()) if not file.name.startswith("."))
        found = [file for file in files if case_name(file) == case.id]
        if not found:
            raise FileNotFoundError(f"{self.region} holds no region map named {case.id!r}, as the mask is: add it")
        if len(found) > 1:
            raise ValueError(f"{found[0]} and {found[1].name} are both named as the mask {case.id!r} is: remove one")
        return found[0]

    def check(self, generator: TrainedGenerator) -> None:
        """Refuse a generator that cannot do it.

        Args:
            generator: what is to generate.

        Raises:
            ValueError: when it knows no findings, or not these.
        """
        if not generator.findings or not isinstance(generator.inferer, XRealInferer):
            raise ValueError(f"{generator.name} knows no findings: leave them out, or use a bundle like chest_xray")
        unknown = [name for name in self.findings or () if name not in generator.findings]
        if unknown:
            known = ", ".join(generator.findings)
            raise ValueError(f"{generator.name} does not know the findings {', '.join(unknown)}; it knows {known}")

    def header(self, generator: TrainedGenerator, masks: Sequence[Case] = ()) -> dict[str, Any]:
        """What the manifest says of it.

        Args:
            generator: what is to generate.
            masks: all masks.

        Raises:
            ValueError: as for :meth:`check`.
            FileNotFoundError: when a mask has no region map.
        """
        self.check(generator)
        made_from: list[dict[str, Any]] = []
        for mask in masks:  # all of them before the first image is made
            names, file = self.names(mask), self.file(mask)
            if unknown := [name for name in names or () if name not in generator.findings]:
                raise ValueError(
                    f"mask {mask.id!r} has the findings {', '.join(unknown)}, which {generator.name} does not know: it "
                    f"knows {', '.join(generator.findings)}"
                )
            self._region(mask, generator)
            made_from.append({"findings": names, "region": file})
        chosen = "as the masks' data set says" if self.findings is None else list(self.findings)
        vocabulary = {} if self.vocabulary is None else {"vocabulary": list(self.vocabulary)}
        return {"findings": chosen, **vocabulary, "regions_sha256": digest_of_inputs(made_from)}

    def regions(self, cases: Sequence[Case], generator: TrainedGenerator) -> torch.Tensor:
        """Read the regions of some masks; that of an image of anatomy alone is empty.

        Args:
            cases: the masks.
            generator: what is to generate.

        Returns:
            (B, 1, *spatial), float32, 1 in the region.

        Raises:
            ValueError: for another size, or a region without a pixel, naming the file.
        """
        return torch.stack([self._region(case, generator) for case in cases])

    def _region(self, case: Case, generator: TrainedGenerator) -> torch.Tensor:
        file = self.file(case)
        if file is None:
            return torch.zeros(1, *generator.image_size)
        region = (_labels(file, generator) > 0).float()
        if not bool(region.any()):
            raise ValueError(f"the region map {file} has no labeled pixel: mark where the finding is to be")
        for issue in case_issues(Case(case.id, file, case.label, case.patient)):
            if issue.severity == "error":
                raise ValueError(f"the region map {file} and the mask {case.label} do not fit: {issue.message}")
        return region

    def write(self, case: Case, like: Path, target: Path, generator: TrainedGenerator) -> Path | None:
        """Write the region map of an image, as data sets with findings have it.

        Args:
            case: the mask.
            like: label map whose geometry it takes.
            target: where to.
            generator: what generates.

        Returns:
            The file: where the region is, the id of the first finding, or those that the mask's own region map holds
            if its own findings and region are taken. None where no finding is asked for.
        """
        names, file = self.names(case), self.file(case)
        if not names or file is None:
            return None
        labels = _labels(file, generator)[0].numpy()
        ids = {name: 1 + index for index, name in enumerate(generator.findings)}
        if self.findings is None and self.region is None:
            source = self.vocabulary or generator.findings
            order = [0, *(ids.get(name, 0) for name in source)]
            written = np.asarray(order)[labels.astype(int).clip(0, len(source))]
        else:
            written = (labels > 0) * ids[names[0]]
        return write_like(written.astype(np.uint8), like, target)

    def files(self, masks: Sequence[Case]) -> Iterator[Path | None]:
        """The region maps of the masks.

        Args:
            masks: all masks.
        """
        return map(self.file, masks)

    def arguments(self, masks: Sequence[Case], generator: TrainedGenerator) -> dict[str, Any]:
        """Findings and regions of some samples.

        Args:
            masks: the mask of each.
            generator: what generates.
        """
        return {"findings": [self.names(mask) for mask in masks], "regions": self.regions(masks, generator)}

    def wrap(self, job: GenerationJob, draw: Draw) -> Draw:
        """Have the images before the findings written; those of a sample that is drawn again replace its last ones.

        Args:
            job: what is made.
            draw: draws samples.
        """

        def draw_with_anatomies(samples: Sequence[Sample], noise: Sequence[int]) -> list[Sample]:
            drawn, inferer = draw(samples, noise), job.generator.inferer
            if isinstance(inferer, XRealInferer) and inferer.anatomy is not None:
                for image, sample in zip(job.generator.intensities(inferer.anatomy), samples, strict=True):
                    write_like(image[0].numpy(), sample.label, job.root / ANATOMIES / sample.label.name)
            return drawn

        return draw_with_anatomies

    def record(self, job: GenerationJob, sample: Sample, image: torch.Tensor) -> dict[str, Any]:
        """Write the region map of a sample, and tell its findings and the files that belong to them.

        Args:
            job: what is made.
            sample: the sample.
            image: its image.
        """
        mask, label, generator = sample.mask, sample.label, job.generator
        names, file = self.names(mask), self.file(mask)
        record: dict[str, Any] = {"findings": list(names or ())}
        if file is not None:
            record["region_source"] = os.path.relpath(file, job.root.resolve())
        if self.write(mask, label, job.root / REGIONS / label.name, generator) is not None:
            record["region_map"] = f"{REGIONS}/{label.name}"
        record["anatomy"] = f"{ANATOMIES}/{label.name}"
        if isinstance(generator.inferer, XRealInferer) and names is None:
            # A sample without findings has no part in the second run of its batch.
            record["evaluations"] = generator.inferer.anatomy_evaluations * sample.about.get("tries", 1)
        return record

    def discard(self, job: GenerationJob, sample: Sample) -> None:
        """Remove the image before the findings.

        Args:
            job: what is made.
            sample: a sample that is not kept.
        """
        (job.root / ANATOMIES / sample.label.name).unlink(missing_ok=True)


def _labels(file: Path, generator: TrainedGenerator) -> torch.Tensor:
    labels = as_slice(load_label_map(file), len(generator.image_size)).as_tensor()
    if tuple(labels.shape[1:]) != generator.image_size:
        raise ValueError(
            f"the region map {file} has size {tuple(labels.shape[1:])}, the images of {generator.name} "
            f"{generator.image_size}: bring it to the grid of the mask"
        )
    return labels
