from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_segdiff.data import write_dicom_seg, write_dicom_series
from monai_segdiff.generation import TrainedGenerator, collect_masks, generate_dataset, load_generator


@pytest.fixture(scope="session")
def load(trained_bundle) -> Callable[..., TrainedGenerator]:
    """Load the tiny generator, in float32 unless asked otherwise."""

    def load(**overrides) -> TrainedGenerator:
        return load_generator(trained_bundle.root, overrides={"amp_dtype": "float32", **overrides})

    return load


@pytest.fixture(scope="session")
def masks(trained_bundle):
    return collect_masks(trained_bundle.phantoms)


@pytest.fixture(scope="session")
def reference(tmp_path_factory, load, masks) -> Path:
    """Three images for each of four masks, in one go."""
    root = tmp_path_factory.mktemp("reference") / "synthetic"
    generate_dataset(load(), masks, root, per_mask=3, progress=False)
    return root


@pytest.fixture(scope="session")
def differences() -> Callable[[Path, Path], float]:
    """Largest difference between the images of two folders, as a share of their range; names and labels must agree."""
    import nibabel as nib

    def differences(first: Path, second: Path) -> float:
        names = [sorted(path.name for path in (root / "imagesTr").iterdir()) for root in (first, second)]
        assert names[0] == names[1]
        largest = 0.0
        for name in names[0]:
            assert (first / "labelsTr" / name).read_bytes() == (second / "labelsTr" / name).read_bytes()
            one, other = (torch.from_numpy(nib.load(root / "imagesTr" / name).get_fdata()) for root in (first, second))
            largest = max(largest, float((one - other).abs().max()) / 500.0)
        return largest

    return differences


@pytest.fixture
def write_label_seg() -> Callable[..., Path]:
    """Write a DICOM segmentation with a box of the first class, and in the folder `series` the images it lies on."""

    def write(file: Path, classes: dict[str, int], shape: tuple[int, ...] = (16, 16)) -> Path:
        labels = np.zeros(shape, dtype=np.uint8)
        labels[(slice(4, 9), slice(5, 10), slice(1, 3))[: len(shape)]] = 1
        affine = np.diag([2.0, 2.0, 2.5, 1.0])
        affine[:3, 3] = -16, -16, 100
        folder = file.parent / "series"
        shutil.rmtree(folder, ignore_errors=True)
        files = write_dicom_series(100.0 * labels, affine, folder, "CT")
        return write_dicom_seg(labels, affine, classes, files, file)

    return write
