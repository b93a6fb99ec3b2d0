"""Folders that cannot be evaluated, or only in part: one clear message, or a figure that is marked."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_segdiff.data import SegmentationDataset, read_dataset, write_dataset
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.evaluation import evaluate
from monai_segdiff.metrics import Estimate

from .synthetic_sets import write_synthetic


@pytest.fixture
def copies(real_set, tmp_path) -> Path:
    return write_synthetic(tmp_path / "copies", real_set)


def write_plain(root: Path, suffixes: dict[str, int], image, mask) -> Path:
    """Folders without dataset.json: arrays by split and index."""
    for suffix, number in suffixes.items():
        for i in range(number):
            label = mask(i)
            save_nifti(root / f"images{suffix}" / f"p{i:02d}{suffix}.nii.gz", image(i, label), np.diag([2.0, 2, 1, 1]))
            save_nifti(root / f"labels{suffix}" / f"p{i:02d}{suffix}.nii.gz", label, np.diag([2.0, 2, 1, 1]))
    return root


def square(i: int, index: int = 1, size: int = 32) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[6 : 14 + i % 6, 8:20] = index
    return mask


def shaded(i: int, mask: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng([i, int(mask.sum())])
    return (100 * mask + rng.normal(20, 5, mask.shape)).astype(np.float32)


def name_classes(root: Path, classes: dict[str, int], **more) -> Path:
    dataset: SegmentationDataset = read_dataset(root, classes)
    for key, value in more.items():
        setattr(dataset, key, value)
    write_dataset(root, dataset)
    return root


def test_anyone_s_folders(tmp_path):
    """imagesTr/labelsTr and imagesTs/labelsTs of 2 mm pixels; the classes are named on one side only."""
    real = write_plain(tmp_path / "real", {"Tr": 8, "Ts": 8}, shaded, square)
    synthetic = write_plain(tmp_path / "synthetic", {"Tr": 8}, lambda i, m: shaded(i + 100, m), square)
    name_classes(real, {"organ": 1})
    report = evaluate(real, synthetic, tmp_path / "r", segmenter_images=480, radiomics=True, progress=False)
    assert report.cell("faithfulness", "organ", "dice").value > 0.9
    assert report.sections[0].columns["hausdorff"].title.startswith("Hausdorff 95%, mm")
    assert report.cell("faithfulness", "organ", "hausdorff").value < 6
    # Training and held-out label maps are the same here, so nothing tells whose the synthetic ones are.
    assert report.cell("memorization", "unknown", "images") == 8
    assert "at least 20 held-out" in report.cell("memorization", "unknown", "features").reason
    frd = report.cell("realism", "frd", "synthetic")
    assert isinstance(frd, Estimate)
    assert "FID needs at least 10 images" in frd.reason
    keys = [section.key for section in report.sections]
    assert keys == ["faithfulness", "failed", "realism", "diversity", "memorization"]
    assert json.loads((tmp_path / "r" / "report.json").read_text())["warnings"]


def test_label_ids_that_the_real_data_do_not_have(real, copies):
    label = read_dataset(copies).splits["training"][3].label
    array = np.asarray(nib.load(label).dataobj).copy()
    array[0, 0] = 77
    save_nifti(label, array, nib.load(label).affine)
    with pytest.raises(ValueError, match=rf"{label.name} holds ids \[77\] that dataset.json does not name"):
        evaluate(real, copies, copies.parent / "r", segmenter_images=32, progress=False)


def test_an_image_without_label_map(real, copies, segmenter_file):
    label = read_dataset(copies).splits["training"][2].label
    label.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{label.name}.* is missing: restore it"):
        evaluate(real, copies, copies.parent / "r", segmenter=segmenter_file, progress=False)


def test_a_label_map_of_another_size(real, copies, segmenter_file):
    label = read_dataset(copies).splits["training"][2].label
    save_nifti(label, np.zeros((16, 16), np.uint8), np.eye(4))
    with pytest.raises(ValueError, match=rf"has size 32x32 and its label map .*{label.name} 16x16"):
        evaluate(real, copies, copies.parent / "r", segmenter=segmenter_file, progress=False)


def test_mixed_sizes(real, copies, segmenter_file):
    case = read_dataset(copies).splits["training"][5]
    for file in (case.image, case.label):
        save_nifti(file, np.zeros((24, 24), np.uint8), np.eye(4))
    with pytest.raises(ValueError, match=rf"{case.image.name} has size 24x24, the images before it 32x32"):
        evaluate(real, copies, copies.parent / "r", segmenter=segmenter_file, progress=False)


def test_a_class_that_is_in_no_mask(tmp_path):
    real = write_plain(tmp_path / "real", {"Tr": 6, "Ts": 6}, shaded, square)
    synthetic = write_plain(tmp_path / "synthetic", {"Tr": 6}, shaded, square)
    name_classes(real, {"organ": 1, "lesion": 2})
    report = evaluate(real, synthetic, tmp_path / "r", segmenter_images=64, progress=False)
    for column, reason in (
        ("dice", "no synthetic mask holds this class"),
        ("hausdorff", "no synthetic mask holds this class"),
        ("hausdorff_ceiling", "no held-out real image shows this class"),
    ):
        assert report.cell("faithfulness", "lesion", column).value is None
        assert report.cell("faithfulness", "lesion", column).reason == reason
    assert any("lesion: dice not computable" in warning for warning in report.warnings)
    assert report.cell("faithfulness", "lesion", "images") == 0


def test_constant_real_images(tmp_path):
    real = write_plain(tmp_path / "real", {"Tr": 6, "Ts": 6}, lambda i, m: np.full(m.shape, 5, np.float32), square)
    synthetic = write_plain(tmp_path / "synthetic", {"Tr": 6}, shaded, square)
    name_classes(real, {"organ": 1})
    with pytest.raises(ValueError, match=r"the real images, such as .* are constant"):
        evaluate(real, synthetic, tmp_path / "r", segmenter_images=32, progress=False)
    name_classes(real, {"organ": 1}, intensity_range=(0.0, 10.0))
    with pytest.raises(ValueError, match="real images that are not constant, and all held-out ones are"):
        evaluate(real, synthetic, tmp_path / "r", segmenter_images=32, progress=False)


def test_some_constant_real_images_and_constant_synthetic_ones(tmp_path):
    real = write_plain(
        tmp_path / "real",
        {"Tr": 12, "Ts": 12},
        lambda i, m: shaded(i, m) if i % 4 else np.full(m.shape, 5, np.float32),
        square,
    )
    synthetic = write_plain(
        tmp_path / "synthetic", {"Tr": 12}, lambda i, m: np.full(m.shape, 30 + i, np.float32), square
    )
    name_classes(real, {"organ": 1})
    report = evaluate(real, synthetic, tmp_path / "r", segmenter_images=64, radiomics=True, progress=False)
    assert report.cell("failed", "blurred", "rate").value == 1
    assert any("because they are constant: 3" in warning for warning in report.warnings)
    assert report.cell("diversity", "masks", "synthetic").value is None
    assert report.cell("realism", "frd", "synthetic").value > 0


def test_an_extractor_that_gives_nan_or_expects_another_input(real, copies, segmenter_file):
    class Nan(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :4] * torch.nan

    common = {"segmenter": segmenter_file, "progress": False}
    with pytest.raises(ValueError, match="Nan gave NaN or infinite features"):
        evaluate(real, copies, copies.parent / "r", extractor=Nan(), **common)
    with pytest.raises(ValueError, match=r"Conv2d does not accept .* it expects 2D images of 3 channels"):
        evaluate(real, copies, copies.parent / "r", extractor=torch.nn.Conv2d(3, 4, 3), **common)


def test_dropped_classes_are_left_out_of_the_real_label_maps(real, real_set, copies):
    """Liver and spleen belong to the body again, as the generator was told; its images then fit as well as before."""
    gone = {real_set.classes["liver"], real_set.classes["spleen"]}
    dataset = read_dataset(copies)
    for case in dataset.splits["training"]:
        label = nib.load(case.label)
        array = np.asarray(label.dataobj).copy()
        array[np.isin(array, list(gone))] = real_set.classes["body"]
        save_nifti(case.label, array, label.affine)
    dataset.classes = {name: i for name, i in dataset.classes.items() if name not in ("liver", "spleen")}
    write_dataset(copies, dataset)
    with pytest.raises(ValueError, match="give both the same labels"):
        evaluate(real, copies, copies.parent / "r", segmenter_images=32, progress=False)
    manifest = {"dropped_classes": {"names": ["liver", "spleen"], "fill": "parent"}, "samples": []}
    (copies / "manifest.json").write_text(json.dumps(manifest))
    report = evaluate(real, copies, copies.parent / "r", segmenter_images=64, progress=False)
    assert report.compared["Classes left out"].startswith("liver, spleen")
    for row in ("body", "lungs", "mean"):
        assert report.cell("faithfulness", row, "dice").value == report.cell("faithfulness", row, "ceiling").value
    assert report.cell("memorization", "held_out", "images") == 48


def test_a_broken_manifest(real, copies, segmenter_file):
    (copies / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json cannot be read as a manifest .*remove the file"):
        evaluate(real, copies, copies.parent / "r", segmenter=segmenter_file, progress=False)
