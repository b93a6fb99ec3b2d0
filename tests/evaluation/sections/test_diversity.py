"""Diversity in the report: a generator that always gives the same image, and one that does not."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from monai_segdiff.data import Case, read_dataset, write_dataset
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.evaluation import evaluate
from monai_segdiff.evaluation.sections.diversity import _why

from ..synthetic_sets import write_synthetic


def write_several(root, real_set, per_mask: int, noise: float):
    """Several images of each mask: the real one with noise."""
    rng = np.random.default_rng(0)
    write_synthetic(root, real_set)
    dataset = read_dataset(root)
    cases = []
    for case in dataset.splits["training"]:
        image = nib.load(case.image)
        for k in range(per_mask):
            file = root / "imagesTr" / f"{case.id[:-4]}_{k:03d}.nii.gz"
            label = root / "labelsTr" / file.name
            label.write_bytes(case.label.read_bytes())
            save_nifti(file, (image.get_fdata() + rng.normal(0, noise, image.shape)).astype(np.float32), image.affine)
            cases.append(Case(file.name[:-7], file, label, case.patient))
    dataset.splits["training"] = cases
    write_dataset(root, dataset)
    return root


@pytest.mark.slow
def test_images_of_one_mask_and_of_different_masks(real, real_set, segmenter_file, tmp_path):
    found = {}
    for name, noise in (("same", 0.0), ("noisy", 5.0)):
        synthetic = write_several(tmp_path / name, real_set, 2, noise)
        report = evaluate(real, synthetic, tmp_path / f"r_{name}", segmenter=segmenter_file, progress=False)
        found[name] = {
            (row, column): report.cell("diversity", row, column)
            for row in ("one_mask", "masks")
            for column in ("synthetic", "real")
        }
    assert found["same"]["one_mask", "synthetic"].value == pytest.approx(1, abs=1e-5)
    assert found["same"]["one_mask", "synthetic"].n == 48
    noisy = found["noisy"]["one_mask", "synthetic"]
    assert noisy.low <= noisy.value <= noisy.high < 1
    assert found["noisy"]["masks", "synthetic"].value < noisy.low
    # The images are the real ones, so that what differs is chance.
    masks, real_masks = found["same"]["masks", "synthetic"], found["same"]["masks", "real"]
    assert masks.low < real_masks.value < masks.high
    assert found["same"]["one_mask", "real"].reason == "each has its own mask"
    assert "2 of 5 scales, a window of 11 pixels" in report.sections[3].notes[0]


@pytest.mark.slow
def test_one_image_of_each_mask_cannot_tell(real, real_set, segmenter_file, tmp_path):
    synthetic = write_synthetic(tmp_path / "s", real_set)
    report = evaluate(real, synthetic, tmp_path / "r", segmenter=segmenter_file, progress=False)
    assert "several for each mask (--per-mask)" in report.cell("diversity", "one_mask", "synthetic").reason
    assert any("images of one mask: no two synthetic" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("key", "name", "failed", "several", "said"),
    [
        ("one_mask", "synthetic", 0, False, "no two synthetic images are of one mask: generate several for each mask"),
        ("one_mask", "synthetic", 3, False, "generate several for each mask"),
        ("one_mask", "synthetic", 3, True, "sound synthetic images are of one mask, as 3 failed samples were left out"),
        ("one_mask", "real", 0, False, "each has its own mask"),
        ("masks", "synthetic", 3, True, "there are no two sound synthetic images of different masks"),
        ("masks", "real", 0, False, "there are no two held-out real images of different masks"),
    ],
)
def test_why_there_are_no_pairs_fits_what_was_there(key, name, failed, several, said):
    why = _why(key, name, failed, several)
    assert said in why
    assert ("--per-mask" in why) == ("generate" in said)


@pytest.mark.slow
def test_failed_samples_are_no_diversity(real, real_set, segmenter_file, tmp_path):
    rng = np.random.default_rng(1)
    sound = write_synthetic(tmp_path / "a", real_set)
    half = write_synthetic(tmp_path / "b", real_set, lambda i, x: rng.normal(50, 200, x.shape) if i // 4 % 2 else x)
    reports = [
        evaluate(real, root, tmp_path / f"r{i}", segmenter=segmenter_file, progress=False)
        for i, root in enumerate((sound, half))
    ]
    cells = [report.cell("diversity", "masks", "synthetic") for report in reports]
    assert cells[1].value == pytest.approx(cells[0].value, abs=0.1)
    assert cells[1].groups == 6
    assert any("failed samples were left out" in note for note in reports[1].sections[3].notes)


def test_all_failed(real, real_set, segmenter_file, tmp_path):
    synthetic = write_synthetic(tmp_path / "s", real_set, lambda i, image: np.full_like(image, 50.0))
    report = evaluate(real, synthetic, tmp_path / "r", segmenter=segmenter_file, progress=False)
    assert report.cell("failed", "any", "rate").value == 1
    assert report.cell("diversity", "masks", "synthetic").value is None
    content = json.loads((tmp_path / "r" / "report.json").read_text())
    assert "not computable" in content["sections"]["diversity"]["masks"]["synthetic"]
