from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_segdiff.data import check_dataset, prepare_dataset
from monai_segdiff.data.nifti import save_nifti

CLASSES = {"box": 1}
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def box() -> np.ndarray:
    label = np.zeros((10, 12, 14), np.uint8)
    label[2:7, 3:9, 3:10] = 1
    return label


def change(path: str, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    save_nifti(path, array, affine)


def truncate(path: str) -> None:
    Path(path).write_bytes(Path(path).read_bytes()[:200])


@pytest.fixture
def source(tmp_path: Path, make_pair: Callable) -> Path:
    for name in ("p0", "p1", "p2"):
        make_pair(name)
    return tmp_path / "source"


def label_with(value: float) -> np.ndarray:
    label = box().astype(np.float32 if value != int(value) else np.int16)
    label[0, 0, 0] = value
    return label


def image_with(value: float) -> np.ndarray:
    image = box().astype(np.float32)
    image[1, 1, 1] = value
    return image


DEFECTS = {
    "unknown id": (lambda i, m: change(m, label_with(7)), "labelsTr/p1", "unknown ids [7]", "error"),
    "negative id": (lambda i, m: change(m, label_with(-1)), "labelsTr/p1", "unknown ids [-1]", "error"),
    "fraction": (lambda i, m: change(m, label_with(0.5)), "labelsTr/p1", "e.g. 0.5", "error"),
    "empty mask": (lambda i, m: change(m, 0 * box()), "labelsTr/p1", "empty", "warning"),
    "shape": (lambda i, m: change(m, box()[1:]), "labelsTr/p1", "shape (9, 12, 14)", "error"),
    "affine": (lambda i, m: change(m, box(), AFFINE + np.diag([0, 0, 0.02, 0])), "labelsTr/p1", "to 0.26 mm", "error"),
    "NaN": (lambda i, m: change(i, image_with(np.nan)), "imagesTr/p1", "1 NaN or infinite", "error"),
    "infinite": (lambda i, m: change(i, image_with(np.inf)), "imagesTr/p1", "1 NaN or infinite", "error"),
    "constant": (lambda i, m: change(i, 0 * box() + 3), "imagesTr/p1", "constant (3)", "error"),
    "truncated": (lambda i, m: truncate(i), "imagesTr/p1", "cannot be read", "error"),
    "4D": (lambda i, m: change(i, np.stack([box(), 2 * box()], -1)), "imagesTr/p1", "2 channels", "error"),
    "missing image": (lambda i, m: Path(i).unlink(), "labelsTr/p1", "has no image", "error"),
    "missing label": (lambda i, m: Path(m).unlink(), "imagesTr/p1", "has no label", "error"),
}  # fmt: skip


def test_a_sound_data_set_has_no_findings(source: Path) -> None:
    assert check_dataset(source, CLASSES, spatial_dims=3) == []


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_is_found_once_in_its_file_with_a_remedy(source: Path, defect: str) -> None:
    spoil, file, message, severity = DEFECTS[defect]
    spoil(str(source / "imagesTr/p1.nii.gz"), str(source / "labelsTr/p1.nii.gz"))
    (finding,) = check_dataset(source, CLASSES, spatial_dims=3)
    assert file in finding.file
    assert message in finding.message
    assert finding.severity == severity
    assert finding.remedy
    assert str(finding).startswith(f"{severity}: {finding.file}: ")


def test_whole_numbers_in_a_float_file_and_small_affine_differences_are_fine(source: Path) -> None:
    change(str(source / "labelsTr/p1.nii.gz"), box().astype(np.float64), AFFINE + np.diag([0, 0, 0.0005, 0]))
    assert check_dataset(source, CLASSES) == []


def test_volumes_are_found_where_2d_is_configured(source: Path) -> None:
    findings = check_dataset(source, CLASSES, spatial_dims=2)
    assert len(findings) == 6
    assert all("3 dimensions where 2D" in f.message and "prepare" in f.remedy for f in findings)


def test_every_defect_is_listed_whatever_the_number_of_workers(source: Path) -> None:
    change(str(source / "labelsTr/p0.nii.gz"), label_with(7))
    change(str(source / "imagesTr/p0.nii.gz"), image_with(np.nan))
    (source / "imagesTr/p2.nii.gz").unlink()
    found = check_dataset(source, CLASSES)
    assert len(found) == 3
    assert check_dataset(source, CLASSES, workers=3) == found


def test_a_file_of_the_json_that_is_not_there_is_named(source: Path) -> None:
    pairs = [{"image": f"imagesTr/{p}.nii.gz", "label": f"labelsTr/{p}.nii.gz"} for p in ("p0", "p9")]
    (source / "dataset.json").write_text(json.dumps({"labels": {"1": "box"}, "training": pairs}))
    findings = check_dataset(source)
    assert [Path(f.file).name for f in findings] == ["p9.nii.gz"] * 2
    assert all("missing" in f.message and "dataset.json" in f.remedy for f in findings)


def test_a_patient_in_two_splits_is_found(source: Path) -> None:
    entry = {
        p: {"image": f"imagesTr/{p}.nii.gz", "label": f"labelsTr/{p}.nii.gz", "patient": "A"} for p in ("p0", "p1")
    }
    content = {"labels": {"1": "box"}, "training": [entry["p0"]], "test": [entry["p1"]]}
    (source / "dataset.json").write_text(json.dumps(content))
    (finding,) = check_dataset(source)
    assert "patient 'A' is in training and in test" in finding.message


def test_cases_of_one_name_and_labels_without_meaning_are_found(source: Path) -> None:
    entry = {"image": "imagesTr/p0.nii.gz", "label": "labelsTr/p0.nii.gz"}
    (source / "dataset.json").write_text(json.dumps({"training": [entry, entry]}))
    assert [f.severity for f in check_dataset(source)] == ["warning", "error"]


def test_a_folder_without_label_maps_is_no_data_set_to_train_on(source: Path) -> None:
    for file in (source / "labelsTr").iterdir():
        file.unlink()
    (finding,) = check_dataset(source, CLASSES)
    assert (finding.severity, finding.file) == ("error", str(source))
    assert "holds no label maps" in finding.message
    with pytest.raises(ValueError, match="holds no label maps"):
        prepare_dataset(source, source.parent / "out", CLASSES, progress=False)


def test_classes_that_no_label_map_or_no_split_holds_are_warned_of(source: Path) -> None:
    change(str(source / "labelsTr/p2.nii.gz"), 2 * box())
    classes = {"box": 1, "other": 2, "nothing": 9}
    (finding,) = check_dataset(source, classes)
    assert (finding.severity, finding.message) == ("warning", "class 'nothing' is in none of the 3 label maps")
    (source / "labelsTs").mkdir()
    (source / "labelsTr/p2.nii.gz").rename(source / "labelsTs/p2.nii.gz")
    (source / "imagesTs").mkdir()
    (source / "imagesTr/p2.nii.gz").rename(source / "imagesTs/p2.nii.gz")
    messages = [finding.message for finding in check_dataset(source, classes)]
    assert messages == [
        "nothing says whose the 3 files are, so each counts as another patient's",
        "class 'nothing' is in none of the 3 label maps",
        "training has 2 label maps, and none with 'other' (in 1 elsewhere)",
        "test has 1 label maps, and none with 'box' (in 2 elsewhere)",
    ]


def test_classes_are_checked_as_prepare_checks_them(source: Path) -> None:
    for classes in ({"background": 1}, {"box": [1, 1]}, {f"c{i}": i for i in range(1, 257)}):
        (finding,) = check_dataset(source, classes)
        assert finding.severity == "error"
        with pytest.raises(ValueError, match=re.escape(finding.message.split(";")[0])):
            prepare_dataset(source, source.parent / "out", classes, progress=False)


def test_files_named_alike_are_no_error_where_they_can_be_told_apart(tmp_path: Path, make_pair: Callable) -> None:
    entries = []
    for n in range(2):
        make_pair("scan", folder=f"source/d{n}")
        files = {"image": f"d{n}/imagesTr/scan.nii.gz", "label": f"d{n}/labelsTr/scan.nii.gz"}
        entries.append({**files, "patient": f"P{n}"})
    (tmp_path / "source/dataset.json").write_text(json.dumps({"labels": {"1": "box"}, "training": entries}))
    assert check_dataset(tmp_path / "source") == []


def test_an_image_that_is_listed_for_two_patients_is_an_error(source: Path) -> None:
    entries = [{"image": "imagesTr/p0.nii.gz", "label": f"labelsTr/p{n}.nii.gz"} for n in (0, 1)]
    content = {"labels": {"1": "box"}, "training": entries[:1], "test": entries[1:]}
    (source / "dataset.json").write_text(json.dumps(content))
    finding = check_dataset(source)[0]
    assert (finding.severity, "is the image of 2 cases" in finding.message) == ("error", True)


def test_a_folder_without_a_data_set_is_one_finding(tmp_path: Path) -> None:
    (finding,) = check_dataset(tmp_path)
    assert "neither dataset.json nor folders" in finding.message
    assert finding.severity == "error"


def test_pictures_are_checked_too(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.stack([pixels] * 3, -1)).save(tmp_path / "images/a.png")
    Image.fromarray((pixels > 30).astype(np.uint8)).save(tmp_path / "labels/a.png")
    assert check_dataset(tmp_path, CLASSES, spatial_dims=2) == []
    Image.fromarray((pixels > 30).astype(np.uint8) * 255).save(tmp_path / "labels/a.png")
    (finding,) = check_dataset(tmp_path, CLASSES, spatial_dims=2)
    assert "[255]" in finding.message


def region_of(*ids: float) -> np.ndarray:
    region = 0 * box().astype(np.float32)
    region[2, 3 : 3 + len(ids), 3] = ids
    return region


FINDING_DEFECTS = {
    "sound": (["mass"], region_of(2), AFFINE, None, None),
    "findings unknown": (None, region_of(1, 2), AFFINE, None, None),
    "unknown name": (["nodule"], None, AFFINE, "imagesTr/p1", "unknown findings ['nodule']"),
    "unknown id": (["mass"], region_of(2, 3), AFFINE, "regionsTr/p1", "unknown ids [3]"),
    "not among the findings": (["mass"], region_of(1, 2), AFFINE, "regionsTr/p1", "shows ['opacity']"),
    "healthy": ([], region_of(1), AFFINE, "regionsTr/p1", "shows ['opacity']"),
    "fraction": (["mass"], region_of(1.5), AFFINE, "regionsTr/p1", "e.g. 1.5"),
    "shape": (["mass"], region_of(2)[1:], AFFINE, "regionsTr/p1", "shape (9, 12, 14)"),
    "affine": (["mass"], region_of(2), AFFINE + np.diag([0, 0, 1, 0]), "regionsTr/p1", "up to 13 mm"),
    "empty": (["mass"], region_of(), AFFINE, "regionsTr/p1", "is empty"),
}  # fmt: skip


@pytest.mark.parametrize("defect", FINDING_DEFECTS)
def test_findings_and_regions_are_checked(source: Path, defect: str) -> None:
    names, region, affine, file, message = FINDING_DEFECTS[defect]
    entry = {"image": "imagesTr/p1.nii.gz", "label": "labelsTr/p1.nii.gz"}
    if names is not None:
        entry["findings"] = names
    if region is not None:
        entry["region"] = "regionsTr/p1.nii.gz"
        save_nifti(source / entry["region"], region, affine)
    content = {"labels": {"1": "box"}, "findings": ["opacity", "mass"], "training": [entry]}
    (source / "dataset.json").write_text(json.dumps(content))
    findings = check_dataset(source, spatial_dims=3)
    if message is None:
        assert findings == []
        return
    (finding,) = findings
    assert file in finding.file
    assert message in finding.message
    assert finding.severity == ("warning" if defect == "empty" else "error")
    assert finding.remedy


def test_a_region_file_that_is_not_there_is_named(source: Path) -> None:
    entry = {"image": "imagesTr/p1.nii.gz", "label": "labelsTr/p1.nii.gz", "region": "regionsTr/p1.nii.gz"}
    content = {"labels": {"1": "box"}, "findings": ["mass"], "training": [entry]}
    (source / "dataset.json").write_text(json.dumps(content))
    (finding,) = check_dataset(source)
    assert "regionsTr/p1" in finding.file
    assert "region file is missing" in finding.message


@pytest.mark.data
def test_real_quirks_are_no_findings(tmp_path: Path, segdiff_data: Path) -> None:
    labels = sorted((segdiff_data / "brain" / "synthseg_labels").glob("*.nii.gz"))[:1]
    (tmp_path / "labels").mkdir()
    for file in labels:
        (tmp_path / "labels" / file.name).symlink_to(file)
    ids = set(np.unique(np.asarray(nib.load(labels[0]).dataobj)).astype(int)) - {0}
    assert check_dataset(tmp_path, {str(i): int(i) for i in ids}, spatial_dims=3) == []
