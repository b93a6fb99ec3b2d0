from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monai_segdiff.data import Case, SegmentationDataset, check_dataset, read_dataset, write_dataset

SOUND: dict[str, Any] = {"labels": {"1": "liver"}, "training": [{"image": "a.png", "label": "b.png"}]}


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def describe(root: Path, text: str | bytes | None = None, **changes: Any) -> Path:
    touch(root, "a.png", "b.png")
    if text is None:
        text = json.dumps({**SOUND, **changes})
    (root / "dataset.json").write_bytes(text.encode() if isinstance(text, str) else text)
    return root


def case_with(**entry: Any) -> list[Any]:
    return [SOUND["training"][0], {"image": "a.png", "label": "b.png", **entry}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_file_may_be_as_windows_saves_it(tmp_path: Path, encoding: str) -> None:
    describe(tmp_path, json.dumps({**SOUND, "name": "Lebern übersät"}, ensure_ascii=False).encode(encoding))
    dataset = read_dataset(tmp_path)
    assert (dataset.name, dataset.classes) == ("Lebern übersät", {"liver": 1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"labels": {"1": "liver"}, "labels": {"1": "spleen"}, "training": []}', "'labels' occurs twice"),
        ('{"intensity_range": [NaN, 1], "training": []}', "NaN is no number of JSON"),
        ("[]", r"no object; it must be like"),
        ("7", r"no object"),
        (b"\x00\x01\x02", "zero bytes"),
        ("", "cannot be read as the description of a data set"),
    ],
)
def test_what_is_no_sound_json_is_one_line_with_the_file(tmp_path: Path, text: str | bytes, message: str) -> None:
    describe(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        read_dataset(tmp_path)
    assert "dataset.json" in str(error.value)
    assert "\n" not in str(error.value)
    (finding,) = check_dataset(tmp_path)
    assert (finding.severity, "dataset.json" in finding.message) == ("error", True)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "labels is a list": ({"labels": ["liver"]}, "'labels' must map ids to names"),
    "id is no number": ({"labels": {"one": "liver"}}, "'one': 'liver'"),
    "name is no text": ({"labels": {"1": None}}, "'1': 'None'"),
    "id is a fraction": ({"labels": {"liver": 1.5}}, "'liver': '1.5'"),
    "id is a truth value": ({"labels": {"liver": True}}, "'liver': 'True'"),
    "name is blank": ({"labels": {"1": " "}}, "no name that is text"),
    "name is reserved": ({"labels": {"0": "air", "1": "Background"}}, "that of label id 0"),
    "one id twice": ({"labels": {"1": "liver", "01": "spleen"}}, "gives? the id 1 to 'liver' and 'spleen'"),
    "id is negative": ({"labels": {"liver": -1}}, "whole numbers from 1 to 2147483647"),
    "id is huge": ({"labels": {"1" * 30: "liver"}}, "whole numbers from 1 to 2147483647"),
    "cases are no list": ({"training": {"a": "b"}}, "'training' must be a list of cases"),
    "entry is a number": ({"training": [SOUND["training"][0], 7]}, r"entry 2 of 'training' must be an object"),
    "entry is empty": ({"training": [{"patient": "p"}]}, "entry 1 of 'training': it has neither image nor label"),
    "path is a number": ({"training": case_with(image=7)}, "entry 2 of 'training': its image must be the path"),
    "path holds a zero": ({"training": case_with(image="a\0b")}, "entry 2 of 'training': its image must be the path"),
    "path is too long": ({"training": case_with(image="x" * 5000)}, "entry 2 of 'training': its image cannot be"),
    "two label maps": ({"training": case_with(label=["a.png", "b.png"])}, "its label is in 2 files: name one"),
    "channel without file": ({"training": case_with(image=["a.png", ""])}, "its image has a channel without a file"),
    "channels are no list": ({"channels": "T1"}, "'channels' must be a list of names"),
    "channels not numbered": ({"channel_names": {"0": "T1", "2": "T2"}}, "must number the channels from 0 on"),
    "channels alike": ({"channel_names": {"0": "T1", "1": "t1"}}, "'channel_names' name 't1' twice"),
    "channel ends in a blank": ({"channels": ["T1", "T2 "]}, "'channels': channel 'T2 ' begins or ends with a blank"),
    "channel is a number": ({"modality": {"0": "T1", "1": 7}}, "'modality': channel 7 has no name that is text"),
    "ranges of others": ({"channels": ["T1", "T2"], "intensity_range": [[0, 1]]}, "has 1 pairs for 2 channels"),
    "cases by name are a list": ({"training": None, "dataset": ["a"]}, "'dataset' must map names of cases"),
    "patient is a list": ({"training": case_with(patient=[1])}, "entry 2 of 'training': 'patient' must be text"),
    "patient is blank": ({"training": case_with(patient=" ")}, "its patient is blank"),
    "findings twice": ({"training": case_with(findings=["a", "a"])}, "findings must be named once each"),
    "range goes down": ({"intensity_range": [300, -200]}, "'intensity_range' must be two numbers, the lower one first"),
    "range is one number": ({"intensity_range": [300]}, "'intensity_range' must be two numbers"),
    "range of text": ({"intensity_range": ["a", "b"]}, "'intensity_range' must be two numbers"),
    "range beyond floats": ({"intensity_range": [0, 10**400]}, "'intensity_range' must be two numbers"),
    "seven dimensions": ({"spatial_dims": 7}, "'spatial_dims' must be 2 or 3, got '7'"),
    "dimensions in text": ({"spatial_dims": "2"}, "'spatial_dims' must be 2 or 3"),
    "parents is a list": ({"parents": ["liver"]}, "'parents' must map class names"),
    "parent unknown": ({"parents": {"liver": "body"}}, r"'parents' name \['body'\], which are no classes"),
    "parents in a circle": ({"parents": {"liver": "liver"}}, "'parents': parents form a cycle"),
    "name is a list": ({"name": ["x"]}, "'name' must be text"),
    "settings is a list": ({"settings": [1]}, "'settings' must be an object"),
    "patients_known is text": ({"patients_known": "no"}, "'patients_known' must be true or false"),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_entry_that_cannot_be_understood_is_named(tmp_path: Path, what: str) -> None:
    changes, message = WRONG[what]
    describe(tmp_path, **changes)
    with pytest.raises(ValueError, match=f"cannot understand .*dataset\\.json: .*{message}"):
        read_dataset(tmp_path)


def test_numbers_and_null_are_taken_where_they_can_be_understood(tmp_path: Path) -> None:
    touch(tmp_path, "c.png", "d.png")
    entries = [
        {"image": "a.png", "label": "b.png", "patient": 12},
        {"image": "c.png", "label": "d.png", "patient": None},
    ]
    describe(tmp_path, training=entries, validation=None, parents=None, settings=None, modality="CT")
    dataset = read_dataset(tmp_path)
    assert [(c.patient, c.patient_known) for c in dataset.splits["training"]] == [("12", True), ("d", False)]
    assert (list(dataset.splits), dataset.modality) == (["training"], "CT")


def test_paths_may_be_absolute_or_as_windows_writes_them(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.nii.gz", "set/labelsTr/a.nii.gz")
    entry = {"image": str(tmp_path / "elsewhere/a.nii.gz"), "label": ".\\labelsTr\\a.nii.gz"}
    describe(tmp_path / "set", training=[entry])
    (case,) = read_dataset(tmp_path / "set").splits["training"]
    root = tmp_path.resolve()
    assert (case.image, case.label) == (root / "elsewhere/a.nii.gz", root / "set/labelsTr/a.nii.gz")


def test_more_than_255_classes_are_refused_unless_others_are_chosen(tmp_path: Path) -> None:
    describe(tmp_path, labels={str(i): f"region {i}" for i in range(1, 301)})
    with pytest.raises(
        ValueError, match=r"'labels' hold 300 classes, and a label map of bytes holds 255 at most.*--classes"
    ):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path, {"cortex": list(range(1, 301))}).classes == {"cortex": list(range(1, 301))}


def nnunet(root: Path, *images: str, labels: dict[str, Any] | None = None, **more: Any) -> Path:
    touch(root, *images)
    content = {"channel_names": {"0": "CT"}, "labels": labels or {"background": 0, "x": 1}, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps({**content, **more}))
    return root


def test_nnunets_second_layout_lists_no_cases(tmp_path: Path) -> None:
    files = [
        f"{part}/toy_{n:03d}{end}.nii.gz" for n in (1, 2) for part, end in (("imagesTr", "_0000"), ("labelsTr", ""))
    ]
    dataset = read_dataset(nnunet(tmp_path, *files, "imagesTs/toy_009_0000.nii.gz", numTraining=2))
    assert {split: [case.id for case in cases] for split, cases in dataset.splits.items()} == {
        "training": ["toy_001", "toy_002"],
        "test": ["toy_009"],
    }
    assert (dataset.classes, dataset.modality) == ({"x": 1}, "CT")
    assert dataset.splits["training"][1].image == tmp_path.resolve() / "imagesTr/toy_002_0000.nii.gz"


def test_nnunets_first_layout_leaves_the_channel_out_of_its_list(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/a[1]_0000.nii.gz", "labelsTr/a[1].nii.gz", "imagesTs/b_0000.nii.gz")
    entries = [{"image": "./imagesTr/a[1].nii.gz", "label": "./labelsTr/a[1].nii.gz"}]
    describe(tmp_path, training=entries, test=["./imagesTs/b.nii.gz"])
    dataset = read_dataset(tmp_path)
    assert [case.image.name for cases in dataset.splits.values() for case in cases if case.image] == [
        "a[1]_0000.nii.gz",
        "b_0000.nii.gz",
    ]
    touch(tmp_path, "imagesTs/b_0001.nii.gz")
    (case,) = read_dataset(tmp_path).splits["test"]
    assert [file.name for file in case.channel_files] == ["b_0000.nii.gz", "b_0001.nii.gz"]


def test_regions_within_each_other_are_classes_with_parents(tmp_path: Path) -> None:
    nnunet(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", labels={"background": 0, "kidneys": [1, 2], "x": 3})
    dataset = read_dataset(tmp_path)
    assert (dataset.classes, dataset.parents) == ({"kidneys": [1, 2], "x": 3}, {})
    regions = {"background": 0, "whole tumor": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    nnunet(tmp_path, labels=regions, regions_class_order=[1, 2, 3])
    dataset = read_dataset(tmp_path)
    assert dataset.classes == {"whole tumor": 1, "core": 2, "enhancing": 3}
    assert dataset.parents == {"core": "whole tumor", "enhancing": "core"}
    dataset = read_dataset(tmp_path, {"edema": 1, "core": 2})
    assert (dataset.classes, dataset.parents) == ({"edema": 1, "core": 2}, {})


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ({"a": [1, 2], "b": [2, 3]}, r"give the id 2 to 'a' and 'b'.*--classes NAME=ID"),
        ({"a": [1, 2], "b": 1, "c": 2}, r"give 'a' no id beside those of the regions within it.*--classes NAME=ID"),
    ],
)
def test_regions_that_overlap_otherwise_are_refused(tmp_path: Path, regions: dict[str, Any], message: str) -> None:
    nnunet(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", labels={"background": 0, **regions})
    with pytest.raises(ValueError, match=message):
        read_dataset(tmp_path)


def test_voxels_to_be_ignored_are_no_class(tmp_path: Path) -> None:
    nnunet(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", labels={"background": 0, "x": 1, "ignore": 2})
    with pytest.raises(ValueError, match=r"name 'ignore' \(id 2\).*--classes.*--drop-other-labels"):
        read_dataset(tmp_path)


def test_a_description_without_cases_or_folders_says_so(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"1": "liver"}}))
    with pytest.raises(FileNotFoundError, match=r"neither a dataset\.json that lists cases nor folders"):
        read_dataset(tmp_path)


def test_a_folder_of_another_format_is_empty_and_says_what_it_holds(tmp_path: Path) -> None:
    nnunet(tmp_path, "imagesTr/a_0000.npy", "labelsTr/a.npy", file_ending=".npy")
    with pytest.raises(ValueError, match=r"is empty.*1 files or folders in .*imagesTr are not read: a_0000\.npy"):
        read_dataset(tmp_path)


def test_that_patients_are_unknown_survives_writing_and_reading(tmp_path: Path) -> None:
    touch(
        tmp_path, *(f"{part}/leg{n}_view{v}.png" for part in ("imagesTr", "labelsTr") for n in (0, 1) for v in (0, 1))
    )
    root = tmp_path.resolve()
    cases = [
        Case(f"leg{n}_view{v}", root / f"imagesTr/leg{n}_view{v}.png", root / f"labelsTr/leg{n}_view{v}.png", f"leg{n}",
             patient_known=False)
        for n in (0, 1)
        for v in (0, 1)
    ]  # fmt: skip
    splits = {"training": cases[:2], "test": cases[2:]}
    content = json.loads(write_dataset(root, SegmentationDataset(root, "X", {"bone": 1}, splits)).read_text())
    assert content["patients_known"] is False
    again = read_dataset(root).splits
    assert again == splits
    assert not any(case.patient_known for members in again.values() for case in members)
    known = {"training": [Case("a", root / "a.png", root / "b.png", "p")]}
    assert "patients_known" not in write_dataset(root, SegmentationDataset(root, "X", {"bone": 1}, known)).read_text()
