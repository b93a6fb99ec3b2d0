"""What every population of phantoms shares: seeds of its patients, files of a case, and what its data set says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from monai_segdiff.data.layout import Case, SegmentationDataset
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.data.splits import split_cases

__all__ = ["describe_population", "patient_seeds", "write_case"]


def patient_seeds(patients: int, seed: int, what: str, progress: bool) -> Iterator[tuple[int, int]]:
    """Number and seed of every patient, with a progress bar.

    Args:
        patients: how many.
        seed: of the population.
        what: title of the progress bar.
        progress: whether to show it.
    """
    for number in tqdm(range(patients), desc=what, unit="patient", disable=not progress):
        # Far apart, so that data sets of different seeds share no patient.
        yield number, seed * 1_000_003 + number


def write_case(
    folder: Path,
    name: str,
    patient: str,
    image: NDArray[np.generic],
    labels: NDArray[np.generic],
    affine: NDArray[np.float64],
) -> Case:
    """Write an image and its label map to the folder of a data set.

    Args:
        folder: of the data set.
        name: of the case.
        patient: whose it is.
        image: in the dtype that it is to be stored in.
        labels: uint8.
        affine: of both.

    Returns:
        The case.
    """
    files = [folder / part / f"{name}.nii.gz" for part in ("imagesTr", "labelsTr")]
    for file, array in zip(files, (image, labels), strict=True):
        save_nifti(file, array, affine)
    return Case(name, files[0], files[1], patient)


def describe_population(
    folder: Path, cases: Sequence[Case], fractions: Sequence[float], seed: int, **facts: Any
) -> SegmentationDataset:
    """The data set of a population, split by patient.

    Args:
        folder: of the data set.
        cases: all of them.
        fractions: shares of patients for training, validation and test.
        seed: determines the split.
        facts: what else the data set says of itself.
    """
    splits, kind = split_cases(cases, fractions, seed)
    return SegmentationDataset(
        root=folder,
        splits=splits,
        split_kind=kind,
        licence="CC0 1.0",
        attribution="simulated; no patient data",
        **facts,
    )
