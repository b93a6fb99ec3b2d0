"""Images follow the covariates that the network is told: here the age is the image's intensity."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from monai_segdiff.__main__ import main
from monai_segdiff.data import read_dataset
from monai_segdiff.generation import Covariates, TrainedGenerator, collect_masks, generate_dataset, load_generator

AGES = tuple(range(20, 84, 2))  # years
SIZE = 16


@pytest.fixture(scope="module")
def aging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blocks as bright as their patients are old, all under one mask, prepared; every fourth age is unknown."""
    root = tmp_path_factory.mktemp("aging")
    label = np.zeros((SIZE, SIZE), dtype=np.uint8)
    label[4:12, 4:12] = 1
    lines = ["id,age,sex"]
    for number, age in enumerate(AGES):
        image = np.where(label, np.float32(age), np.float32(10))
        for part, array in (("images", image), ("labels", label)):
            (root / "raw" / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), root / "raw" / part / f"p{number}.nii.gz")
        lines.append(f"p{number},{'' if number % 4 == 3 else age},{'FM'[number % 2]}")
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    arguments = ["--classes", "block=1", "--size", str(SIZE), "--intensity-range", "0", "100"]
    arguments += ["--covariates", "age", "sex", "--covariates-table", str(root / "table.csv")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["prepare", str(root / "raw"), str(root / "set"), *arguments]) == 0
    return root / "set"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Any], aging: Path) -> TrainedGenerator:
    tiny = make_bundle(tmp_path_factory.mktemp("bundle"), dataset_dir=str(aging))
    tiny.run(
        batch_size=16, images_per_epoch=1600, max_images=6400, num_steps=8, val_interval=4, preview_interval=4,
        learning_rate=0.004, cooldown=0.5,
    )
    return load_generator(tiny.root, overrides={"amp_dtype": "float32"})


def brightness(folder: Path) -> list[float]:
    return [float(nib.load(file).get_fdata()[5:11, 5:11].mean()) for file in sorted((folder / "imagesTr").iterdir())]


def test_brightness_follows_the_age_that_is_asked_for(trained: TrainedGenerator, aging: Path, tmp_path: Path) -> None:
    masks = collect_masks(aging)
    means = {}
    for age in (30, 50, 70):
        generate_dataset(trained, masks, tmp_path / str(age), covariates={"age": age}, progress=False)
        means[age] = np.mean(brightness(tmp_path / str(age)))
    print(means)
    for age, mean in means.items():
        assert mean == pytest.approx(age, abs=8)
