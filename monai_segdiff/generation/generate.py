"""Paired data sets from label maps."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from monai_segdiff.data import Case, SegmentationDataset, read_dataset
from monai_segdiff.data.writers import FORMATS
from monai_segdiff.generation.acceptance import Acceptance
from monai_segdiff.generation.covariates import Covariates
from monai_segdiff.generation.dicom import DicomOutput
from monai_segdiff.generation.dropping import DroppedClasses
from monai_segdiff.generation.folder import fill_folder
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.generation.job import GenerationJob
from monai_segdiff.generation.pathology import Pathology
from monai_segdiff.generation.shaping import Shaping
from monai_segdiff.generation.similarity import Similarity
from monai_segdiff.transforms import CovariateValue

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
    covariates: Mapping[str, CovariateValue | None] | None = None,
    similarity: Similarity | None = None,
    pathology: Pathology | None = None,
    accept: Acceptance | None = None,
    dicom: DicomOutput | None = None,
    file_format: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> SegmentationDataset:
    """Generate images for label maps and write both as a data set.

    Images take names, file format and geometry from their label maps, which may be of any size: what is not on the
    network's grid is brought there, voxel size first, and the image back. Where the network was trained on patches,
    larger label maps are drawn in overlapping windows whose estimates are blended at every noise level. A volume is
    drawn slice by slice where the network makes slices. Sample ``k`` of mask ``m`` has index
    ``m * per_mask + k``, and seed and index alone decide its noise: the result depends neither on the batch size nor on
    how often the run was stopped and taken up again, nor on how many processes share it, but for the network's
    rounding. Under ``torchrun`` each process takes every n-th sample.

    Where classes are dropped, the label maps that are written hold the others only, and so does the data set: that is
    what the images obey. The whole masks are copied to ``sourceTr``; the manifest links each sample to its own.

    Covariates that the network was told stand in ``dataset.json`` and in the manifest.

    Where findings are asked for, ``dataset.json`` names those of each image, their regions are written to
    ``regionsTr``, and the image of the anatomy alone, from which it was made, to ``anatomyTr``.

    Args:
        generator: from :func:`monai_segdiff.generation.load_generator`.
        masks: from :func:`monai_segdiff.generation.collect_masks`, or, with a similarity,
            :func:`~monai_segdiff.generation.collect_pairs`.
        output: folder for ``imagesTr``, ``labelsTr``, ``dataset.json``, ``manifest.json`` and
            ``manifest.seconds.json``. What is there already, made with the same arguments, is not made again.
        per_mask: images for each mask, at least 1.
        batch_size: images, or windows of one that is larger than the network's, that are sampled at once.
        drop_classes: names of classes to take out of every mask, as class ablation does in training.
        drop_fill: what their pixels become: ``"parent"``, the class around them, or ``"background"``.
        covariates: what the network is told of the patient or image, by name, such as ``{"age": 60, "sex": "F"}``;
            None as a value makes one unknown. Those not named are as the data set of the masks says of each case, and
            unknown where it says nothing.
        similarity: how far each image is drawn to the real image of its case.
        pathology: which findings the images are to show, and where; for a generator that knows findings.
        accept: which images are kept; others are drawn again.
        dicom: how to write each pair as a DICOM series and segmentation, too, to ``dicom/<sample>``.
        file_format: ``"nifti"``, ``"png"``, ``"nrrd"`` or ``"mha"``, of images and label maps; by default that of each
            label map where it can be written, else NIfTI.
        overwrite: remove first what another run has generated in the folder.
        progress: show a progress bar.

    Returns:
        The data set; everything is in its split ``training``.

    Warns:
        UserWarning: of what cannot be right: a field of view that the training never saw, classes that are too small
            for the network's grid.
        UserWarning: of covariates outside what the generator was trained on.

    Raises:
        ValueError: if a mask does not fit the generator or the format, the folder holds something that was made
            otherwise, or no image at all was accepted.
        OSError: if a file cannot be written; samples that were finished stay, and the next run goes on from there.
    """
    if per_mask < 1 or batch_size < 1:
        raise ValueError(
            f"per_mask (--per-mask) and batch_size (--batch-size) must be at least 1, got {per_mask} and {batch_size}"
        )
    parts: list[Shaping | None] = [  # their order is that of checks, manifest and records
        DroppedClasses(tuple(drop_classes), drop_fill) if drop_classes else None,
        Covariates(dict(covariates or {})) if covariates or generator.covariates else None,
        similarity,
        pathology,
        accept,
        dicom,
    ]
    if file_format is not None and file_format not in FORMATS:
        raise ValueError(f"file_format (--format) must be one of {', '.join(FORMATS)}, got {file_format!r}")
    job = GenerationJob(
        generator,
        masks,
        Path(output),
        per_mask,
        [part for part in parts if part is not None],
        batch_size,
        None if file_format is None else FORMATS[file_format],
    )
    fill_folder(
        job.root,
        job.header,
        job.number,
        job.files,
        job.make,
        job.finish,
        batch_size=batch_size,
        overwrite=overwrite,
        progress=progress,
    )
    for part in job.parts:
        part.finish(job)
    return read_dataset(job.root)
