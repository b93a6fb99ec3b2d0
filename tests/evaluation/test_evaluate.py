"""The whole report on data sets whose answer is known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from monai_segdiff.data import make_ct_phantoms, read_dataset, write_dataset
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.evaluation import evaluate
from monai_segdiff.files import claim_folder

from .synthetic_sets import write_synthetic


@pytest.fixture(scope="module")
def copies(real_set, tmp_path_factory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("copies"), real_set)


@pytest.fixture(scope="module")
def copies_report(real, copies, segmenter_file, tmp_path_factory):
    output = tmp_path_factory.mktemp("report")
    return evaluate(real, copies, output, segmenter=segmenter_file, progress=False), output


def assert_named(picture: Image.Image, width: int | None, height: int) -> None:
    """Tiles of a size, with names of the rows beside them and of the classes below."""
    assert width is None or width < picture.size[0] < width + 150
    assert height < picture.size[1] < height + 60


def test_copies_reach_the_ceiling_at_no_distance(copies_report, real_set):
    report, _ = copies_report
    for row in (*real_set.classes, "mean"):
        assert report.cell("faithfulness", row, "dice").value == report.cell("faithfulness", row, "ceiling").value
        assert report.cell("faithfulness", row, "ratio").value == pytest.approx(1)
    assert report.cell("failed", "any", "count") == 0
    assert report.cell("realism", "fid", "synthetic").value == pytest.approx(0, abs=1e-3)
    assert report.cell("realism", "kid", "synthetic").value < report.cell("realism", "kid", "training").high
    assert report.split.startswith("Split by patient: 12 for training, 12 held out")
    assert not report.split_is_weak


def test_files_are_complete_and_agree(copies_report):
    report, output = copies_report
    content = json.loads((output / "report.json").read_text())
    assert (
        content["sections"]["faithfulness"]["liver"]["dice"]["value"]
        == report.cell("faithfulness", "liver", "dice").value
    )
    assert "segmenter bottleneck (64 features)" in content["notes"]["realism"][0]
    page = (output / "report.html").read_text()
    for text in ("Split by patient", "liver", "Failed samples", "KID", "data:image/png;base64,"):
        assert text in page
    assert sorted(p.name for p in output.iterdir()) == [
        "report.csv",
        "report.html",
        "report.json",
        "report.txt",
        "samples.png",
    ]
    assert report.samples.rows == ("mask", "generated", "real")
    with Image.open(output / "samples.png") as samples:
        assert_named(samples, 8 * 128 + 7 * 4, 3 * 128 + 2 * 4)


def test_share_of_image_is_that_of_the_masks(copies_report, real_set):
    held_out = real_set.splits["validation"] + real_set.splits["test"]
    liver = np.mean([(np.asarray(nib.load(c.label).dataobj) == 3).mean() for c in held_out])
    assert copies_report[0].cell("faithfulness", "liver", "share") == pytest.approx(liver, rel=1e-5)


def test_failures_are_counted_by_reason_and_shown(real, real_set, segmenter_file, tmp_path):
    rng = np.random.default_rng(0)

    def spoil(index: int, image: np.ndarray) -> np.ndarray:
        if index in (0, 1):
            return rng.normal(50, 120, image.shape)
        if index == 2:
            return np.full_like(image, 40.0)
        if index == 3:
            image = image.copy()
            image[5, 5] = np.nan
        return image

    synthetic = write_synthetic(tmp_path / "synthetic", real_set, spoil)
    report = evaluate(real, synthetic, tmp_path / "report", segmenter=segmenter_file, progress=False)
    counts = {key: report.cell("failed", key, "count") for key in ("noise", "blurred", "not_finite", "any")}
    assert counts == {"noise": 2, "blurred": 1, "not_finite": 1, "any": 4}
    assert report.cell("failed", "any", "rate").value == pytest.approx(4 / 48)
    assert any("not finite: 1" in warning for warning in report.warnings)
    (picture,) = report.sections[1].pictures
    assert "4 of 4 failed samples" in picture.caption


def test_other_patients_masks_lower_dice(real, real_set, segmenter_file, tmp_path):
    images = [nib.load(c.image).get_fdata() for c in real_set.splits["validation"] + real_set.splits["test"]]
    synthetic = write_synthetic(tmp_path / "s", real_set, lambda i, image: images[(i + 22) % len(images)])
    report = evaluate(real, synthetic, tmp_path / "r", segmenter=segmenter_file, progress=False)
    assert report.cell("faithfulness", "mean", "ratio").high < 0.9
    assert report.cell("failed", "off_mask", "count") > 24
    assert report.cell("failed", "noise", "count") == 0


def test_no_real_images_leaves_them_out(real, copies, segmenter_file, tmp_path):
    report = evaluate(real, copies, tmp_path, segmenter=segmenter_file, no_real_images=True, progress=False)
    assert report.samples.rows == ("mask", "generated")
    with Image.open(tmp_path / "samples.png") as samples:
        assert_named(samples, None, 2 * 128 + 4)


def test_user_s_extractor_is_used_and_named(real, copies, segmenter_file, tmp_path):
    pool = torch.nn.AdaptiveAvgPool2d(2)
    torch.jit.trace(torch.nn.Sequential(pool, torch.nn.Flatten()), torch.zeros(1, 1, 32, 32)).save(
        str(tmp_path / "pool.pt")
    )
    report = evaluate(
        real,
        copies,
        tmp_path / "r",
        segmenter=segmenter_file,
        extractor=tmp_path / "pool.pt",
        max_images=20,
        progress=False,
    )
    assert "Features: pool.pt (4 features)." in report.sections[2].notes
    assert report.cell("realism", "kid", "synthetic").n == 20


def test_extractor_of_another_size(real, copies, segmenter_file, tmp_path):
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64 * 64, 2))
    torch.jit.trace(flat, torch.zeros(1, 1, 64, 64)).save(str(tmp_path / "flat.pt"))
    with pytest.raises(ValueError, match=r"flat\.pt does not accept images of shape \(\d+, 1, 32, 32\)"):
        evaluate(real, copies, tmp_path, segmenter=segmenter_file, extractor=tmp_path / "flat.pt", progress=False)


def test_few_images_are_marked_not_computed(real, copies, segmenter_file, tmp_path):
    report = evaluate(real, copies, tmp_path, segmenter=segmenter_file, max_images=3, progress=False)
    for row in ("fid", "kid"):
        assert report.cell("realism", row, "synthetic").value is None
    assert any("KID needs at least 4 images" in warning for warning in report.warnings)
    assert any("too few to tell small differences" in warning for warning in report.warnings)
    assert (
        json.loads((tmp_path / "report.json").read_text())["sections"]["realism"]["kid"]["synthetic"]["value"] is None
    )


def test_one_patient_is_said_loudly(real, copies, segmenter_file, tmp_path):
    root = tmp_path / "within"
    shutil.copytree(real, root)
    dataset = read_dataset(root)
    dataset.split_kind = "within one patient"
    write_dataset(root, dataset)
    report = evaluate(root, copies, tmp_path / "r", segmenter=segmenter_file, progress=False)
    assert report.split_is_weak
    assert report.warnings[0].startswith("Split within one patient")
    assert any("Masks of other patients were not compared" in note for note in report.sections[1].notes)
    assert (
        '<div class="alert" role="note"><p><strong>Split within one patient'
        in (tmp_path / "r" / "report.html").read_text()
    )


def test_trains_its_own_segmenter_beside_the_report(real, copies, tmp_path):
    evaluate(real, copies, tmp_path, segmenter_images=64, max_images=4, progress=False)
    assert len(list((tmp_path / "segmenter").glob("segmenter-*.pt"))) == 1


@pytest.mark.slow
def test_volumes(tmp_path):
    phantoms = make_ct_phantoms(tmp_path / "real", 12, 16, 3, fractions=(0.5, 0.25, 0.25), progress=False)
    synthetic = write_synthetic(tmp_path / "synthetic", phantoms)
    report = evaluate(tmp_path / "real", synthetic, tmp_path / "r", segmenter_images=16, progress=False)
    assert report.cell("failed", "noise", "count") == 0
    assert report.cell("realism", "kid", "synthetic").value is not None
    with Image.open(tmp_path / "r" / "samples.png") as samples:
        assert_named(samples, 6 * 128 + 5 * 4, 3 * 128 + 2 * 4)


def test_png_pictures_in_plain_folders(tmp_path):
    """Nothing says what the range is, and the label's name comes from the synthetic data set."""
    rng = np.random.default_rng(0)
    for root, splits in (("real", ("Tr", "Ts")), ("synthetic", ("Tr",))):
        for split in splits:
            for i in range(6):
                mask = np.zeros((16, 24), np.uint8)
                mask[4 : 8 + i, 6:18] = 1
                for kind, array in (("images", 60 + 100 * mask + rng.integers(0, 9, mask.shape)), ("labels", mask)):
                    folder = tmp_path / root / f"{kind}{split}"
                    folder.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(array.astype(np.uint8)).save(folder / f"{split}{i}.png")
    synthetic = read_dataset(tmp_path / "synthetic", {"lung": 1})
    write_dataset(tmp_path / "synthetic", synthetic)
    report = evaluate(tmp_path / "real", tmp_path / "synthetic", tmp_path / "r", segmenter_images=400, progress=False)
    assert report.cell("faithfulness", "lung", "dice").value > 0.9
    assert report.compared["Images"].startswith("24×16")
    assert report.samples.rows == ("mask", "generated", "real")
    with Image.open(tmp_path / "r" / "samples.png") as samples:
        assert_named(samples, 6 * 144 + 5 * 4, 3 * 96 + 2 * 4)


def test_classes_must_agree(real, copies, tmp_path):
    root = tmp_path / "other"
    shutil.copytree(copies, root)
    dataset = read_dataset(root)
    dataset.classes = {"body": 1, "bone": 2}
    write_dataset(root, dataset)
    with pytest.raises(ValueError, match=r"other has classes .*give both the same labels"):
        evaluate(real, root, tmp_path / "r", progress=False)


def test_sizes_must_agree(copies, tmp_path):
    make_ct_phantoms(tmp_path / "large", 4, 48, 2, 2, fractions=(0.5, 0.25, 0.25), progress=False)
    with pytest.raises(ValueError, match=r"has size 48x48, synthetic image .* 32x32"):
        evaluate(tmp_path / "large", copies, tmp_path / "r", progress=False)


def test_nothing_held_out(real, copies, tmp_path):
    root = tmp_path / "all"
    shutil.copytree(real, root)
    dataset = read_dataset(root)
    dataset.splits = {"training": [case for cases in dataset.splits.values() for case in cases]}
    write_dataset(root, dataset)
    with pytest.raises(ValueError, match="no held-out cases"):
        evaluate(root, copies, tmp_path / "r", progress=False)


def test_real_image_with_nan_is_named(real, copies, segmenter_file, tmp_path):
    root = tmp_path / "nan"
    shutil.copytree(real, root)
    case = read_dataset(root).splits["test"][1]
    image = nib.load(case.image)
    save_nifti(case.image, np.full(image.shape, np.nan, np.float32), image.affine)
    with pytest.raises(ValueError, match=f"real image .*{case.id}.* NaN"):
        evaluate(root, copies, tmp_path / "r", segmenter=segmenter_file, progress=False)


def test_empty_and_missing_folders(real, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        evaluate(real, tmp_path / "none", tmp_path / "r", progress=False)
    (tmp_path / "imagesTr").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=r"empty|no data set"):
        evaluate(real, tmp_path, tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()


def test_of_two_runs_the_second_is_refused_and_writes_nothing(real, copies, segmenter_file, tmp_path):
    with claim_folder(tmp_path / "r"), pytest.raises(FileExistsError, match=r"another run is writing to .*r: wait"):
        evaluate(real, copies, tmp_path / "r", segmenter=segmenter_file, progress=False)
    assert not list((tmp_path / "r").iterdir())


def test_what_killed_runs_have_left_goes(real, copies, segmenter_file, tmp_path):
    for folder in (tmp_path / "r", tmp_path / "r" / "segmenter", tmp_path / "cache"):
        folder.mkdir(exist_ok=True)
        (folder / ".tmp-4711-report.html").touch()
    for cache in (None, tmp_path / "cache"):
        evaluate(real, copies, tmp_path / "r", segmenter=segmenter_file, cache_dir=cache, progress=False)
    assert not list(tmp_path.rglob(".tmp*"))
