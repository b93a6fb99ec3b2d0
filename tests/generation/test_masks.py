from __future__ import annotations

import json
import shutil

import pytest

from monai_segdiff.generation import collect_edits, collect_masks, collect_pairs


def labels_of(bundle, split="training"):
    return sorted((bundle.phantoms / "labelsTr").glob("*.nii.gz"))


def test_masks_of_a_split_come_in_the_order_of_the_data_set(trained_bundle):
    from monai_segdiff.data import read_dataset

    expected = [case.label for case in read_dataset(trained_bundle.phantoms).splits["test"]]
    assert [case.label for case in collect_masks(trained_bundle.phantoms)] == expected
    assert len(collect_masks(trained_bundle.phantoms, "training")) > len(expected)


def test_a_folder_of_label_maps_is_enough_and_dots_in_names_stay(trained_bundle, tmp_path):
    shutil.copy(labels_of(trained_bundle)[0], tmp_path / "b.v2.nii.gz")
    shutil.copy(labels_of(trained_bundle)[1], tmp_path / "a_slice003.nii.gz")
    (tmp_path / "notes.txt").write_text("not a mask")
    cases = collect_masks(tmp_path)
    assert [(case.id, case.patient, case.image) for case in cases] == [
        ("a_slice003", "a", None),
        ("b.v2", "b.v2", None),
    ]


def test_a_split_without_masks_names_those_that_have_some(trained_bundle):
    with pytest.raises(ValueError, match=r"no label maps in split 'val'.*--split: training, validation, test"):
        collect_masks(trained_bundle.phantoms, "val")


def test_two_masks_of_one_name_are_refused(trained_bundle, tmp_path):
    label = labels_of(trained_bundle)[0]
    shutil.copy(label, tmp_path / "a.nii.gz")
    shutil.copy(label, tmp_path / "a.nii")
    with pytest.raises(ValueError, match=r"a\.nii and .*a\.nii\.gz have the same name.*rename"):
        collect_masks(tmp_path)


def test_what_is_no_mask_is_said_and_left_out(trained_bundle, tmp_path):
    shutil.copy(labels_of(trained_bundle)[0], tmp_path / "a.nii.gz")
    for name in ("._a.nii.gz", ".DS_Store", "notes.txt", "b.npy"):
        (tmp_path / name).touch()
    with pytest.warns(UserWarning, match=r"^2 files or folders in .* are not read: b\.npy, notes\.txt$"):
        assert [case.id for case in collect_masks(tmp_path)] == ["a"]
    (tmp_path / "A.nii.gz").touch()
    with pytest.raises(ValueError, match=r"A\.nii\.gz and .*a\.nii\.gz have the same name"):
        collect_masks(tmp_path)


@pytest.mark.parametrize("name", ["b.nrrd", "b.mha", "b.tif"])
def test_masks_of_every_format_that_is_read_are_listed(trained_bundle, tmp_path, name):
    shutil.copy(labels_of(trained_bundle)[0], tmp_path / "a.nii.gz")
    (tmp_path / name).touch()
    assert [case.label.name for case in collect_masks(tmp_path)] == ["a.nii.gz", name]


def test_masks_of_a_data_set_need_no_images(tmp_path):
    (tmp_path / "labels").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "labels" / name).touch()
    assert [(case.id, case.image) for case in collect_masks(tmp_path, "training")] == [("a", None), ("b", None)]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").touch()
    assert [case.image is None for case in collect_masks(tmp_path, "training")] == [False, True]


def test_masks_named_alike_in_folders_of_patients_are_told_apart(tmp_path):
    entries = []
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        (tmp_path / patient / "label.png").touch()
        entries.append({"label": f"{patient}/label.png", "patient": patient})
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"1": "x"}, "test": entries}))
    assert [case.id for case in collect_masks(tmp_path)] == ["p1_label", "p2_label"]
    (tmp_path / "p2" / "label.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"label file .*p2/label\.png of case 'label' is missing"):
        collect_masks(tmp_path)


def test_masks_in_a_format_that_changes_ids_are_refused_at_once(trained_bundle, tmp_path):
    shutil.copy(labels_of(trained_bundle)[0], tmp_path / "a.nii.gz")
    (tmp_path / "b.jpg").touch()
    with pytest.raises(ValueError, match=r"b\.jpg is a label map in a format that changes ids"):
        collect_masks(tmp_path)


def test_a_split_is_one_of_a_data_set(trained_bundle, tmp_path):
    shutil.copy(labels_of(trained_bundle)[0], tmp_path / "a.nii.gz")
    image = trained_bundle.phantoms / "imagesTr" / "phantom0000_slice000.nii.gz"
    for ask in (
        lambda: collect_masks(tmp_path, "test"),
        lambda: collect_pairs(image, tmp_path, "test"),
        lambda: collect_pairs(image, split="test"),
        lambda: collect_edits(image, tmp_path / "a.nii.gz", split="test"),
    ):
        with pytest.raises(ValueError, match=r"a split \(--split\) is one of a data set, and .* is none: leave it out"):
            ask()


def test_whose_masks_are_is_known_where_a_data_set_says_so(trained_bundle, tmp_path):
    assert all(case.patient_known for case in collect_masks(trained_bundle.phantoms))
    shutil.copy(labels_of(trained_bundle)[0], tmp_path / "a.nii.gz")
    shutil.copy(labels_of(trained_bundle)[0], tmp_path / "b_slice001.nii.gz")
    assert [case.patient_known for case in collect_masks(tmp_path)] == [False, True]


def test_a_damaged_description_around_an_image_is_named(tmp_path):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "a.nii.gz").touch()
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset\.json cannot be read"):
        collect_pairs(tmp_path / "imagesTr" / "a.nii.gz")


def test_folders_without_masks_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no data set and no label maps \(\.nii\.gz, "):
        collect_masks(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder of masks at .*nowhere"):
        collect_masks(tmp_path / "nowhere")
