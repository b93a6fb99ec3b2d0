"""Utility: synthetic images as good as real ones, worthless ones, and who may serve for what."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from monai_segdiff.data import make_ct_phantoms, read_dataset, write_dataset
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.evaluation import evaluate

from ..synthetic_sets import write_synthetic

SHORT = {"segmenter_images": 640, "utility": True, "utility_seeds": 2, "progress": False}


@pytest.fixture(scope="module")
def new_patients(tmp_path_factory):
    """A data set of 12 further patients: as good as synthetic images can be."""
    root = tmp_path_factory.mktemp("new") / "data"
    make_ct_phantoms(root, 12, 32, 2, 4, seed=7, fractions=(1.0, 0.0, 0.0), progress=False)
    dataset = read_dataset(root)
    # Otherwise the patients' names are those of the real ones.
    dataset.splits["training"] = [
        type(case)(case.id, case.image, case.label, f"new {case.patient}") for case in dataset.splits["training"]
    ]
    write_dataset(root, dataset)
    return root


@pytest.mark.slow
def test_new_phantoms_are_as_useful_as_the_real_ones_and_noise_is_not(real, new_patients, tmp_path):
    good = evaluate(real, new_patients, tmp_path / "good", cache_dir=tmp_path / "cache", **SHORT)
    difference = good.cell("utility", "synthetic_difference", "mean")
    assert difference.value == pytest.approx(
        good.cell("utility", "synthetic", "mean").value - good.cell("utility", "real", "mean").value, abs=1e-6
    )
    assert difference.low < difference.value < difference.high
    assert abs(difference.value) < 0.12
    assert good.cell("utility", "both", "images") == 96
    assert good.cell("utility", "real", "class liver").n > 10
    assert "trained on 48 real images, 48 synthetic images, or both" in good.sections[-1].notes[0]
    assert len(list((tmp_path / "cache").glob("*.pt"))) == 6

    rng = np.random.default_rng(0)
    dataset = read_dataset(new_patients)
    for case in dataset.splits["training"]:
        image = nib.load(case.image)
        save_nifti(case.image, rng.normal(50, 100, image.shape).astype(np.float32), image.affine)
    bad = evaluate(real, new_patients, tmp_path / "bad", cache_dir=tmp_path / "cache", **SHORT)
    assert bad.cell("utility", "synthetic_difference", "mean").high < -0.1
    assert bad.cell("utility", "real", "mean") == good.cell("utility", "real", "mean")


@pytest.mark.slow
def test_masks_of_test_patients_are_not_trained_on(real, real_set, segmenter_file, tmp_path):
    synthetic = write_synthetic(tmp_path / "s", real_set)
    report = evaluate(real, synthetic, tmp_path / "r", segmenter=segmenter_file, **SHORT)
    cell = report.cell("utility", "synthetic", "mean")
    assert "generate images for training masks, too (generate --split training)" in cell.reason
    assert any("every synthetic image was made from a mask of a held-out patient" in w for w in report.warnings)


@pytest.mark.slow
def test_masks_of_validation_patients_leave_those_of_test(real, real_set, segmenter_file, tmp_path):
    part = read_dataset(real)
    part.splits["test"] = []
    synthetic = write_synthetic(tmp_path / "s", part)
    options = {**SHORT, "segmenter_images": 32, "utility_seeds": 1}
    report = evaluate(real, synthetic, tmp_path / "r", segmenter=segmenter_file, **options)
    assert report.cell("utility", "synthetic", "mean").n == len(real_set.splits["test"])
    assert any("1 training of each kind: take 3 or more" in warning for warning in report.warnings)
    with pytest.raises(ValueError, match="at least one seed"):
        evaluate(real, synthetic, tmp_path / "x", segmenter=segmenter_file, **{**options, "utility_seeds": 0})
