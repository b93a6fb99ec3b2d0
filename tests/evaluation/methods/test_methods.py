"""The comparison of methods on data sets whose answer is known."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from monai_segdiff.data import Case, SegmentationDataset, read_dataset, write_dataset
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.evaluation import compare_methods, train_segmenter
from monai_segdiff.evaluation.pairs import PairReader
from monai_segdiff.evaluation.readers.segmenter import MergedSegmenter

SIZE, PATIENTS, VIEWS = 32, 8, 6
CLASSES = {"contour": 1, "bone": 2}
TOLD = {"contour": {"contour": [1, 2]}}


def view(patient: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """A parallel view of a body with a bone in it: the mass in a row does not depend on the view, only where it is."""
    rng = np.random.default_rng(patient)
    half, height, bone = rng.uniform(9, 12), rng.uniform(10, 13), rng.uniform(2.5, 4)
    u, v = (np.arange(SIZE) - (SIZE - 1) / 2 for _ in range(2))
    middle = 3 * math.cos(index * math.pi / 3)
    body = np.clip(half + 0.5 - np.abs(u), 0, 1)
    rod = np.clip(bone + 0.5 - np.abs(u - middle), 0, 1)
    rows = np.clip(height + 0.5 - np.abs(v), 0, 1)
    noise = np.random.default_rng([patient, index]).normal(0, 0.004, (SIZE, SIZE))
    # Noise that leaves the mass of every row as it is.
    image = np.outer(0.4 * body, rows) + np.outer(0.35 * rod, rows) + (noise - noise.mean(0)) * np.outer(body, rows)
    label = np.where(np.outer(rod, rows) > 0.5, 2, np.where(np.outer(body, rows) > 0.5, 1, 0))
    return image.clip(0, 1).astype(np.float32), label.astype(np.uint8)


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Path:
    """Views of parallel beams: 4 patients for training, 4 for test, with geometry."""
    root = tmp_path_factory.mktemp("views") / "real"
    splits: dict[str, list[Case]] = {"training": [], "test": []}
    for patient in range(PATIENTS):
        for index in range(VIEWS):
            image, label = view(patient, index)
            name = f"knee{patient:02d}_view{index:03d}"
            files = [root / folder / f"{name}.nii.gz" for folder in ("imagesTr", "labelsTr")]
            for file, array in zip(files, (image, label), strict=True):
                save_nifti(file, array, np.eye(4))
            splits["training" if patient < 4 else "test"].append(Case(name, *files, f"patient{patient}"))
        geometry = {
            "volume": f"knee{patient:02d}",
            "beam": "parallel",
            "detector_spacing": [2.0, 2.0],
            "offset": [0.0] * VIEWS,
            "scale": [5.0] * VIEWS,
            "views": [
                {
                    "angle": 60.0 * i,
                    "source": [0.0, -100.0, 0.0],
                    "detector_center": [0.0, 0.0, 0.0],
                    "u_axis": [1.0, 0.0, 0.0],
                    "v_axis": [0.0, 0.0, 1.0],
                }
                for i in range(VIEWS)
            ],
        }
        file = root / "geometry" / f"knee{patient:02d}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(geometry))
    write_dataset(root, SegmentationDataset(root, "views", CLASSES, splits, (0.0, 1.0), 2, "by patient"))
    return root


@pytest.fixture(scope="module")
def segmenter_file(real, tmp_path_factory) -> Path:
    dataset = read_dataset(real)
    folder = tmp_path_factory.mktemp("segmenter")
    train_segmenter(
        dataset.splits["training"], PairReader(CLASSES, (0.0, 1.0), 2), 480, cache_dir=folder, progress=False
    )
    (file,) = folder.iterdir()
    return file


Change = Callable[[int, np.ndarray], np.ndarray]


def generated(root: Path, real: Path, change: Change, *, manifest: bool = True, reverse: bool = False) -> Path:
    """The held-out images, changed on purpose, as `generate` writes them."""
    held_out = read_dataset(real).splits["test"]
    cases, samples = [], []
    for index, case in enumerate(held_out):
        name = f"{case.id}_000.nii.gz"
        files = [root / folder / name for folder in ("imagesTr", "labelsTr")]
        image = nib.load(case.image).get_fdata()
        save_nifti(files[0], change(index, image).astype(np.float32), np.eye(4))
        save_nifti(files[1], np.asarray(nib.load(case.label).dataobj), np.eye(4))
        cases.append(Case(name.removesuffix(".nii.gz"), *files, case.patient))
        samples.append({"index": index, "image": f"imagesTr/{name}", "mask": case.id, "evaluations": 25})
    cases = cases[::-1] if reverse else cases
    write_dataset(root, SegmentationDataset(root, "made", CLASSES, {"training": cases}, (0.0, 1.0), 2))
    if manifest:
        (root / "manifest.json").write_text(json.dumps({"samples": samples}))
        seconds = {str(i): 0.5 if i % 2 else 1.5 for i in range(len(samples))}
        (root / "manifest.seconds.json").write_text(json.dumps(seconds))
    return root


def brighter(share: float) -> Change:
    return lambda _, image: image * (1 + share)


def error_of(index: int) -> float:
    return 0.01 * (1 + index % 3) * (1 + index // VIEWS)


@pytest.fixture(scope="module")
def compared(real, segmenter_file, tmp_path_factory):
    root = tmp_path_factory.mktemp("compared")
    rows = {
        "contour / far": generated(root / "far", real, brighter(-0.2), manifest=False, reverse=True),
        "contour / near": generated(root / "near", real, lambda i, x: x + error_of(i)),
        "contour + bone / near": generated(root / "also", real, lambda i, x: x - 0.5 * error_of(i)),
    }
    published = {"contour / near": {"mae": 0.0193, "psnr": 29.5}}
    report = compare_methods(
        real, rows, root / "report", conditions=TOLD, published=published, segmenter=segmenter_file, progress=False
    )
    return report, root / "report"


def held_out(real: Path) -> list[np.ndarray]:
    return [nib.load(case.image).get_fdata() for case in read_dataset(real).splits["test"]]


def test_figures_are_those_of_a_hand_computation(compared, real):
    report, _ = compared
    # A constant error is that of MAE and of PSNR; what it makes of values near 0 and 1 is clipped on reading.
    pairs = [(np.clip(image + error_of(i), 0, 1), image) for i, image in enumerate(held_out(real))]
    mae = np.array([np.abs(a - b).mean() for a, b in pairs])
    psnr = np.array([-10 * np.log10(((a - b) ** 2).mean()) for a, b in pairs])
    for key, values, digits in (("mae", mae, 1e-6), ("psnr", psnr, 1e-3)):
        cell = report.cell("table", "contour / near", key)
        assert cell.value == pytest.approx(values.mean(), abs=digits)
        assert report.cell("table", "contour / near", f"{key}_sd") == pytest.approx(values.std(ddof=1), abs=digits)
        assert (cell.n, cell.groups) == (24, 4)
        assert cell.low < cell.value < cell.high
    assert report.cell("table", "contour / near", "psnr_published") == 29.5
    assert report.cell("table", "contour / far", "psnr_published") is None


def test_partners_are_found_by_name_whatever_the_order(compared, real):
    report, _ = compared
    expected = np.mean([0.2 * np.abs(image).mean() for image in held_out(real)])
    assert report.cell("table", "contour / far", "mae").value == pytest.approx(expected, abs=1e-6)


def test_cost_comes_from_the_manifest_where_there_is_one(compared):
    report, _ = compared
    assert report.cell("table", "contour / near", "evaluations") == 25
    assert report.cell("table", "contour / near", "seconds") == pytest.approx(1.0)
    assert report.cell("table", "contour / far", "evaluations") is None
    assert report.cell("table", "contour / far", "seconds") is None


def test_differences_are_paired_and_only_within_a_condition(compared):
    report, _ = compared
    (section,) = (s for s in report.sections if s.key == "differences")
    assert [row.key for row in section.rows] == ["contour / near minus far"]
    difference = report.cell("differences", "contour / near minus far", "mae")
    values = [report.cell("table", f"contour / {name}", "mae").value for name in ("near", "far")]
    assert difference.value == pytest.approx(values[0] - values[1], abs=1e-9)
    assert difference.low < difference.value < difference.high


def test_views_are_as_consistent_as_they_were_made(compared):
    report, _ = compared
    assert report.cell("views", "real images", "deviation").value < 2e-3  # noise that was cut off at 0
    # one factor for all views of a volume: nothing that one view could tell from the others
    assert report.cell("views", "contour / far", "deviation").value < 2e-3
    # a constant on every pixel, another one in every view
    assert 0.02 < report.cell("views", "contour / near", "deviation").value < 0.2
    assert report.cell("views", "contour / near", "sets") == 4


def test_files_are_complete_and_agree(compared):
    report, output = compared
    names = ["methods.csv", "methods.html", "methods.json", "methods.md", "methods.png", "methods.txt"]
    assert sorted(path.name for path in output.iterdir()) == names
    content = json.loads((output / "methods.json").read_text())["sections"]["table"]
    assert content["contour / near"]["psnr"]["value"] == report.cell("table", "contour / near", "psnr").value
    with open(output / "methods.csv", newline="") as lines:
        rows = {(r["section"], r["row"], r["column"]): r["value"] for r in csv.DictReader(lines)}
    assert float(rows["table", "contour / near", "mae"]) == report.cell("table", "contour / near", "mae").value
    line = next(x for x in (output / "methods.md").read_text().splitlines() if x.startswith("| contour / near |"))
    assert f"| {report.cell('table', 'contour / near', 'psnr').value:.2f} [" in line
    assert "| 0.0193 |" in line
    page = (output / "methods.html").read_text()
    for text in ("Distance to the real images", "Several views", "methods.json", "PSNR in dB, contour + bone / near"):
        assert text in page
    assert report.samples.rows == ("contour", "far", "near", "contour + bone", "near", "real")
    with Image.open(output / "methods.png") as picture:
        tiles = 8 * 128 + 7 * 4, 6 * 128 + 5 * 4
        assert tiles[0] < picture.size[0] < tiles[0] + 200, "names beside the rows"
        assert tiles[1] < picture.size[1] < tiles[1] + 50, "classes below"


def test_a_method_that_was_not_told_of_bone_may_put_it_anywhere(real, segmenter_file, tmp_path):
    """Images of the other view: bone lies elsewhere, the contour is the same."""
    images = held_out(real)
    elsewhere = generated(tmp_path / "s", real, lambda i, _: images[i // VIEWS * VIEWS + (i + 3) % VIEWS])
    rows = {"contour / CTM": elsewhere, "contour + bone / CTM": elsewhere}
    report = compare_methods(
        real, rows, tmp_path / "r", conditions=TOLD, segmenter=segmenter_file, no_real_images=True, progress=False
    )
    assert report.cell("failed", "contour / CTM", "off_mask") == 0
    assert report.cell("failed", "contour + bone / CTM", "off_mask") > 0.3
    assert report.cell("failed", "contour + bone / held-out real images", "any").value == 0
    assert report.samples.rows == ("contour", "CTM", "contour + bone", "CTM")
    assert not any(section.key == "differences" for section in report.sections)


def test_a_failing_set_is_reported(real, segmenter_file, tmp_path):
    def spoil(index: int, image: np.ndarray) -> np.ndarray:
        if index == 0:
            return np.full_like(image, np.nan)
        if index < 4:
            return np.random.default_rng(index).uniform(0, 1, image.shape)
        return image * 0.999

    report = compare_methods(
        real, {"CSM": generated(tmp_path / "s", real, spoil)}, tmp_path / "r", segmenter=segmenter_file, progress=False
    )
    assert report.cell("failed", "CSM", "not_finite") == pytest.approx(1 / 24)
    assert report.cell("failed", "CSM", "noise") == pytest.approx(3 / 24)
    failed = report.cell("table", "CSM", "failed")
    assert failed.value == pytest.approx(4 / 24)
    assert report.cell("table", "CSM", "mae").n == 23
    assert any("CSM: 1 of 24 images have no figure" in warning for warning in report.warnings)
    assert "Failed samples, CSM" in (tmp_path / "r" / "methods.html").read_text()


def test_the_limits_may_come_from_the_population_that_the_methods_were_trained_on(real, segmenter_file, tmp_path):
    def grain(index: int, image: np.ndarray) -> np.ndarray:  # five times the noise of the anatomy at hand
        return image + 0.02 * np.random.default_rng(index).standard_normal(image.shape) * (image > 0.1)

    population = generated(tmp_path / "population", real, grain)
    dataset = read_dataset(population)
    dataset.splits = {"test": dataset.splits["training"]}
    write_dataset(population, dataset)
    rows = {"CTM": generated(tmp_path / "s", real, lambda index, image: grain(100 + index, image))}
    rates = {}
    for limits in (None, population):
        report = compare_methods(
            real, rows, tmp_path / "r", segmenter=segmenter_file, limits=limits, no_real_images=True, progress=False
        )
        rates[limits] = (report.cell("failed", "CTM", "noise"), report.cell("failed", "held-out real images", "noise"))
    assert rates == {None: (1.0, 0.0), population: (0.0, 0.0)}
    assert any("from 24 held-out images of made" in note for section in report.sections for note in section.notes)


def test_fewer_images_are_evenly_spaced_and_the_same_in_all_rows(real, segmenter_file, tmp_path):
    rows = {
        "a": generated(tmp_path / "a", real, brighter(-0.1)),
        "b": generated(tmp_path / "b", real, brighter(-0.2), reverse=True),
    }
    report = compare_methods(real, rows, tmp_path / "r", segmenter=segmenter_file, max_images=8, progress=False)
    chosen = held_out(real)[::3]
    for name, share in (("a", 0.1), ("b", 0.2)):
        assert report.cell("table", name, "images") == 8
        expected = np.mean([share * image.mean() for image in chosen])
        assert report.cell("table", name, "mae").value == pytest.approx(expected, abs=1e-6)
    difference = report.cell("differences", "b minus a", "mae")
    assert difference.value == pytest.approx(0.1 * np.mean([image.mean() for image in chosen]), abs=1e-6)


def test_a_missing_partner_is_named(real, segmenter_file, tmp_path):
    def refused(rows: dict[str, Path], match: str, **options) -> None:
        with pytest.raises(ValueError, match=match):
            compare_methods(real, rows, tmp_path / "r", segmenter=segmenter_file, progress=False, **options)

    whole = generated(tmp_path / "whole", real, brighter(-0.1))
    refused({}, "nothing to compare")
    refused({"a": whole}, "published figures name unknown rows 'b': the rows are a", published={"b": {"mae": 1.0}})
    refused({"x / a": whole}, "conditions name unknown rows 'y': the rows are x", conditions={"y": CLASSES})
    refused(
        {"x / a": whole},
        "each class of the condition must merge classes of the data set, and none may be left out",
        conditions={"x": {"bone": 2}},
    )

    part = generated(tmp_path / "part", real, brighter(-0.1), manifest=False)
    dataset = read_dataset(part)
    lost = dataset.splits["training"].pop(5)
    write_dataset(part, dataset)
    refused({"a": whole, "b": part}, rf"'b' lacks image number 0 of mask '{lost.id[:-4]}', which row 'a' has")

    for number, (name, why) in enumerate((("knee00_view001", "a training case"), ("other", "no held-out case"))):
        root = generated(tmp_path / str(number), real, brighter(-0.1))
        manifest = json.loads((root / "manifest.json").read_text())
        manifest["samples"][7]["mask"] = name
        (root / "manifest.json").write_text(json.dumps(manifest))
        refused({"a": root}, rf"knee05_view001_000.nii.gz was made from mask '{name}', which is {why}")


def test_masks_of_another_data_set_with_the_same_names_are_refused(real, segmenter_file, tmp_path):
    root = generated(tmp_path / "s", real, brighter(-0.1))
    label = root / "labelsTr" / "knee05_view002_000.nii.gz"
    save_nifti(label, np.ones((SIZE, SIZE), np.uint8), np.eye(4))
    with pytest.raises(ValueError, match=r"knee05_view002_000.nii.gz differs from .*knee05_view002.nii.gz"):
        compare_methods(real, {"a": root}, tmp_path / "r", segmenter=segmenter_file, progress=False)


def test_a_data_set_without_training_cases_needs_a_segmenter(real, segmenter_file, tmp_path):
    dataset = read_dataset(real)
    del dataset.splits["training"]
    write_dataset(tmp_path / "atlas", dataset)
    rows = {"a": generated(tmp_path / "s", real, brighter(-0.1))}
    with pytest.raises(ValueError, match=r"needs real training cases: .* or a segmenter file"):
        compare_methods(tmp_path / "atlas", rows, tmp_path / "r", progress=False)
    report = compare_methods(tmp_path / "atlas", rows, tmp_path / "r", segmenter=segmenter_file, progress=False)
    assert report.split.startswith("No training cases")
    assert not any(section.key == "views" for section in report.sections)  # the geometry stayed elsewhere


def test_merged_classes_win_where_one_of_them_wins(real, segmenter_file):
    from monai_segdiff.evaluation import load_segmenter

    whole = load_segmenter(segmenter_file, list(CLASSES))
    images = torch.from_numpy(np.stack([view(7, i)[0] for i in range(3)]))[:, None] * 2 - 1
    merged = MergedSegmenter(whole, {"body": ["contour", "bone"]})
    assert torch.equal(merged.predict(images), (whole.predict(images) > 0).long())
    swapped = MergedSegmenter(whole, {"b": ["bone"], "c": ["contour"]})
    assert torch.equal(swapped.predict(images), torch.tensor([0, 2, 1])[whole.predict(images)])
