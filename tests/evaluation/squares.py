"""Images in which squares stand for findings: a bright one and a dark one, in a gray disc."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from monai_segdiff.data import Case, SegmentationDataset, write_dataset
from monai_segdiff.data.nifti import save_nifti

FINDINGS = ("bright", "dark")
SIZE, SIDE = 16, 4
STEP = {"bright": 0.3, "dark": -0.3}


def picture(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image in 0..1 without findings, and its label map."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    mask = (x**2 + y**2 < rng.uniform(6.5, 7.5) ** 2).astype(np.uint8)
    return 0.35 + 0.15 * mask + rng.normal(0, 0.01, mask.shape), mask


def squares(rng: np.random.Generator, names: tuple[str, ...]) -> np.ndarray:
    """Region map: a square for each name, one above the other, 1 + k for the k-th of all findings."""
    region = np.zeros((SIZE, SIZE), np.uint8)
    for name in names:
        k = FINDINGS.index(name)
        row, column = rng.integers(3, 5) + 5 * k, rng.integers(3, 9)
        region[row : row + SIDE, column : column + SIDE] = 1 + k
    return region


def shown(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The image with the findings that the region map holds."""
    steps = np.array([0.0, *(STEP[name] for name in FINDINGS)])
    return image + steps[region]


def write_squares(
    root: Path,
    splits: Mapping[str, int],
    names: Callable[[int], tuple[str, ...] | None],
    seed: int = 0,
    *,
    regions: bool = True,
    prefix: str = "p",
) -> SegmentationDataset:
    """A data set of one image a patient; `names` says what the i-th of each split shows."""
    rng = np.random.default_rng(seed)
    cases: dict[str, list[Case]] = {}
    for split, number in splits.items():
        for i in range(number):
            image, mask = picture(rng)
            found = names(i)
            region = squares(rng, found or ())
            name = f"{prefix}_{split}_{i:03d}"
            files = [root / folder / f"{name}.nii.gz" for folder in ("imagesTr", "labelsTr", "regionsTr")]
            for file, array in zip(files, (shown(image, region).astype(np.float32), mask, region), strict=True):
                save_nifti(file, array, np.eye(4))
            case = Case(name, files[0], files[1], name, found, files[2] if found and regions else None)
            cases.setdefault(split, []).append(case)
    dataset = SegmentationDataset(root, root.name, {"disc": 1}, cases, (0.0, 1.0), 2, "by patient", findings=FINDINGS)
    write_dataset(root, dataset)
    return dataset


def in_turn(i: int) -> tuple[str, ...]:
    """Nothing, each finding, and both, in turn."""
    return ((), ("bright",), ("dark",), ("bright", "dark"))[i % 4]
