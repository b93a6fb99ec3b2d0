from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_segdiff.data import (
    CT_PHANTOM_CLASSES,
    CTPhantom,
    SyntheticInfo,
    prepare_dataset,
    write_dicom_seg,
    write_dicom_series,
)
from monai_segdiff.data.nifti import save_nifti

# MONAI Deploy has an environment of its own, which `make test-deploy` makes; elsewhere what does without it is tested.
HAS_DEPLOY = importlib.util.find_spec("holoscan") is not None
WITHOUT_DEPLOY = {
    f"test_{subject}.py" for subject in ("grid", "matching", "options", "output", "package_files", "synthesis")
}
collect_ignore = (
    [] if HAS_DEPLOY else [f.name for f in Path(__file__).parent.glob("test_*.py") if f.name not in WITHOUT_DEPLOY]
)


def pytest_report_header() -> str | None:
    return None if HAS_DEPLOY else "MONAI Deploy is not installed: make test-deploy runs the tests of its application"


def _trained_on_livers(folder: Path, make_bundle: Callable[..., Any], size: list[int]) -> Any:
    """``ct_organ`` after a training of seconds on the livers of phantoms, its only class."""
    cases = []
    for number in range(6):
        phantom, shape = CTPhantom(number), (24, 24, 6)
        image, labels = phantom.render(shape)
        files = {part: folder / f"{part}{number}.nii.gz" for part in ("image", "label")}
        save_nifti(files["image"], image, phantom.affine(shape))
        save_nifti(files["label"], labels, phantom.affine(shape))
        cases.append({**files, "patient": f"p{number}"})
    prepare_dataset(
        cases, folder / "prepared", {"liver": CT_PHANTOM_CLASSES["liver"]}, spatial_dims=len(size), size=size,
        intensity_range=(-200.0, 300.0), fractions=(0.5, 0.25, 0.25), drop_other_labels=True, progress=False,
    )  # fmt: skip
    options = {"image_size": size, "spatial_dims": len(size), "dataset_dir": str(folder / "prepared")}
    bundle = make_bundle(folder, **options)
    bundle.run()
    return bundle


@pytest.fixture(scope="session")
def liver_bundle(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Any]) -> Any:
    """A trained bundle of 16x16 slices whose only class is the liver: not to be changed."""
    return _trained_on_livers(tmp_path_factory.mktemp("liver"), make_bundle, [16, 16])


@pytest.fixture(scope="session")
def liver_bundle_3d(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Any]) -> Any:
    """The same for volumes of 16x16x8."""
    return _trained_on_livers(tmp_path_factory.mktemp("liver3d"), make_bundle, [16, 16, 8])


def write_study(folder: Path, *names: str) -> list[Path]:
    """A SEG object ``seg.dcm`` with a segment for each name, one within the other, and the CT that it lies on."""
    affine = np.array([[-2.0, 0, 0, 40], [0, -2.0, 0, 30], [0, 0, 5.0, -10], [0, 0, 0, 1.0]])
    labels = np.zeros((40, 32, 5), dtype=np.uint8)
    for number in range(len(names)):
        labels[8 + number : 30 - number, 6 + number : 24 - number, 1:4] = number + 1
    info = SyntheticInfo(patient_id="P1")
    series = write_dicom_series(np.zeros(labels.shape), affine, folder / "ct", "CT", info=info)
    classes = {name: number for number, name in enumerate(names, start=1)}
    return [write_dicom_seg(labels, affine, classes, series, folder / "seg.dcm", info=info), *series]


@pytest.fixture
def dcmqi(segdiff_data: Path) -> Path:
    """A CT of three slices with segmentations, ``liver.dcm`` among them."""
    folder = segdiff_data / "dicom_io" / "dcmqi"
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist")
    return folder
