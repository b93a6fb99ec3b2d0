from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from monai_segdiff.data.nifti import save_nifti


@pytest.fixture
def make_pair(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Write an image and a label map (a box of 1 inside) and return them as a case."""

    def make(
        name: str = "p1",
        shape: tuple[int, ...] = (10, 12, 14),
        affine: np.ndarray | None = None,
        image: np.ndarray | None = None,
        label: np.ndarray | None = None,
        folder: str = "source",
    ) -> dict[str, str]:
        affine = np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else affine
        if label is None:
            label = np.zeros(shape, dtype=np.uint8)
            label[tuple(slice(n // 4, 3 * n // 4) for n in shape)] = 1
        if image is None:
            noise = np.random.default_rng(0).normal(0, 5, size=shape)
            image = (100.0 * label + noise).astype(np.float32)
        paths = {
            "image": tmp_path / folder / "imagesTr" / f"{name}.nii.gz",
            "label": tmp_path / folder / "labelsTr" / f"{name}.nii.gz",
        }
        save_nifti(paths["image"], image, affine)
        save_nifti(paths["label"], label, affine)
        return {**{key: str(path) for key, path in paths.items()}, "patient": name}

    return make
