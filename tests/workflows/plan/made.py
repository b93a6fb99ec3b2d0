"""Sources of which everything is known beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.data.preparation.source import Asked, Source
from monai_segdiff.workflows.plan.machine import Machine

CPU = Machine(cores=2, threads=1, memory=8 * 2**30)
GPU = Machine(cores=8, threads=8, memory=64 * 2**30, gpu="a GPU", gpu_memory=48 * 2**30)


def volumes(
    folder: Path,
    fill: Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]],
    *,
    number: int = 4,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    classes: Sequence[str] = ("outer", "inner"),
    modality: str = "",
) -> Path:
    """A data set in the Decathlon's layout; `fill` gives image and label map of the n-th patient."""
    affine = np.diag([*spacing, 1.0])
    entries = []
    for n in range(number):
        image, label = fill(n, np.random.default_rng(n))
        for part, array in (("imagesTr", image), ("labelsTr", label)):
            save_nifti(folder / part / f"p{n}.nii.gz", array, affine)
        entries.append({"image": f"imagesTr/p{n}.nii.gz", "label": f"labelsTr/p{n}.nii.gz", "patient": f"P{n}"})
    content = {
        "name": "made",
        "labels": {"0": "background", **{str(i): name for i, name in enumerate(classes, start=1)}},
        "training": entries,
        **({"modality": {"0": modality}} if modality else {}),
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def nested(shape: Sequence[int] = (32, 40, 24)) -> np.ndarray:
    """A box of class 1 with a cube of 4 voxels of class 2 inside, both in the middle."""
    label = np.zeros(shape, np.uint8)
    middle = [n // 2 for n in shape]
    label[tuple(slice(m - 8, m + 8) for m in middle)] = 1
    label[tuple(slice(m - 2, m + 2) for m in middle)] = 2
    return label


def as_mr(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image whose scale is its own."""
    label = nested()
    return ((label * 40 + rng.random(label.shape) * 20) * 10.0**n).astype(np.float32), label


def as_ct(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A body of 0 HU with organs of 60 and 110 HU, in air."""
    shape = (48, 40, 24)
    image = np.full(shape, -1000.0)
    image[8:40, 8:32] = 0.0
    label = nested(shape)
    image[label == 1], image[label == 2] = 60.0, 110.0
    return np.round(image + rng.normal(0, 3, shape)).astype(np.int16), label


def pictures(folder: Path, number: int = 5, channels: int = 1) -> Path:
    """Gray pictures, 96 wide and 64 high, with a class in the middle."""
    for n in range(number):
        rng = np.random.default_rng(n)
        shape = (64, 96) if channels == 1 else (64, 96, channels)
        image = rng.integers(0, 256, shape).astype(np.uint8)
        label = np.zeros((64, 96), np.uint8)
        label[20:40, 30:60] = 1
        for part, array in (("images", image), ("labels", label)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / part / f"x{n}.png")
    return folder


def opened(folder: Path, **classes: int) -> Source:
    return Source.open(folder, Asked(classes=classes or None))
