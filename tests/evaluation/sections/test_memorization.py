"""Memorization in the report: copies of training images are found, new phantoms are not."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_segdiff.data import make_ct_phantoms, read_dataset, write_dataset
from monai_segdiff.evaluation import evaluate
from monai_segdiff.metrics import Estimate

from ..synthetic_sets import write_synthetic


def images_of(cases) -> list[np.ndarray]:
    return [nib.load(case.image).get_fdata() for case in cases]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> list[np.ndarray]:
    """As many new patients' slices as there are held-out ones."""
    root = tmp_path_factory.mktemp("fresh")
    make_ct_phantoms(root / "data", 12, 32, 2, 4, seed=1, fractions=(1.0, 0.0, 0.0), progress=False)
    return images_of(read_dataset(root / "data").splits["training"])


def report_on(real, real_set, segmenter_file, folder: Path, change, **options):
    synthetic = write_synthetic(folder / "synthetic", real_set, change)
    report = evaluate(real, synthetic, folder / "report", segmenter=segmenter_file, progress=False, **options)
    return report, folder / "report"


@pytest.mark.slow
def test_copies_are_found_named_and_shown(real, real_set, segmenter_file, fresh, tmp_path):
    training = images_of(real_set.splits["training"])
    rng = np.random.default_rng(0)

    def change(index: int, image: np.ndarray) -> np.ndarray:
        if index % 2:
            return training[index] + rng.normal(0, 0.02 * 500, image.shape)
        return fresh[index]

    report, output = report_on(real, real_set, segmenter_file, tmp_path, change)
    for space in ("features", "pixels"):
        share = report.cell("memorization", "held_out", space)
        assert share.low > 0
        assert share.value == pytest.approx(0.5 * 0.95, abs=0.08)
        assert report.cell("memorization", "training", space).value is None
    section = report.sections[4]
    assert len([w for w in section.warnings if "look at the closest pairs" in w]) == 2
    (picture,) = section.pictures
    assert picture.rows == ("generated", "training")
    # The ten nearest are copies, each beside the image that it was copied from.
    ids = [case.id for case in real_set.splits["training"]]
    named = section.notes[-1].split(": ")[-1].split("; ")
    assert len(named) == 10
    made = {f"{case.id}_000": i for i, case in enumerate(real_set.splits["validation"] + real_set.splits["test"])}
    for text in named:
        source, target = text.split(" (")[0].split(" to ")
        assert made[source] % 2 == 1
        assert target == ids[made[source]]
    assert "Memorized share" in (output / "report.html").read_text()


@pytest.mark.slow
def test_new_patients_are_not_memorized(real, real_set, segmenter_file, fresh, tmp_path):
    report, _ = report_on(real, real_set, segmenter_file, tmp_path, lambda i, image: fresh[i], no_real_images=True)
    for space in ("features", "pixels"):
        share = report.cell("memorization", "held_out", space)
        assert share.low <= 0 <= share.high
    assert report.sections[4].pictures == []
    assert any("too few to tell small shares" in warning for warning in report.sections[4].warnings)


@pytest.mark.slow
def test_images_of_training_masks_stand_apart(real, real_set, segmenter_file, tmp_path):
    """Whose mask it is is told by the label map, or, where this is of neither, by the manifest."""
    synthetic = write_synthetic(tmp_path / "s", real_set)
    dataset = read_dataset(synthetic)
    cases = dataset.splits["training"]
    trained = real_set.splits["training"]
    for case, source in zip(cases[:10], trained, strict=False):
        case.label.write_bytes(source.label.read_bytes())
    for case in cases[10:14]:  # neither
        label = nib.load(case.label)
        nib.save(nib.Nifti1Image(np.zeros_like(np.asarray(label.dataobj)), label.affine), case.label)
    write_dataset(synthetic, dataset)
    sources = [
        (trained[0].id, trained[0].patient),
        (trained[1].id, trained[1].patient),
        ("x", "y"),
        (trained[2].id, "y"),
    ]
    records = [
        {"index": i, "image": f"imagesTr/{case.image.name}", "mask": mask, "patient": patient}
        for i, (case, (mask, patient)) in enumerate(zip(cases[10:14], sources, strict=True))
    ]
    (synthetic / "manifest.json").write_text(json.dumps({"samples": [*records, {"index": 9, "mask": "rejected"}]}))
    report = evaluate(real, synthetic, tmp_path / "r", segmenter=segmenter_file, progress=False)
    counts = {row: report.cell("memorization", row, "images") for row in ("held_out", "training", "unknown")}
    assert counts == {"held_out": 34, "training": 12, "unknown": 2}


def test_without_training_cases_there_is_nothing_to_memorize(real, real_set, segmenter_file, tmp_path):
    root = tmp_path / "held"
    root.mkdir()
    dataset = read_dataset(real)
    dataset.splits.pop("training")
    write_dataset(root, dataset)
    synthetic = write_synthetic(tmp_path / "s", real_set)
    report = evaluate(root, synthetic, tmp_path / "r", segmenter=segmenter_file, progress=False)
    cell = report.cell("memorization", "held_out", "features")
    assert isinstance(cell, Estimate)
    assert cell.reason == "there are no real training images to compare with"


def test_few_held_out_images_are_marked(real, real_set, segmenter_file, tmp_path):
    root = tmp_path / "few"
    root.mkdir()
    dataset = read_dataset(real)
    dataset.splits["test"] = dataset.splits["test"][:6]
    dataset.splits["validation"] = []
    write_dataset(root, dataset)
    synthetic = write_synthetic(tmp_path / "s", dataset)
    report = evaluate(root, synthetic, tmp_path / "r", segmenter=segmenter_file, progress=False)
    assert "at least 20 held-out real images" in report.cell("memorization", "held_out", "pixels").reason
    assert any("memorized share needs at least 20" in warning for warning in report.warnings)
