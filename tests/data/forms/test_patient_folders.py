from __future__ import annotations

import time
from pathlib import Path

import pytest

from monai_segdiff.data import Choices, SegmentationDataset, check_dataset, describe, read_dataset
from monai_segdiff.data.forms.file_groups import grouped
from monai_segdiff.data.layout import NoDatasetError, is_dataset


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(dataset: SegmentationDataset) -> list[tuple[str, str, str | None, str | None]]:
    """Name, patient, image and label map of each case."""
    cases = [case for members in dataset.splits.values() for case in members]
    return [(c.id, c.patient, c.image and c.image.name, c.label and c.label.name) for c in cases]


@pytest.mark.parametrize("label", ["label.nii.gz", "mask.nii.gz", "segmentation.nrrd", "seg_final.nii.gz", "GT.nii"])
def test_an_image_and_a_label_map_in_each_folder(tmp_path: Path, label: str) -> None:
    for patient in ("patient01", "patient02"):
        touch(tmp_path, f"{patient}/image.nii.gz", f"{patient}/{label}", f"{patient}/notes.txt")
    dataset = read_dataset(tmp_path, {"x": 1})
    assert found(dataset) == [
        ("patient01", "patient01", "image.nii.gz", label),
        ("patient02", "patient02", "image.nii.gz", label),
    ]
    assert all(case.patient_known for case in dataset.splits["training"])
    assert describe(tmp_path) == "folder for each patient, 2 training cases, classes not named, 2 patients"


def test_sequences_are_channels(tmp_path: Path) -> None:
    for n in (1, 2):
        touch(tmp_path, *(f"BraTS_00{n}/BraTS_00{n}_{part}.nii.gz" for part in ("t1", "t1ce", "t2", "flair", "seg")))
    dataset = read_dataset(tmp_path, {"x": 1})
    assert dataset.channels == ("flair", "t1", "t1ce", "t2")
    case = dataset.splits["training"][1]
    assert (case.id, case.label.name) == ("BraTS_002", "BraTS_002_seg.nii.gz")
    assert [file.name for file in case.channel_files] == [f"BraTS_002_{name}.nii.gz" for name in dataset.channels]
    assert case.image == case.channel_files[0]
    (tmp_path / "BraTS_002/BraTS_002_t1ce.nii.gz").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"'BraTS_002' lacks its channel 't1ce', .* no .*BraTS_002_t1ce\.nii\.gz"
    ):
        read_dataset(tmp_path)


def test_channels_may_be_chosen_and_ordered(tmp_path: Path) -> None:
    touch(tmp_path, *(f"p/p_{part}.nii.gz" for part in ("t1", "t2", "flair", "seg")))
    assert read_dataset(tmp_path, choices=Choices(image=("t2",))).splits["training"][0].image.name == "p_t2.nii.gz"
    dataset = read_dataset(tmp_path, choices=Choices(image=("t2", "flair")))
    assert dataset.channels == ("t2", "flair")


def test_visits_are_cases_of_one_patient(tmp_path: Path) -> None:
    for patient in ("a", "b"):
        for visit in ("v1", "v2"):
            touch(tmp_path, f"{patient}/{visit}/scan.nii.gz", f"{patient}/{visit}/mask.nii.gz")
    dataset = read_dataset(tmp_path)
    assert [(case.id, case.patient) for case in dataset.splits["training"]] == [
        ("a_v1", "a"), ("a_v2", "a"), ("b_v1", "b"), ("b_v2", "b"),
    ]  # fmt: skip


def test_time_points_in_one_folder_belong_together_by_name(tmp_path: Path) -> None:
    files = ("4d", "frame01", "frame01_gt", "frame12", "frame12_gt")
    touch(tmp_path, *(f"patient001/patient001_{name}.nii.gz" for name in files))
    dataset = read_dataset(tmp_path)
    assert found(dataset) == [
        ("patient001_frame01", "patient001", "patient001_frame01.nii.gz", "patient001_frame01_gt.nii.gz"),
        ("patient001_frame12", "patient001", "patient001_frame12.nii.gz", "patient001_frame12_gt.nii.gz"),
    ]
    (remark,) = dataset.remarks
    assert "1 files in" in remark
    assert "patient001_4d.nii.gz" in remark


def test_two_candidates_for_the_label_map_are_asked_about_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "p1/image.nii.gz", "p1/seg.nii.gz", "p1/seg_manual.nii.gz")
    with pytest.raises(
        ValueError,
        match=r"p1 has several files that may be the label map \('seg\.nii\.gz', 'seg_manual\.nii\.gz'\).*--label-name",
    ):
        read_dataset(tmp_path)
    (issue,) = check_dataset(tmp_path)
    assert "'seg.nii.gz', 'seg_manual.nii.gz'" in issue.message
    for pattern in ("seg_manual", "*_manual*", "SEG_MANUAL.nii.gz"):
        dataset = read_dataset(tmp_path, choices=Choices(label=pattern))
        assert found(dataset) == [("p1", "p1", "image.nii.gz", "seg_manual.nii.gz")]


def test_two_candidates_for_the_image_are_asked_about_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "p1/a.nii.gz", "p1/b.nii.gz", "p1/label.nii.gz")
    with pytest.raises(
        ValueError, match=r"may be the image of label\.nii\.gz \('a\.nii\.gz', 'b\.nii\.gz'\).*--image-name"
    ):
        read_dataset(tmp_path)
    assert found(read_dataset(tmp_path, choices=Choices(image=("b",)))) == [("p1", "p1", "b.nii.gz", "label.nii.gz")]


def test_a_label_map_of_another_name_is_known_by_the_choice(tmp_path: Path) -> None:
    touch(tmp_path, "p1/t1_fl3d.nii.gz", "p1/derived_breast.nii.gz", "p2/t1_fl3d.nii.gz", "p2/derived_breast.nii.gz")
    with pytest.raises(NoDatasetError, match="--label-name"):
        read_dataset(tmp_path)
    dataset = read_dataset(tmp_path, choices=Choices(label="derived*"))
    assert [case[2:] for case in found(dataset)] == [("t1_fl3d.nii.gz", "derived_breast.nii.gz")] * 2


def test_folders_of_patients_may_lie_in_folders_of_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/p1/ct.nii.gz", "train/p1/seg.nii.gz", "val/p2/ct.nii.gz", "val/p2/seg.nii.gz")
    splits = read_dataset(tmp_path).splits
    assert {split: [case.id for case in cases] for split, cases in splits.items()} == {
        "training": ["p1"],
        "validation": ["p2"],
    }


def test_folders_named_like_exams_of_one_patient_leave_it_open(tmp_path: Path) -> None:
    for name in ("GLI-0001-000", "GLI-0001-001", "GLI-0002-000", "GLI-0002-001"):
        touch(tmp_path, f"{name}/image.nii.gz", f"{name}/seg.nii.gz")
    cases = read_dataset(tmp_path).splits["training"]
    assert not any(case.patient_known for case in cases)


def test_label_maps_beside_their_images_in_one_folder(tmp_path: Path) -> None:
    touch(tmp_path, "benign (1).png", "benign (1)_mask.png", "benign (2).png", "benign (2)_mask.png")
    assert [case[2:] for case in found(read_dataset(tmp_path))] == [
        ("benign (1).png", "benign (1)_mask.png"),
        ("benign (2).png", "benign (2)_mask.png"),
    ]
    assert not any(case.patient_known for case in read_dataset(tmp_path).splits["training"])


def test_the_folder_of_one_patient(tmp_path: Path) -> None:
    touch(tmp_path / "p7", "ct.nii.gz", "seg_total.nii.gz")
    assert found(read_dataset(tmp_path / "p7")) == [("p7", "p7", "ct.nii.gz", "seg_total.nii.gz")]


@pytest.mark.parametrize(
    "files",
    [
        ("a_mask.png", "b_mask.png"),
        ("label_a.png", "b.png"),
        ("a.png", "b.png"),
        ("one/scan.nii.gz", "two/scan.nii.gz"),
    ],
)
def test_other_folders_are_none_of_patients(tmp_path: Path, files: tuple[str, ...]) -> None:
    touch(tmp_path, *files)
    assert not is_dataset(tmp_path)


@pytest.mark.data
def test_a_real_patient_of_two_files(segdiff_data: Path) -> None:
    dataset = read_dataset(segdiff_data / "ct" / "totalseg_example")
    assert [case[2:] for case in found(dataset)] == [("ct.nii.gz", "seg_total.nii.gz")]


def test_a_folder_of_many_files_is_sorted_in_time_linear_in_their_number() -> None:
    def seconds(number: int) -> float:
        files = [Path(f"all/{n:06d}{end}.png") for n in range(number) for end in ("", "_mask")]
        began = time.perf_counter()
        groups, left_out = grouped(Path("all"), files, Choices())
        assert (len(groups), left_out) == (number, [])
        return time.perf_counter() - began

    seconds(100)
    assert seconds(8000) < 16 * max(seconds(2000), 0.02)
