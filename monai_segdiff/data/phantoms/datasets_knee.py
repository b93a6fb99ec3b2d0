"""Knee phantoms written to disk: CT volumes with label maps, and data sets of their radiographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from monai.data import MetaTensor

from monai_segdiff.data.build import build_once
from monai_segdiff.data.layout import Case, SegmentationDataset
from monai_segdiff.data.phantoms.knee import KNEE_PHANTOM_CLASSES, KneePhantom
from monai_segdiff.data.phantoms.population import describe_population, patient_seeds, write_case
from monai_segdiff.data.radiographs.views import DRR_CLASSES, DRR_PARENTS, DRR_RANGE, write_views
from monai_segdiff.transforms import ProjectDRR

__all__ = ["make_knee_phantoms", "make_knee_volumes"]

_RANGE = (-1024.0, 2000.0)


def make_knee_volumes(
    root: str | Path,
    patients: int = 10,
    spacing: float = 2.0,
    seed: int = 0,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    progress: bool = True,
) -> SegmentationDataset:
    """Write CT volumes of knee phantoms with their label maps as a data set, split by patient.

    Images are NIfTI in HU, int16, label maps uint8, both with an RAS affine in mm. The folder appears complete or not
    at all; a second call with the same arguments returns what is there.

    Args:
        root: folder to create.
        patients: number of patients.
        spacing: voxel size in mm.
        seed: determines every patient.
        fractions: shares of patients for training, validation and test.
        progress: whether to show a progress bar.

    Returns:
        The data set; its classes are `KNEE_PHANTOM_CLASSES`.

    Raises:
        ValueError: if an argument is out of range.
        FileExistsError: if the folder holds something else.
        OSError: if it cannot be written.
    """
    if patients < 1 or not spacing > 0:
        raise ValueError(f"need at least one patient and a positive spacing, got {patients} and {spacing}")
    settings = {
        "phantom": "KneePhantom",
        "patients": patients,
        "spacing": spacing,
        "seed": seed,
        "fractions": list(fractions),
    }

    def build(folder: Path) -> SegmentationDataset:
        cases = []
        for number, own_seed in patient_seeds(patients, seed, "knee phantoms", progress):
            phantom, name = KneePhantom(own_seed), f"knee{number:04d}"
            hu, labels = phantom.render(spacing=spacing)
            affine = phantom.affine(spacing=spacing)
            cases.append(write_case(folder, name, name, hu.round().astype("int16"), labels, affine))
        return describe_population(
            folder,
            cases,
            fractions,
            seed,
            settings=settings,
            name="Knee CT phantoms",
            modality="CT",
            classes=dict(KNEE_PHANTOM_CLASSES),
            intensity_range=_RANGE,
            spatial_dims=3,
        )

    return build_once(root, settings, build)


def make_knee_phantoms(
    root: str | Path,
    patients: int = 55,
    views: int = 60,
    size: int = 64,
    seed: int = 0,
    fractions: Sequence[float] = (9 / 11, 1 / 11, 1 / 11),
    progress: bool = True,
) -> SegmentationDataset:
    """Write radiographs of knee phantoms as a data set, split by patient.

    Every patient is rendered with voxels as fine as the pixels of its views, and projected from angles evenly spread
    over a full turn. Files and geometry are those of `make_drr_dataset`. The folder appears complete or not at all; a
    second call with the same arguments returns what is there.

    Args:
        root: folder to create.
        patients: number of patients; the default is the number of volumes in arXiv 2404.03541.
        views: number of views per patient.
        size: pixels per side of the detector.
        seed: determines every patient.
        fractions: shares of patients for training, validation and test.
        progress: whether to show a progress bar.

    Returns:
        The data set; its classes are `DRR_CLASSES`.

    Raises:
        ValueError: if an argument is out of range.
        FileExistsError: if the folder holds something else.
        OSError: if it cannot be written.
    """
    if min(patients, views, size) < 1:
        raise ValueError(f"need at least one patient, view and pixel, got {patients}, {views} and {size}")
    projector = ProjectDRR([360 * index / views for index in range(views)], detector_shape=(size, size))
    settings = {
        "phantom": "KneePhantom",
        "patients": patients,
        "views": views,
        "size": size,
        "seed": seed,
        "fractions": list(fractions),
    }

    def build(folder: Path) -> SegmentationDataset:
        cases: list[Case] = []
        for number, own_seed in patient_seeds(patients, seed, "knee phantoms", progress):
            phantom = KneePhantom(own_seed)
            spacing = float(phantom.extent[1, 0] - phantom.extent[0, 0]) / size
            hu, _ = phantom.render(spacing=spacing)
            volume = MetaTensor(torch.from_numpy(hu)[None], affine=phantom.affine(spacing=spacing))
            details = {"side": phantom.side, "flexion": phantom.flexion, "rotation": phantom.rotation}
            cases += write_views(folder, volume, f"knee{number:04d}", projector, details=details)
        return describe_population(
            folder,
            cases,
            fractions,
            seed,
            settings=settings,
            name="Radiographs of knee phantoms",
            modality="DRR",
            classes=dict(DRR_CLASSES),
            parents=dict(DRR_PARENTS),
            intensity_range=DRR_RANGE,
            spatial_dims=2,
        )

    return build_once(root, settings, build)
