"""From the label map of a DICOM segmentation to a synthetic image on its grid, by a trained bundle."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from tqdm.auto import tqdm

from monai_segdiff.data import read_dicom_seg
from monai_segdiff.data.dicom.seg import segment_labels
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.generation import TrainedGenerator
from monai_segdiff.integrations.deploy.grid import FittedLabels, fit_labels
from monai_segdiff.integrations.deploy.matching import class_ids, match_segments
from monai_segdiff.integrations.deploy.options import GenerationOptions
from monai_segdiff.transforms import channel_ranges, clamp_to_range

__all__ = ["read_labels", "synthesize"]

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


def synthesize(
    generator: TrainedGenerator,
    labels: MetaTensor,
    spacing: Sequence[float] | None = None,
    *,
    known: Sequence[str] | None = None,
    progress: bool = True,
) -> NDArray[np.float32]:
    """Generate an image for a label map, on its grid.

    The label map is brought to the size that the bundle has, for a bundle of pictures slice by slice, and the images
    back to its own. Slice k has the sample index k, so its noise depends on nothing but the seed and k.

    Args:
        generator: what generates.
        labels: (1, X, Y, Z) or (1, X, Y), ids of the bundle's classes, with its RAS affine.
        spacing: voxel size in mm of the bundle's training images, see `fit_labels`.
        known: names of the classes that the label map would show; of the others the image shows what the bundle has
            learned to go with them. All by default.
        progress: whether to show a progress bar.

    Returns:
        The image, of the label map's spatial shape, in the training images' intensities; of several channels, these
        come first.

    Raises:
        ValueError: if the label map does not fit the bundle.
    """
    fitted = fit_labels(labels, generator.image_size, spacing)
    if lost := _lost(np.asarray(labels), fitted, generator):
        _LOG.warning("these classes are too small for the bundle's grid and missing in the image: %s", ", ".join(lost))
    flags = None if known is None else [name in known for name in generator.classes]
    if flags is not None and not all(flags):
        _warn_of_unknown(generator, flags)
    images = []
    bar = tqdm(total=len(fitted.labels), desc="generate", unit="image", disable=not progress)
    with tempfile.TemporaryDirectory(prefix="segdiff-") as folder, bar:
        for start in range(0, len(fitted.labels), _BATCH):
            indices = list(range(start, min(start + _BATCH, len(fitted.labels))))
            conditions = [_condition(generator, fitted, index, flags, Path(folder)) for index in indices]
            images.append(generator.sample(torch.stack(conditions), indices).cpu().numpy())
            bar.update(len(indices))
    made = np.concatenate(images)
    layers = []
    for index, (low, high) in enumerate(channel_ranges(generator.intensity_range, made.shape[1])):
        layer = fitted.onto_source(made[:, index], fill=low)
        # Interpolation is a weighted mean, whose rounded weights may sum to a little more than one.
        layers.append(clamp_to_range(torch.from_numpy(layer), low, high).numpy().reshape(labels.shape[1:]))
    return layers[0] if len(layers) == 1 else np.stack(layers)


def _condition(
    generator: TrainedGenerator, fitted: FittedLabels, index: int, known: Sequence[bool] | None, folder: Path
) -> torch.Tensor:
    file = save_nifti(folder / f"slice{index:04d}.nii.gz", fitted.labels[index], fitted.affines[index])
    return generator.condition(file, known)


def _warn_of_unknown(generator: TrainedGenerator, known: Sequence[bool]) -> None:
    names = ", ".join(name for name, flag in zip(generator.classes, known, strict=True) if not flag)
    _LOG.info("these classes have no segment, %s chooses where they are: %s", generator.name, names)
    if generator.full_prob is not None and generator.full_prob >= 1.0:
        _LOG.warning("%s was trained on whole masks only (full_prob 1), never on one without %s", generator.name, names)


def _lost(labels: NDArray[np.generic], fitted: FittedLabels, generator: TrainedGenerator) -> list[str]:
    """Classes of a label map that are lost in resampling."""
    gone = set(np.unique(labels).tolist()) - set(np.unique(fitted.labels).tolist())
    return [name for name, index in class_ids(generator.classes).items() if index in gone]
