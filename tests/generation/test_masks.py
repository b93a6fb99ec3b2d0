from __future__ import annotations

import shutil

import pytest

from monai_segdiff.generation import collect_masks


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


def test_folders_without_masks_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no data set and no label maps \(\.nii\.gz, "):
        collect_masks(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder of masks at .*nowhere"):
        collect_masks(tmp_path / "nowhere")
