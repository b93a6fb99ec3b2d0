from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_segdiff.data import SegmentationDataset, check_dataset, pair_folders, prepare_dataset
from monai_segdiff.data.preparation.source import Asked, Source, fingerprint
from monai_segdiff.documents import read_text

BOX: dict[str, Any] = {"classes": {"box": 1}, "size": 8, "progress": False}


@pytest.fixture
def said() -> Callable[..., tuple[SegmentationDataset, list[str]]]:
    """Prepare, and return what was warned of as well."""

    def prepare(source: Any, output: Path, **options: Any) -> tuple[SegmentationDataset, list[str]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dataset = prepare_dataset(source, output, **{**BOX, **options})
        return dataset, [str(warning.message) for warning in caught if warning.category is UserWarning]

    return prepare


def patients_of(dataset: SegmentationDataset) -> dict[str, set[str]]:
    return {split: {case.patient for case in cases} for split, cases in dataset.splits.items()}


def describe(root: Path, *entries: dict[str, Any], **more: Any) -> Path:
    (root / "dataset.json").write_text(json.dumps({"labels": {"1": "box"}, "training": entries, **more}))
    return root


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz", **more}


def test_a_table_says_whose_the_cases_of_a_data_set_are(tmp_path: Path, make_pair: Callable, said: Callable) -> None:
    names = [f"{patient}_{visit}" for patient in "ABCD" for visit in ("pre", "post")]
    for name in names:
        make_pair(name)
    table = tmp_path / "patients.csv"
    table.write_text("case;patient\n" + "".join(f"{name};{name[0]}\n" for name in names), encoding="utf-8-sig")
    dataset, remarks = said(tmp_path / "source", tmp_path / "out", patients=table)
    assert (dataset.split_kind, remarks) == ("by patient", [])
    owners = patients_of(dataset)
    assert sorted(owner for group in owners.values() for owner in group) == ["A", "B", "C", "D"]
    assert check_dataset(tmp_path / "out") == []
    table.write_text("case,patient\n" + "".join(f"{name},{name[0].replace('D', 'C')}\n" for name in names))
    with pytest.raises(FileExistsError, match="other settings"):
        prepare_dataset(tmp_path / "source", tmp_path / "out", patients=table, **BOX)
    told = describe(tmp_path / "source", *(entry(name, patient=name) for name in names))
    assert patients_of(said(told, tmp_path / "again", patients=table)[0]).keys() == {"training", "validation", "test"}


def test_where_nothing_says_whose_a_file_is_the_split_is_by_file(
    tmp_path: Path, make_pair: Callable, said: Callable
) -> None:
    for name in ("p0", "p1", "p2"):
        make_pair(name)
    dataset, remarks = said(tmp_path / "source", tmp_path / "out")
    assert dataset.split_kind == "by file"
    (remark,) = remarks
    assert remark.startswith("nothing says whose the 3 files are")
    assert "--patients-csv" in remark
    assert said(tmp_path / "source", tmp_path / "out")[1] == remarks, "a second run says so, too"
    assert [len(owners) for owners in patients_of(dataset).values()] == [1, 1, 1], "slices of a volume stay together"
    (finding,) = check_dataset(tmp_path / "out")
    assert finding.message == remark.partition("; ")[0]
    again, remarks = said(tmp_path / "out", tmp_path / "again", classes=None, size=4)
    assert (again.split_kind, len(remarks)) == ("by file", 1)
    assert said(tmp_path / "source", tmp_path / "all", fractions=(1, 0, 0))[1] == []


def test_frames_of_one_patient_are_a_louder_warning(tmp_path: Path, make_pair: Callable, said: Callable) -> None:
    for name in ("patient1_frame01", "patient1_frame12", "patient2_frame01"):
        make_pair(name)
    dataset, (remark,) = said(tmp_path / "source", tmp_path / "out")
    assert dataset.split_kind == "by file"
    assert remark.startswith(
        "'patient1_frame01' and 'patient1_frame12' look like images of one patient (1 such groups)"
    )
    (finding,) = check_dataset(tmp_path / "source", {"box": 1})
    assert (finding.severity, finding.message) == ("warning", remark.partition("; ")[0])
    table = tmp_path / "patients.csv"
    table.write_text("name,patient\npatient1_frame01,1\npatient1_frame12,1\npatient2_frame01,2\n")
    dataset, remarks = said(tmp_path / "source", tmp_path / "told", patients=table)
    assert (dataset.split_kind, len(set.union(*patients_of(dataset).values()))) == ("by patient", 2)
    assert remarks == ["nobody is left for test (--fractions), as there are 2 patients"]


def test_names_of_patients_never_become_paths(tmp_path: Path, make_pair: Callable, said: Callable) -> None:
    for number in range(3):
        make_pair("scan")
        for part in ("imagesTr", "labelsTr"):
            (tmp_path / "source" / part / f"d{number}").mkdir()
            (tmp_path / "source" / part / "scan.nii.gz").rename(tmp_path / f"source/{part}/d{number}/scan.nii.gz")
    entries = [
        {"image": f"imagesTr/d{n}/scan.nii.gz", "label": f"labelsTr/d{n}/scan.nii.gz", "patient": f"../../out of/p{n}"}
        for n in range(3)
    ]
    source = describe(tmp_path / "source", *entries)
    before = set(tmp_path.parent.rglob("*"))
    dataset, _ = said(source, tmp_path / "out")
    assert all(path.is_relative_to(tmp_path / "out") for path in set(tmp_path.parent.rglob("*")) - before)
    assert patients_of(dataset)["training"] < {f"../../out of/p{n}" for n in range(3)}, "what is said of patients stays"
    assert sorted(case.id for cases in dataset.splits.values() for case in cases)[0] == "out_of_p0_scan_slice003"


def test_an_id_that_is_a_path_stays_inside(tmp_path: Path, make_pair: Callable, said: Callable) -> None:
    case = {**make_pair("p"), "id": "/etc/../x"}
    dataset, _ = said([case], tmp_path / "out", fractions=(1, 0, 0))
    assert dataset.splits["training"][0].id == "etc_.._x_slice003"
    twins = [{**make_pair("a"), "id": "q"}, {**make_pair("b"), "id": "q_slice003"}]
    picture = tmp_path / "picture.png"
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(picture)
    twins[1] |= {"image": str(picture), "label": str(picture)}
    with pytest.raises(ValueError, match="cases 'q' and 'q_slice003' both give 'q_slice003'"):
        prepare_dataset(twins, tmp_path / "no", **BOX, fractions=(1, 0, 0))


def test_an_image_listed_for_two_patients_is_refused(tmp_path: Path, make_pair: Callable) -> None:
    first, second = make_pair("a"), make_pair("b")
    second["image"] = first["image"]
    with pytest.raises(
        ValueError, match=r"imagesTr/a\.nii\.gz is the image of 2 cases .* different patients' \('a', 'b'\)"
    ):
        prepare_dataset([first, second], tmp_path / "out", **BOX)


def test_what_is_left_out_is_said(tmp_path: Path, make_pair: Callable, said: Callable) -> None:
    for name in ("a", "b"):
        make_pair(name)
    (tmp_path / "source" / "imagesTr" / "c.npy").touch()
    (tmp_path / "source" / "imagesTr" / "._a.nii.gz").touch()
    (tmp_path / "source" / "imagesTs").mkdir()
    target = tmp_path / "source" / "imagesTs" / "t.nii.gz"
    target.write_bytes((tmp_path / "source" / "imagesTr" / "a.nii.gz").read_bytes())
    _, remarks = said(tmp_path / "source", tmp_path / "out", fractions=(1, 0, 0))
    assert remarks == [
        f"1 files or folders in {tmp_path / 'source' / 'imagesTr'} are not read: c.npy",
        f"1 cases have no label map and are left out, such as {target}",
    ]
    finding, *_ = check_dataset(tmp_path / "source", {"box": 1})
    assert (finding.severity, finding.message) == ("warning", remarks[0])


def test_classes_that_get_lost_are_said(tmp_path: Path, make_pair: Callable, said: Callable) -> None:
    label = np.zeros((32, 32, 6), np.uint8)
    label[4:28, 4:28, :3] = 1
    label[10, 10, 1] = 2  # too thin for voxels four times as large
    label[2:4, 2:4, 5] = 3  # in a slice with too little of it
    pairs = [make_pair(f"p{n}", label.shape, label=label) for n in range(2)]
    dataset, remarks = said(
        pairs, tmp_path / "out", classes={"box": 1, "dot": 2, "bit": 3, "none": 4}, fractions=(1, 0, 0)
    )
    assert [remark.partition(":")[0] for remark in remarks] == [
        "class 'dot' is in 2 label maps and got lost in 2 of them ('p0', 'p1')",
        "class 'bit' is in 2 label maps and got lost in 2 of them ('p0', 'p1')",
        "class 'none' is in none of the 2 label maps",
    ]
    lost = [f.message for f in check_dataset(tmp_path / "out")]
    assert lost == [f"class {name!r} is in none of the 6 label maps" for name in ("dot", "bit", "none")]
    assert len(dataset.splits["training"]) == 6


def test_options_that_have_no_effect_on_pictures_are_refused(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        for n in range(2):
            Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / part / f"c{n}.png")
    cases = pair_folders(tmp_path / "images", tmp_path / "masks")
    for option in ({"axis": 2}, {"min_foreground": 0.01}):
        with pytest.raises(ValueError, match=r"say how volumes are sliced, and .*c0\.png is no volume; leave them out"):
            prepare_dataset(cases, tmp_path / "out", **BOX, **option)


def test_they_are_refused_for_slices_in_nifti_at_the_first_one(tmp_path: Path, make_pair: Callable) -> None:
    pairs = [make_pair(f"p{n}", (8, 8), np.eye(4)) for n in range(2)]
    Path(pairs[1]["image"]).unlink()  # which is not looked for any more
    with pytest.raises(ValueError, match=r"axis \(--axis\) say how volumes are sliced, and .*p0\.nii\.gz is no volume"):
        prepare_dataset(pairs, tmp_path / "out", axis=2, **BOX)


@pytest.mark.parametrize("lists_cases", [True, False], ids=["Decathlon", "nnU-Net"])
def test_the_description_is_read_once(
    tmp_path: Path, make_pair: Callable, monkeypatch: pytest.MonkeyPatch, lists_cases: bool
) -> None:
    for n in range(2):
        make_pair(f"p{n}")
    source = describe(tmp_path / "source", *(entry(f"p{n}", patient=str(n)) for n in range(2)), parents={})
    if not lists_cases:
        (source / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "box": 1}}))
    opened = []

    def count(file: str | Path, *more: Any) -> str:
        opened.append(Path(file))
        return read_text(file, *more)

    monkeypatch.setattr("monai_segdiff.documents.read_text", count)  # through which every JSON and CSV file is read
    prepare_dataset(source, tmp_path / "out", size=8, progress=False)
    assert opened.count(source / "dataset.json") == 1


def test_a_source_says_all_that_its_folder_does(tmp_path: Path, make_pair: Callable) -> None:
    for name in ("a", "b"):
        make_pair(name)
    more = {"labels": {"1": "box", "2": "core"}, "parents": {"core": "box"}, "findings": ["mass"]}
    root = describe(tmp_path / "source", entry("a", patient="p", findings=["mass"]), entry("b", patient="q"), **more)
    (root / "imagesTr" / "notes.txt").touch()
    source = Source.open(root, Asked())
    assert [(case.id, case.patient, case.findings) for case in source.cases] == [
        ("a", "p", ("mass",)),
        ("b", "q", None),
    ]
    assert (source.name, source.classes, source.parents) == ("source", {"box": 1, "core": 2}, {"core": "box"})
    assert source.findings == ("mass",)
    assert source.fingerprint == fingerprint(source.cases)
    assert source.remarks == (f"1 files or folders in {root / 'imagesTr'} are not read: notes.txt",)
    assert Source.open(root, Asked(classes={"core": 2})).parents == {}, "of a class that is not wanted nothing is said"


def test_more_classes_than_a_byte_holds_are_refused(tmp_path: Path, make_pair: Callable) -> None:
    label = (np.arange(20 * 20 * 3).reshape(20, 20, 3) % 301).astype(np.int16)
    pairs = [make_pair(f"p{n}", label.shape, label=label) for n in range(2)]
    with pytest.raises(ValueError, match="300 classes, and a label map of bytes holds 255 at most"):
        prepare_dataset(pairs, tmp_path / "out", {f"region {i}": i for i in range(1, 301)}, size=8, progress=False)
    most = {f"region {i}": i for i in range(1, 256)}
    dataset = prepare_dataset(
        pairs,
        tmp_path / "out",
        most,
        size=20,
        drop_other_labels=True,
        min_foreground=0,
        fractions=(1, 0, 0),
        progress=False,
    )
    assert len(dataset.classes) == 255
    assert check_dataset(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("folder", "ids", "example"),
    [("masks_lung", [255], "such as lung=255"), ("masks", [3, 7], "such as name1=3 name2=7")],
)
def test_classes_that_nothing_names_are_asked_for_by_the_ids_that_are_there(tmp_path, folder, ids, example):
    for part in ("images", folder):
        (tmp_path / part).mkdir()
        for number in range(2):
            pixels = np.zeros((8, 8), np.uint8)
            pixels[2:4, 2:4], pixels[5:7, 5:7] = ids[0], ids[-1]
            Image.fromarray(pixels).save(tmp_path / part / f"{number}.png")
    with pytest.raises(ValueError, match=f"a name for each id that its label maps hold, {example}$"):
        Source.open(tmp_path, Asked())
