"""From the label map of a DICOM segmentation to a synthetic image on its grid, by a trained bundle."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from tqdm.auto import tqdm

from monai_segdiff.data import read_dicom_seg
from monai_segdiff.data.dicom.seg import segment_labels
from monai_segdiff.generation import TrainedGenerator
from monai_segdiff.generation.own_grid import OwnGrid, draw
from monai_segdiff.integrations.deploy.matching import class_ids, match_segments
from monai_segdiff.integrations.deploy.options import GenerationOptions
from monai_segdiff.transforms import CovariateValue

__all__ = ["read_labels", "synthesize", "told_covariates"]

_BATCH = 8
_LOG = logging.getLogger(__name__)


def read_labels(
    file: Path, generator: TrainedGenerator, options: GenerationOptions
) -> tuple[MetaTensor, dict[str, int]]:
    """Read a DICOM segmentation in the vocabulary of a bundle.

    Args:
        file: the SEG object.
        generator: whose classes are wanted.
        options: which segments are which classes.

    Returns:
        The label map on the segmentation's own grid, with its RAS affine, see `read_dicom_seg`; and the label ids of
        the classes that it has, in the bundle's order.

    Raises:
        ValueError: if the file is damaged, or its segments are no classes of the bundle or overlap.
    """
    ids = class_ids(generator.classes)
    segments = segment_labels(file)
    if not segments:
        raise ValueError(f"{file} names no segments, so a part of it is missing: copy it again")
    names = match_segments(segments, list(ids), options.names, options.drop_others, file)
    labels, _ = read_dicom_seg(file, ids, names=names, precedence=options.precedence, drop_others=options.drop_others)
    present = set(names.values())
    return labels, {name: index for name, index in ids.items() if name in present}


def told_covariates(generator: TrainedGenerator, options: GenerationOptions) -> dict[str, CovariateValue]:
    """What the network is told of the patient or image, checked against what it knows.

    Args:
        generator: what generates.
        options: with the covariates that are asked for.

    Returns:
        Name to value; a number outside what the bundle was trained on is logged.

    Raises:
        ValueError: if the bundle knows no covariates, or not one of these; lists those that it knows.
    """
    if (told := options.told()) is None:
        return {}
    given = told.header(generator)["given"]
    for remark in told.outside(generator):
        _LOG.warning("%s", remark)
    return dict(given)


def synthesize(
    generator: TrainedGenerator,
    labels: MetaTensor,
    spacing: Sequence[float] | None = None,
    *,
    known: Sequence[str] | None = None,
    covariates: Mapping[str, CovariateValue] | None = None,
    progress: bool = True,
) -> NDArray[np.float32]:
    """Generate an image for a label map, on its grid.

    It is drawn as `generate_dataset` draws the first of its samples: brought onto the bundle's grid, for a bundle of
    pictures slice by slice, and the images back to its own. The noise of slice k depends on nothing but the seed and k.

    Args:
        generator: what generates.
        labels: (1, X, Y, Z) or (1, X, Y), ids of the bundle's classes, with its RAS affine.
        spacing: voxel size in mm of the bundle's training images, where its card does not say it or another one is
            wanted.
        known: names of the classes that the label map would show; of the others the image shows what the bundle has
            learned to go with them. All by default.
        covariates: what the network is told of the patient or image, see :func:`told_covariates`; nothing by default.
        progress: whether to show a progress bar.

    Returns:
        The image, of the label map's spatial shape, in the training images' intensities; of several channels, these
        come first.

    Raises:
        ValueError: if the label map does not fit the bundle.
    """
    if spacing is not None:
        generator = replace(generator, grid=replace(generator.grid, spacing=tuple(spacing)))
    flags = None if known is None else [name in known for name in generator.classes]
    if flags is not None and not all(flags):
        _warn_of_unknown(generator, flags)
    own = replace(OwnGrid.of_labels(labels, generator, flags), covariates=dict(covariates or {}))
    if own.remark:
        _LOG.warning("%s", own.remark)
    with tqdm(total=own.number, desc="generate", unit="image", disable=not progress) as bar:
        (drawn,) = draw([own], [0], _BATCH, tell=bar.update)
    image = drawn.image.cpu().numpy().reshape(len(drawn.image), *labels.shape[1:])
    return image[0] if len(image) == 1 else image


def _warn_of_unknown(generator: TrainedGenerator, known: Sequence[bool]) -> None:
    names = ", ".join(name for name, flag in zip(generator.classes, known, strict=True) if not flag)
    _LOG.info("these classes have no segment, %s chooses where they are: %s", generator.name, names)
    if generator.full_prob is not None and generator.full_prob >= 1.0:
        _LOG.warning("%s was trained on whole masks only (full_prob 1), never on one without %s", generator.name, names)
