from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.data import Choices, describe, read_dataset
from monai_segdiff.data.layout import is_dataset


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize("images", ["images", "Imgs", "IMAGE", "img_dir"])
@pytest.mark.parametrize("labels", ["masks", "Labels", "Segmentations", "annotations", "masks_lung", "seg_dir"])
def test_folders_are_known_by_many_names(tmp_path: Path, images: str, labels: str) -> None:
    touch(tmp_path, f"{images}/a.png", f"{labels}/a.png", f"{images}/b_0000.png", f"{labels}/b.png")
    assert is_dataset(tmp_path)
    dataset = read_dataset(tmp_path, {"x": 1})
    assert [(c.id, c.image.parent.name, c.label.parent.name) for c in dataset.splits["training"]] == [
        ("a", images, labels),
        ("b", images, labels),
    ]


def test_two_folders_of_label_maps_are_asked_about_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "labels/a.png", "masks/a.png")
    with pytest.raises(ValueError, match=r"label maps \('labels', 'masks'\).*\(--label-name labels\)"):
        read_dataset(tmp_path)
    (case,) = read_dataset(tmp_path, choices=Choices(label="MASKS")).splits["training"]
    assert case.label == tmp_path.resolve() / "masks/a.png"
    with pytest.raises(
        ValueError, match=r"no folder is named 'mosks' \(--label-name\); there are images, labels, masks"
    ):
        read_dataset(tmp_path, choices=Choices(label="mosks"))


def test_two_folders_of_images_are_asked_about_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "scans/a.png", "masks/a.png")
    with pytest.raises(ValueError, match=r"the images \('images', 'scans'\).*\(--image-name images\)"):
        read_dataset(tmp_path)
    (case,) = read_dataset(tmp_path, choices=Choices(image=("scans",))).splits["training"]
    assert case.image == tmp_path.resolve() / "scans/a.png"


def test_label_maps_alone_are_a_data_set(tmp_path: Path) -> None:
    touch(tmp_path, "masks/a.png", "masks/b.png")
    dataset = read_dataset(tmp_path)
    assert [(case.id, case.image) for case in dataset.splits["training"]] == [("a", None), ("b", None)]
    assert "2 training cases (2 without image)" in describe(tmp_path)


def test_empty_folders_and_folders_of_dicom_files_are_not_these(tmp_path: Path) -> None:
    touch(tmp_path, "image/IM001", "seg/seg.dcm", "masks/notes.txt")
    assert not is_dataset(tmp_path)


def test_a_table_beside_them_says_whose_each_is(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "labels/a.png", "images/b.png", "labels/b.png")
    (tmp_path / "patients.csv").write_text("image_id,patient_id\na,P\nb,P\n")
    dataset = read_dataset(tmp_path)
    assert [(case.patient, case.patient_known) for case in dataset.splits["training"]] == [("P", True)] * 2
    assert dataset.form.endswith("with patients.csv")
    (tmp_path / "patients.csv").write_text("image_id,patient_id\na,P\n")
    dataset = read_dataset(tmp_path)
    assert not any(case.patient_known for case in dataset.splits["training"])
    (remark,) = dataset.remarks
    assert "patients.csv is not used" in remark
    assert "'b'" in remark


@pytest.mark.data
def test_real_radiographs_with_their_patients(segdiff_data: Path) -> None:
    dataset = read_dataset(segdiff_data / "cxr" / "mhh_v7")
    cases = dataset.splits["training"]
    assert len(cases) == 37
    assert all(case.image and case.label and case.patient_known for case in cases)
    assert len({case.patient for case in cases}) < 37
