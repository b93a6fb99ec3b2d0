from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from monai_segdiff.data import Case, SegmentationDataset, case_name, file_extension, read_dataset, write_dataset
from monai_segdiff.data.layout import NoDatasetError, default_patient, read_labeled


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_decathlon_json_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTs/x.nii.gz")
    content = {
        "name": "Liver",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "2": "cancer", "1": "liver"},
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz", "patient": "p7"}],
        "test": ["./imagesTs/x.nii.gz"],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    dataset = read_dataset(tmp_path)
    assert dataset.classes == {"liver": 1, "cancer": 2}
    assert list(dataset.classes) == ["liver", "cancer"]
    assert dataset.splits["training"][0].patient == "p7"
    assert dataset.splits["test"] == [Case("x", tmp_path.resolve() / "imagesTs/x.nii.gz", None, "x")]
    assert dataset.modality == "CT"
    item = dataset.items("training")[0]
    assert item == {
        "image": str(tmp_path.resolve() / "imagesTr/a.nii.gz"),
        "label": str(tmp_path.resolve() / "labelsTr/a.nii.gz"),
        "case": "a",
        "index": 0,
    }
    assert "label" not in dataset.items("test")[0]


def test_what_is_written_reads_back_equal_and_survives_a_move(tmp_path: Path) -> None:
    root = (tmp_path / "one").resolve()
    touch(root, "imagesTr/a.png", "labelsTr/a.png", "imagesTr/b.png", "labelsTr/b.png")
    cases = [Case(n, root / f"imagesTr/{n}.png", root / f"labelsTr/{n}.png", "p" + n) for n in "ab"]
    dataset = SegmentationDataset(
        root, "X", {"lungs": 1}, {"training": cases[:1], "validation": cases[1:]}, (0.0, 255.0), 2, "by patient",
        "DX", "CC BY 4.0", "somebody", {"seed": 1},
    )  # fmt: skip
    write_dataset(root, dataset)
    assert read_dataset(root) == dataset
    root.rename(tmp_path / "two")
    moved = read_dataset(tmp_path / "two")
    assert moved.splits["validation"][0].label == tmp_path.resolve() / "two/labelsTr/b.png"


def test_reversed_labels_are_understood(tmp_path: Path, make_pair: Callable) -> None:
    make_pair()
    content = {"labels": {"background": 0, "liver": 1}, "training": [{"image": "imagesTr/p1.nii.gz"}]}
    (tmp_path / "source/dataset.json").write_text(json.dumps(content))
    assert read_dataset(tmp_path / "source").classes == {"liver": 1}


@pytest.mark.parametrize(
    ("folders", "split"),
    [(("images", "labels"), "training"), (("imagesTr", "labelsTr"), "training"), (("imagesTs", "labelsTs"), "test"),
     (("imagesVal", "labelsVal"), "validation")],
)  # fmt: skip
def test_plain_folders_are_paired_by_name(tmp_path: Path, folders: tuple[str, str], split: str) -> None:
    touch(
        tmp_path, f"{folders[0]}/a_0000.nii.gz", f"{folders[1]}/a.nii.gz", f"{folders[0]}/b.png", f"{folders[1]}/b.png"
    )
    dataset = read_dataset(tmp_path, {"liver": 1})
    assert [(c.id, c.image is not None, c.label is not None) for c in dataset.splits[split]] == [
        ("a", True, True),
        ("b", True, True),
    ]
    assert dataset.classes == {"liver": 1}


def test_a_folder_of_masks_alone_is_a_data_set(tmp_path: Path) -> None:
    touch(tmp_path, "labelsTs/a.nii.gz")
    assert "image" not in read_dataset(tmp_path).items("test")[0]


def test_cases_with_a_label_map_are_read_whatever_their_split(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTs/x.nii.gz", "imagesTs/notes.txt")
    touch(tmp_path, "imagesVal/v.nii.gz", "labelsVal/v.nii.gz")
    dataset, left_out = read_labeled(tmp_path, {"liver": 1})
    assert {split: [case.id for case in cases] for split, cases in dataset.splits.items()} == {
        "training": ["a"],
        "validation": ["v"],
    }
    assert left_out == [
        f"1 files or folders in {tmp_path / 'imagesTs'} are not read: notes.txt",
        f"1 cases have no label map and are left out, such as {tmp_path / 'imagesTs' / 'x.nii.gz'}",
    ]
    touch(tmp_path / "images alone", "images/a.png")
    with pytest.raises(ValueError, match="images alone holds no label maps; add them, or say which folder"):
        read_labeled(tmp_path / "images alone")
    touch(tmp_path / "labels alone", "labels/a.png")
    with pytest.raises(ValueError, match=r"labels/a\.png has no image; add it"):
        read_labeled(tmp_path / "labels alone")


def test_a_folder_of_something_else_is_told_from_one_that_lacks_files(tmp_path: Path) -> None:
    with pytest.raises(NoDatasetError, match=r"neither dataset\.json nor folders named"):
        read_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text('{"labels": {"1": "liver"}}')
    with pytest.raises(FileNotFoundError, match=r"neither a dataset\.json that lists cases nor folders") as caught:
        read_dataset(tmp_path)
    assert not isinstance(caught.value, NoDatasetError)


def test_slices_of_a_patient_are_known_by_their_names() -> None:
    assert default_patient("p1_slice012") == default_patient("p1_z3") == "p1"
    assert default_patient("liver_12") == "liver_12"


def test_names_and_extensions() -> None:
    assert case_name("/x/a.b.nii.gz") == "a.b"
    assert file_extension("/x/A.NII.GZ") == ".nii.gz"
    assert (case_name("a.png"), file_extension("a.png")) == ("a", ".png")


def test_errors_name_the_file_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_dataset(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"neither dataset\.json nor folders.*--labels"):
        read_dataset(tmp_path)
    touch(tmp_path, "images/a.png", "images/b.png", "labels/a.png")
    with pytest.raises(FileNotFoundError, match=r"'b'.*has no label"):
        read_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset\.json cannot be read as the description of a data set \(JSON\)"):
        read_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text('{"labels": {"1": "a"}, "training": []}')
    with pytest.raises(ValueError, match="is empty"):
        read_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text(
        '{"labels": {"1": "a"}, "training": [{"image": "no.png", "label": "x.png"}]}'
    )
    with pytest.raises(FileNotFoundError, match=r"no\.png.*is missing.*remove the case from .*dataset\.json"):
        read_dataset(tmp_path)


def test_a_folder_that_is_named_like_an_image_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "labels/a.png", "labels/b.png")
    for make, what in ((os.mkdir, "a folder"), (os.mkfifo, "a pipe or a device")):
        make(tmp_path / "images" / "b.png")
        with pytest.raises(ValueError, match=rf"images/b\.png is {what} that is named like an image: rename it"):
            read_dataset(tmp_path)
        os.rmdir(tmp_path / "images" / "b.png") if what == "a folder" else os.unlink(tmp_path / "images" / "b.png")


def test_asking_for_an_absent_split_says_what_there_is(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "labels/a.png")
    with pytest.raises(ValueError, match=r"'validation'; it holds training \(1\)"):
        read_dataset(tmp_path).items("validation")


def test_a_class_of_several_ids_survives_writing_and_reading(tmp_path: Path) -> None:
    image, label = tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"
    image.touch()
    label.touch()
    classes = {"liver": 5, "kidneys": [2, 3]}
    dataset = SegmentationDataset(tmp_path, "x", classes, {"training": [Case("a", image, label, "p")]})
    write_dataset(tmp_path, dataset)
    assert read_dataset(tmp_path).classes == {"kidneys": [2, 3], "liver": 5}


def test_findings_and_regions_survive_writing_reading_and_a_move(tmp_path: Path) -> None:
    root = (tmp_path / "one").resolve()
    touch(root, *(f"{folder}/{n}.png" for folder in ("imagesTr", "labelsTr") for n in "abc"), "regionsTr/a.png")
    found = {"a": ("mass", "opacity"), "b": (), "c": None}
    cases = [
        Case(n, root / f"imagesTr/{n}.png", root / f"labelsTr/{n}.png", n, names,
             root / "regionsTr/a.png" if n == "a" else None)
        for n, names in found.items()
    ]  # fmt: skip
    dataset = SegmentationDataset(root, "X", {"lungs": 1}, {"training": cases}, findings=("opacity", "mass"))
    content = json.loads(write_dataset(root, dataset).read_text())
    assert content["findings"] == ["opacity", "mass"]
    assert content["training"][0]["region"] == "./regionsTr/a.png"
    assert [entry.get("findings") for entry in content["training"]] == [["mass", "opacity"], [], None]
    assert read_dataset(root) == dataset
    assert all(item.keys() == {"image", "label", "case", "index"} for item in dataset.items("training"))
    items = dataset.items("training", findings=True)
    assert [item.get("findings") for item in items] == [["mass", "opacity"], [], None]
    assert ["findings" in item for item in items] == [True, True, False]
    assert [item.get("region") for item in items] == [str(root / "regionsTr/a.png"), None, None]
    root.rename(tmp_path / "two")
    assert read_dataset(tmp_path / "two").splits["training"][0].region == tmp_path.resolve() / "two/regionsTr/a.png"
    (tmp_path / "two/regionsTr/a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"region file .*a\.png of case 'a' is missing"):
        read_dataset(tmp_path / "two")


def test_without_findings_nothing_of_them_is_written(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/a.png", "labelsTr/a.png")
    dataset = read_dataset(tmp_path, {"lungs": 1})
    assert (dataset.findings, dataset.splits["training"][0].findings) == ((), None)
    text = write_dataset(tmp_path, dataset).read_text()
    assert '"findings"' not in text
    assert '"region"' not in text


@pytest.mark.parametrize("wrong", ['"mass"', "[1]", '{"mass": 1}'])
def test_findings_that_are_no_list_of_names_are_refused(tmp_path: Path, wrong: str) -> None:
    touch(tmp_path, "a.png")
    entry = f'{{"image": "a.png", "label": "a.png", "findings": {wrong}}}'
    (tmp_path / "dataset.json").write_text(f'{{"labels": {{"1": "lungs"}}, "training": [{entry}]}}')
    with pytest.raises(ValueError, match=r"dataset\.json: entry 1 of 'training': findings must be a list of names"):
        read_dataset(tmp_path)


def test_a_link_has_its_own_name_and_not_that_of_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    for name in ("MD5-01.nii.gz", "MD5-02.nii.gz"):
        (tmp_path / "archive" / name).touch()
    for part, name in (("images", "MD5-01.nii.gz"), ("labels", "MD5-02.nii.gz")):
        (tmp_path / "data" / part).mkdir(parents=True)
        (tmp_path / "data" / part / "p1_slice003.nii.gz").symlink_to(tmp_path / "archive" / name)
    entry = {"image": "images/p1_slice003.nii.gz", "label": "../data/labels/p1_slice003.nii.gz"}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"labels": {"1": "a"}, "training": [entry]}))
    (case,) = read_dataset(tmp_path / "data").splits["training"]
    assert (case.id, case.patient) == ("p1_slice003", "p1")
    assert (case.image, case.label) == tuple(
        tmp_path / "data" / part / "p1_slice003.nii.gz" for part in ("images", "labels")
    )


@pytest.mark.parametrize("kind", ["link to nothing", "folder"])
def test_a_description_that_is_no_file_is_named_and_not_passed_over(tmp_path: Path, kind: str) -> None:
    touch(tmp_path, "images/a.png", "labels/a.png")
    assert read_dataset(tmp_path).splits
    if kind == "folder":
        (tmp_path / "dataset.json").mkdir()
    else:
        (tmp_path / "dataset.json").symlink_to(tmp_path / "gone.json")
    with pytest.raises(ValueError, match=r"dataset\.json is no file, or a link to one that is not there"):
        read_dataset(tmp_path)
