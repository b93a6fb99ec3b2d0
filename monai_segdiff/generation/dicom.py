"""Generated pairs as DICOM: a series and its segmentation for each sample, beside the data set."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_segdiff.bundle import bundle_path
from monai_segdiff.data import Case, SyntheticInfo, case_name, load_label_map, write_dicom_pair
from monai_segdiff.data.description.channel_names import is_color
from monai_segdiff.data.dicom.iods import COLOR_MODALITIES
from monai_segdiff.data.dicom.series import MODALITIES
from monai_segdiff.data.dicom.write_seg import check_class_names
from monai_segdiff.documents import read_json
from monai_segdiff.errors import reading
from monai_segdiff.generation.folder import DICOM
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.generation.job import GenerationJob
from monai_segdiff.generation.shaping import Sample, Shaping
from monai_segdiff.transforms import channel_ranges

__all__ = ["DicomOutput", "default_modality"]


@dataclass(frozen=True)
class DicomOutput(Shaping):
    """How pairs are written as DICOM.

    Args:
        modality: "CT", "MR", "CR" or "DX"; the last two for images of two axes. Of pictures in colors also "ES", "XC",
            "GM" or "OT", see :func:`~monai_segdiff.data.write_dicom_pair`.
        sources: DICOM segmentation that a mask was read from, by the mask's name; the objects refer to it.

    Raises:
        ValueError: for another modality.
    """

    key = "dicom"
    modality: str
    sources: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = (*MODALITIES, *COLOR_MODALITIES)
        if self.modality not in known:
            raise ValueError(f"images can be written as {', '.join(known)}, not as {self.modality!r}")

    def header(self, generator: TrainedGenerator, masks: Sequence[Case] = ()) -> dict[str, Any]:
        """What the manifest says of it.

        Args:
            generator: what makes the images.
            masks: not needed.

        Raises:
            ValueError: if its images cannot be of the modality, or DICOM cannot hold the names of its classes.
        """
        check_class_names(generator.classes)
        pairs = channel_ranges(generator.intensity_range, len(generator.channels) or 1)
        if is_color(generator.channels):
            _check_color(generator, pairs)
            return {"modality": self.modality}
        if self.modality in COLOR_MODALITIES:
            raise ValueError(
                f"{generator.name} makes no pictures in colors, which {self.modality} is for: choose "
                f"{', '.join(MODALITIES)} (--modality)"
            )
        low, high = min(pairs, key=lambda pair: pair[1] - pair[0])
        if self.modality in ("CR", "DX") and len(generator.image_size) != 2:
            raise ValueError(f"{generator.name} makes volumes, which are no {self.modality} images: choose CT or MR")
        if self.modality == "CT" and high - low <= 2:
            raise ValueError(
                f"{generator.name} makes images from {low:g} to {high:g}, which are no HU as CT needs them: choose "
                "another --modality"
            )
        return {"modality": self.modality}

    def files(self, masks: Sequence[Case]) -> list[Path]:
        """The DICOM segmentations that masks were read from.

        Args:
            masks: not needed.
        """
        return list(self.sources.values())

    def record(self, job: GenerationJob, sample: Sample, image: torch.Tensor) -> dict[str, str]:
        """Write the study of one sample.

        Its UIDs follow from all that makes it what it is, so that it is the same object whenever it is made, and no
        other sample's. Nothing in it tells the names of its mask and its patient.

        Args:
            job: what is made.
            sample: the sample, whose label map gives its place in space.
            image: (C, *spatial), in the training images' intensities.

        Returns:
            Where the series and its segmentation are, for the sample's record.

        Raises:
            OSError: if it cannot be written.
        """
        name = case_name(sample.label)
        labels = load_label_map(sample.label)
        folder = job.root / DICOM / name
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed before it could record it
        shape = labels.shape if len(image) == 1 else (len(image), *labels.shape[1:])
        pixels, affine, classes = image.reshape(shape), np.asarray(labels.affine), job.as_written.classes
        channels = job.generator.channels
        info = _about(job, sample, pixels)
        source = self.sources.get(sample.mask.id)
        write_dicom_pair(
            pixels, labels, affine, classes, folder, self.modality, source=source, info=info, channels=channels
        )
        return {"dicom_series": f"{DICOM}/{name}/image", "dicom_seg": f"{DICOM}/{name}/seg/seg.dcm"}


def _check_color(generator: TrainedGenerator, pairs: Sequence[tuple[float, float]]) -> None:
    """Refuse colors that DICOM cannot hold."""
    if len(generator.image_size) != 2:
        raise ValueError(f"{generator.name} makes volumes in colors, which are not written as DICOM: choose NIfTI")
    if not all(low >= 0 and high <= 255 for low, high in pairs):
        low, high = min(low for low, _ in pairs), max(high for _, high in pairs)
        raise ValueError(
            f"{generator.name} makes colors from {low:g} to {high:g}, and those of DICOM go from 0 to 255: prepare the "
            "data with such an intensity range, or choose NIfTI"
        )


def _about(job: GenerationJob, sample: Sample, pixels: torch.Tensor) -> SyntheticInfo:
    """What the objects of a sample say of where they come from."""
    generator = job.generator
    # Nothing of the patient, not even as a hash, is part of what names a study.
    run = {key: value for key, value in job.header.items() if key != "patients"}
    # The score follows from the rest, but for the last digits, as do the pixels: they differ from one processor, and
    # from one batch, to another.
    facts = {"index": sample.index, **{key: value for key, value in sample.about.items() if key != "score"}}
    content = [np.ascontiguousarray(pixels.detach().cpu().numpy()).tobytes(), sample.label.read_bytes()]
    return SyntheticInfo(
        generator=f"{generator.name} {generator.weights_sha256[:16]}",
        derivation=f"Synthetic image, generated under a label map by the diffusion model {generator.name} (weights "
        f"{generator.weights_sha256}, seed {generator.settings.get('seed')}, index {sample.index}); not an "
        "acquired image",
        description=generator.name,
        patient_id=f"SYN{_digest(run)[:8].upper()}-{job.patients[sample.mask.patient] + 1:04d}",
        uid_seed=_digest([run, facts, *(hashlib.sha256(part).hexdigest() for part in content)]),
    )


def default_modality(bundle: str | os.PathLike[str]) -> str:
    """The modality of a bundle's images, as its ``metadata.json`` says.

    Args:
        bundle: a bundle's name or folder.

    Raises:
        ValueError: if it does not say one that can be written.
    """
    file = bundle_path(bundle) / "configs" / "metadata.json"
    found = None
    if file.is_file():
        content = read_json(file, "the metadata of a bundle")
        with reading(file, "the metadata of a bundle"):
            found = content.get("network_data_format", {}).get("outputs", {}).get("pred", {}).get("modality")
    if found not in MODALITIES:
        raise ValueError(f"{file} does not say which of {', '.join(MODALITIES)} its images are: give --modality")
    return str(found)


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
