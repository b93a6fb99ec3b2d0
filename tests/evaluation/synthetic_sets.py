"""Synthetic data sets whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from monai_segdiff.data import Case, SegmentationDataset, write_dataset
from monai_segdiff.data.nifti import save_nifti

Change = Callable[[int, np.ndarray], np.ndarray]


def unchanged(index: int, image: np.ndarray) -> np.ndarray:
    return image


def write_synthetic(root: Path, real_set: SegmentationDataset, change: Change = unchanged) -> Path:
    """Copies of the held-out images, changed on purpose, as a data set such as `generate` writes."""
    cases = []
    for index, case in enumerate(real_set.splits["validation"] + real_set.splits["test"]):
        image, label = nib.load(case.image), nib.load(case.label)
        files = [root / folder / f"{case.id}_000.nii.gz" for folder in ("imagesTr", "labelsTr")]
        save_nifti(files[0], change(index, image.get_fdata()).astype(np.float32), image.affine)
        save_nifti(files[1], np.asarray(label.dataobj), label.affine)
        cases.append(Case(f"{case.id}_000", *files, case.patient))
    synthetic = SegmentationDataset(
        root, "copies", dict(real_set.classes), {"training": cases}, (-200.0, 300.0), real_set.spatial_dims
    )
    write_dataset(root, synthetic)
    return root
