"""Phantom populations written to disk as data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_segdiff.data.build import build_once
from monai_segdiff.data.layout import SegmentationDataset
from monai_segdiff.data.phantoms.axial import AxialPhantom
from monai_segdiff.data.phantoms.breast import (
    BREAST_PHANTOM_CLASSES,
    BREAST_PHANTOM_PARENTS,
    BREAST_PHANTOM_RANGE,
    BreastPhantom,
)
from monai_segdiff.data.phantoms.ct import CT_PHANTOM_CLASSES, CT_PHANTOM_RANGE, CTPhantom
from monai_segdiff.data.phantoms.population import describe_population, patient_seeds, write_case

__all__ = ["make_breast_phantoms", "make_ct_phantoms"]


def make_ct_phantoms(
    root: str | Path,
    patients: int = 60,
    size: int | Sequence[int] = 64,
    spatial_dims: int = 2,
    slices_per_patient: int = 12,
    seed: int = 0,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    progress: bool = True,
) -> SegmentationDataset:
    """Write a population of abdominal CT phantoms as a data set, split by patient.

    Images are NIfTI in HU, int16, label maps uint8, both with an RAS affine in mm. The folder appears complete or not
    at all; a second call with the same arguments returns what is there.

    Args:
        root: folder to create.
        patients: number of patients.
        size: pixels per axis: one number, or one per axis.
        spatial_dims: 2 for axial slices, 3 for one volume per patient.
        slices_per_patient: number of slices where `spatial_dims` is 2.
        seed: determines every patient.
        fractions: shares of patients for training, validation and test.
        progress: whether to show a progress bar.

    Returns:
        The data set.

    Raises:
        ValueError: if an argument is out of range.
        FileExistsError: if the folder holds something else.
        OSError: if it cannot be written.
    """
    return _make_phantoms(
        root,
        CTPhantom,
        {"patients": patients, "size": size, "seed": seed, "fractions": fractions},
        spatial_dims,
        slices_per_patient,
        progress,
        dtype=np.int16,
        name="Abdominal CT phantoms",
        modality="CT",
        classes=dict(CT_PHANTOM_CLASSES),
        parents={name: "body" for name in CT_PHANTOM_CLASSES if name != "body"},
        intensity_range=CT_PHANTOM_RANGE,
    )


def make_breast_phantoms(
    root: str | Path,
    patients: int = 60,
    size: int | Sequence[int] = 64,
    spatial_dims: int = 2,
    slices_per_patient: int = 12,
    seed: int = 0,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    progress: bool = True,
) -> SegmentationDataset:
    """Write a population of breast MRI phantoms as a data set, split by patient.

    Images are NIfTI, float32, in the range 0..1 that `prepare --percentiles` gives scans, label maps uint8, both with
    an RAS affine in mm. The folder appears complete or not at all; a second call with the same arguments returns what
    is there.

    Args:
        root: folder to create.
        patients: number of patients.
        size: pixels per axis: one number, or one per axis.
        spatial_dims: 2 for axial slices, 3 for one volume per patient.
        slices_per_patient: number of slices where `spatial_dims` is 2.
        seed: determines every patient.
        fractions: shares of patients for training, validation and test.
        progress: whether to show a progress bar.

    Returns:
        The data set; its classes are `BREAST_PHANTOM_CLASSES`.

    Raises:
        ValueError: if an argument is out of range.
        FileExistsError: if the folder holds something else.
        OSError: if it cannot be written.
    """
    return _make_phantoms(
        root,
        BreastPhantom,
        {"patients": patients, "size": size, "seed": seed, "fractions": fractions},
        spatial_dims,
        slices_per_patient,
        progress,
        dtype=np.float32,
        name="Breast MRI phantoms",
        modality="MR",
        classes=dict(BREAST_PHANTOM_CLASSES),
        parents=dict(BREAST_PHANTOM_PARENTS),
        intensity_range=BREAST_PHANTOM_RANGE,
    )


def _make_phantoms(
    root: str | Path,
    kind: type[CTPhantom] | type[BreastPhantom],
    arguments: dict[str, Any],
    spatial_dims: int,
    slices_per_patient: int,
    progress: bool,
    dtype: type[np.generic],
    **facts: Any,
) -> SegmentationDataset:
    """A population of one kind; `facts` are what the data set says of itself."""
    patients, size, seed, fractions = arguments.values()
    shape = (size,) * spatial_dims if isinstance(size, int) else tuple(size)
    if spatial_dims not in (2, 3) or len(shape) != spatial_dims:
        raise ValueError(f"spatial_dims must be 2 or 3 and match size, got {spatial_dims} and size {size}")
    if patients < 1 or (spatial_dims == 2 and slices_per_patient < 1):
        raise ValueError(f"need at least one patient and one slice, got {patients} and {slices_per_patient}")
    settings = {"phantom": kind.__name__, **arguments, "size": list(shape), "fractions": list(fractions)}
    if spatial_dims == 2:
        settings["slices_per_patient"] = slices_per_patient

    def build(folder: Path) -> SegmentationDataset:
        cases = []
        for number, own_seed in patient_seeds(patients, seed, facts["name"], progress):
            phantom: AxialPhantom = kind(own_seed)
            patient = f"phantom{number:04d}"
            positions = phantom.slice_positions(slices_per_patient) if spatial_dims == 2 else [None]
            for index, position in enumerate(positions):
                name = patient if position is None else f"{patient}_slice{index:03d}"
                pixels, labels = phantom.render(shape, position)
                pixels = (pixels.round() if dtype is np.int16 else pixels).astype(dtype)
                cases.append(write_case(folder, name, patient, pixels, labels, phantom.affine(shape, position)))
        facts.update(spatial_dims=spatial_dims, settings=settings)
        return describe_population(folder, cases, fractions, seed, **facts)

    return build_once(root, settings, build)
