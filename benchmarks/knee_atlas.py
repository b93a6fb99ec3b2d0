"""Radiographs of an anatomy that no network has seen: the SPL knee atlas, a label map, made into a CT-like volume."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.common import say
from monai_segdiff.data import (
    DRR_CLASSES,
    DRR_PARENTS,
    DRR_RANGE,
    SegmentationDataset,
    labels_to_ct,
    read_tissues,
    write_views,
)
from monai_segdiff.data.build import build_once
from monai_segdiff.transforms import ProjectDRR

__all__ = ["make_atlas"]

_COARSE = 4.0  # mm, for a look at how wide the body is


def make_atlas(folder: Path, views: int, size: int) -> SegmentationDataset | None:
    """Make the atlas's radiographs, all of them for test, seen as the phantoms are.

    Args:
        folder: of the data set.
        views: number of views, evenly spread over a full turn.
        size: pixels per side of the detector.

    Returns:
        The data set, or None where `SEGDIFF_DATA` does not name a folder with the atlas.
    """
    file = Path(os.environ.get("SEGDIFF_DATA", "")) / "knee" / "spl_knee_atlas" / "seg.nii.gz"
    if not file.is_file():
        say("no atlas: set SEGDIFF_DATA to the folder that holds knee/spl_knee_atlas")
        return None
    settings = {"source": "SPL knee atlas", "views": views, "size": size}

    def build(root: Path) -> SegmentationDataset:
        labels = nib.load(file)
        array, tissues = np.asarray(labels.dataobj), read_tissues("spl_knee_atlas")
        width = _COARSE * max(labels_to_ct(array, labels.affine, tissues, spacing=_COARSE).shape[1:3])
        volume = labels_to_ct(array, labels.affine, tissues, spacing=width / size)  # as finely as the phantoms
        projector = ProjectDRR([360 * index / views for index in range(views)], detector_shape=(size, size))
        cases = write_views(root, volume, "atlas", projector)
        return SegmentationDataset(
            root=root,
            name="Radiographs of the SPL knee atlas",
            classes=dict(DRR_CLASSES),
            splits={"test": cases},
            intensity_range=DRR_RANGE,
            spatial_dims=2,
            split_kind="by patient",
            modality="DRR",
            licence="3D Slicer licence",
            attribution="SPL knee atlas, Surgical Planning Laboratory",
            settings=settings,
            parents=dict(DRR_PARENTS),
        )

    return build_once(folder, settings, build)
