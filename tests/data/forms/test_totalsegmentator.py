from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_segdiff.data import (
    Choices,
    LabelVolumes,
    check_dataset,
    describe,
    load_label_map,
    prepare_dataset,
    read_dataset,
    read_source,
)
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.generation import collect_masks

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
SHAPE = (10, 12, 14)


def box(*places: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[places] = 1
    return mask


LIVER, SPLEEN = box(slice(1, 5)), box(slice(6, 9))


def subject(root: Path, affine: np.ndarray = AFFINE, **masks: np.ndarray) -> Path:
    image = sum(mask.astype(np.float32) * 50 for mask in masks.values()) + np.arange(SHAPE[0])[:, None, None]
    save_nifti(root / "ct.nii.gz", np.broadcast_to(image, SHAPE).astype(np.float32), AFFINE)
    for name, mask in masks.items():
        save_nifti(root / "segmentations" / f"{name}.nii.gz", mask, affine)
    return root


@pytest.fixture
def subjects(tmp_path: Path) -> Path:
    for n in range(3):
        subject(tmp_path / "total" / f"s{n:04d}", spleen=SPLEEN, liver=LIVER)
    return tmp_path / "total"


def test_classes_are_the_names_of_the_files(subjects: Path) -> None:
    dataset = read_source(subjects)
    assert dataset.classes == {"liver": 1, "spleen": 2}
    assert [(case.id, case.patient, case.patient_known) for case in dataset.splits["training"]] == [
        (f"s{n:04d}", f"s{n:04d}", True) for n in range(3)
    ]
    assert describe(subjects) == (
        "folder for each subject with a folder of masks (TotalSegmentator), 2 structures, 3 training cases, 2 classes: "
        "liver, spleen, 3 patients"
    )


def test_masks_are_merged_into_one_label_map(subjects: Path) -> None:
    dataset = read_source(subjects)
    with dataset.opened(dataset.splits["training"][0]) as case:
        label = load_label_map(case.label)
    assert np.array_equal(label[0].numpy(), LIVER + 2 * SPLEEN)
    assert np.allclose(label.affine, AFFINE)
    assert not case.label.exists()


def test_prepare_and_check_data_read_them(subjects: Path, tmp_path: Path) -> None:
    dataset = prepare_dataset(subjects, tmp_path / "out", spatial_dims=3, size=12, fractions=(1, 0, 0), progress=False)
    assert dataset.classes == {"liver": 1, "spleen": 2}
    volumes = LabelVolumes()
    assert check_dataset(subjects, volumes=volumes) == []
    assert {i: (v.cases, v.voxels) for i, v in volumes.ids.items()} == {
        1: (3, 3 * int(LIVER.sum())),
        2: (3, 3 * int(SPLEEN.sum())),
    }
    assert volumes.ids[1].milliliters == pytest.approx(3 * LIVER.sum() * 12 / 1000)


def test_files_are_joined_to_classes_and_others_left_out(subjects: Path, tmp_path: Path) -> None:
    joined = prepare_dataset(
        subjects, tmp_path / "a", segments={"organs": ["liver", "spleen"]}, size=12, fractions=(1, 0, 0), progress=False
    )
    assert joined.classes == {"organs": 1}
    with pytest.raises(ValueError, match=r"unknown segments 'spleen'.*--drop-other-labels"):
        read_source(subjects, Choices(segments={"liver": "liver"}))
    one = read_source(subjects, Choices(segments={"liver": "liver"}, drop_others=True))
    with one.opened(one.splits["training"][0]) as case:
        assert np.array_equal(load_label_map(case.label)[0].numpy(), LIVER)
    with pytest.raises(ValueError, match=r"no segment is named 'Livre'.*'liver', 'spleen'"):
        read_source(subjects, Choices(segments={"liver": "Livre"}))


def test_overlaps_are_asked_about_and_decided_by_precedence(tmp_path: Path) -> None:
    subject(tmp_path / "s1", body=box(slice(0, 9)), liver=LIVER)
    (issue,) = check_dataset(tmp_path)
    assert "segments overlap" in issue.message
    assert f"'body' and 'liver' ({LIVER.sum()} voxels)" in issue.message
    assert "--precedence" in f"{issue.message} {issue.remedy}"
    dataset = read_source(tmp_path, Choices(precedence=("liver", "body")))
    with dataset.opened(dataset.splits["training"][0]) as case:
        merged = load_label_map(case.label)[0].numpy()
    assert np.array_equal(merged == 2, LIVER == 1)


@pytest.mark.parametrize(
    ("mask", "affine", "message"),
    [
        (LIVER * np.arange(SHAPE[0], dtype=np.uint8)[:, None, None], AFFINE, "holds the ids 1 and 4.*--label-name"),
        (LIVER[1:], AFFINE, "another size than .*9x12x14 and 10x12x14.*resample"),
        (LIVER, AFFINE + np.diag([0, 0, 1.0, 0]), "another affine than"),
    ],
)
def test_masks_that_do_not_fit_are_named(tmp_path: Path, mask: np.ndarray, affine: np.ndarray, message: str) -> None:
    subject(tmp_path / "s1", aorta=SPLEEN, zebra=SPLEEN * 0)
    save_nifti(tmp_path / "s1/segmentations/zebra.nii.gz", mask, affine)
    (issue,) = check_dataset(tmp_path)
    assert "zebra.nii.gz" in str(issue)
    assert issue.severity == "error"
    with pytest.raises(ValueError, match=message):
        prepare_dataset(tmp_path, tmp_path / "out", fractions=(1, 0, 0), progress=False)


def test_structures_that_a_subject_lacks_are_said(tmp_path: Path) -> None:
    subject(tmp_path / "s1", liver=LIVER, spleen=SPLEEN)
    subject(tmp_path / "s2", liver=LIVER)
    (remark,) = read_source(tmp_path).remarks
    assert "1 subjects have no mask for some of the 2 structures" in remark
    assert "s2/segmentations for spleen" in remark


def test_the_table_beside_them_says_the_split(subjects: Path) -> None:
    (subjects / "meta.csv").write_text("image_id;age;split\ns0000;60;train\ns0001;50;val\ns0002;40;test\n")
    dataset = read_source(subjects)
    assert {split: [case.id for case in cases] for split, cases in dataset.splits.items()} == {
        "training": ["s0000"],
        "validation": ["s0001"],
        "test": ["s0002"],
    }
    (subjects / "meta.csv").write_text("image_id;age;split\ns0000;60;train\n")
    dataset = read_source(subjects)
    assert list(dataset.splits) == ["training"]
    assert "has none for 's0001'" in dataset.remarks[0]


def test_a_second_image_beside_the_masks_is_asked_about(subjects: Path) -> None:
    save_nifti(subjects / "s0001" / "other.nii.gz", np.zeros(SHAPE, np.float32), AFFINE)
    with pytest.raises(ValueError, match=r"s0001 holds 'ct\.nii\.gz', 'other\.nii\.gz'.*--image-name"):
        read_source(subjects)
    assert read_source(subjects, Choices(image=("ct",))).splits["training"][1].image.name == "ct.nii.gz"


def test_a_changed_mask_is_another_source(subjects: Path, tmp_path: Path) -> None:
    common = {"size": 12, "fractions": (1, 0, 0), "progress": False}
    first = prepare_dataset(subjects, tmp_path / "out", **common)
    assert prepare_dataset(subjects, tmp_path / "out", **common).settings == first.settings
    os.utime(subjects / "s0001/segmentations/liver.nii.gz", (1, 1))
    with pytest.raises(FileExistsError):
        prepare_dataset(subjects, tmp_path / "out", **common)


def test_what_needs_label_maps_as_files_says_how_to_get_them(subjects: Path) -> None:
    for read in (read_dataset, collect_masks):
        with pytest.raises(
            ValueError, match=r"label maps are not files as they are needed here; prepare it \(python -m"
        ):
            read(subjects)


@pytest.mark.data
def test_a_real_subject_of_links(segdiff_data: Path, tmp_path: Path) -> None:
    real = segdiff_data / "ct" / "totalseg_aorta"
    masks = tmp_path / "s0001" / "segmentations"
    masks.mkdir(parents=True)
    (tmp_path / "s0001/ct.nii.gz").symlink_to(real / "ct_cropped.nii.gz")
    for name in ("aorta", "vertebrae_T12"):
        (masks / f"{name}.nii.gz").symlink_to(real / f"{name}.nii.gz")
    volumes = LabelVolumes()
    assert [issue for issue in check_dataset(tmp_path, volumes=volumes) if issue.severity == "error"] == []
    expected = int((nib.load(real / "aorta.nii.gz").get_fdata() > 0).sum())
    assert volumes.ids[1].voxels == expected
    assert "aorta" in volumes.table()
