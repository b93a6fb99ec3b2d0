from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_segdiff.__main__ import main
from monai_segdiff.data import Case, prepare_dataset, read_dataset, read_findings
from monai_segdiff.data.preparation.source import fingerprint

NAMES = ("Edema", "Pneumonia")
# The cells of No Finding, Edema, Pneumonia, Cardiomegaly, and what they say of the first two findings named above.
ROWS = {
    "both": ("", "1.0", "1.0", "", ("Edema", "Pneumonia")),
    "one": ("", "0.0", "1.0", "", ("Pneumonia",)),
    "one_beside_uncertain": ("", "-1.0", "1.0", "", ("Pneumonia",)),
    "uncertain": ("", "-1.0", "0.0", "", None),
    "uncertain_beside_no_finding": ("1.0", "-1.0", "", "", None),
    "no_finding": ("1.0", "", "", "", ()),
    "absent": ("", "0.0", "", "", ()),
    "unstated": ("", "", "", "", None),
    "another_only": ("", "", "", "1.0", None),
    "another_beside_absent": ("", "0", "0", "1", ()),
    "whole_numbers": ("0", "1", "-1", "", ("Edema",)),
}


def case(name: str, image: str = "x.jpg") -> Case:
    return Case(name, Path("/data") / image, Path("/data/m.png"), "p")


def write(path: Path, header: str, *lines: str) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = [f"{name},{','.join(row[:4])}" for name, row in ROWS.items()]
    return write(tmp_path / "chexpert.csv", "id,No Finding,Edema,Pneumonia,Cardiomegaly", *lines)


@pytest.mark.parametrize("name", ROWS)
def test_the_labelers_four_states(table: Path, name: str) -> None:
    (found,) = read_findings(table, NAMES, [case(name)])
    assert found.findings == ROWS[name][4]
    assert (found.id, found.patient) == (name, "p")


def test_findings_come_in_the_order_of_the_vocabulary_and_only_they_count(table: Path) -> None:
    cases = [case("both"), case("another_only")]
    assert [c.findings for c in read_findings(table, NAMES[::-1], cases)] == [("Pneumonia", "Edema"), None]
    assert [c.findings for c in read_findings(table, ("Cardiomegaly",), cases)] == [None, ("Cardiomegaly",)]


@pytest.mark.parametrize(
    ("column", "key", "image"),
    [
        ("id", "c1", "x.jpg"),
        ("dicom_id", "02aa804e-bde0afdd", "02aa804e-bde0afdd.jpg"),
        ("study_id", "50414267", "files/p10/p10000032/s50414267/02aa804e.jpg"),
        ("path", "p10/p10000032/s50414267/02aa804e.jpg", "files/p10/p10000032/s50414267/02aa804e.jpg"),
        ("path", "./02aa804e.jpg", "files/02aa804e.jpg"),
        ("path", "/data/a.jpg", "a.jpg"),
    ],
)
def test_a_case_is_found_by_its_name_its_file_or_its_study(tmp_path: Path, column: str, key: str, image: str) -> None:
    table = write(tmp_path / "t.csv", f"subject_id,{column},Edema", f"10000032,{key},1.0", "10000033,other,0.0")
    (found,) = read_findings(table, ["Edema"], [case("c1", image)])
    assert found.findings == ("Edema",)


def test_a_byte_order_mark_and_short_lines_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("\ufeffid,Edema,Pneumonia\r\nc1,1.0\r\n".encode())
    assert read_findings(tmp_path / "t.csv", NAMES, [case("c1")])[0].findings == ("Edema",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,Edema", "c1,1"], r"t\.csv has none of the columns id, path, dicom_id, study_id"),
        (["id,Oedema", "c1,1"], r"t\.csv has no column 'Edema'; it has Oedema"),
        (["id,Edema", "c2,1", "c1,yes"], r"t\.csv, line 3, column 'Edema': 'yes' is none of 1, 0, -1"),
        (["id,Edema", "c1,1", "c1,0"], r"t\.csv, line 3: id 'c1' is there twice"),
        (["id,Edema", "c2,1"], r"t\.csv says nothing of case 'c1' by its column id \(1 such cases\)"),
    ],
)
def test_errors_name_the_file_the_column_and_the_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_findings(write(tmp_path / "t.csv", *lines), ["Edema"], [case("c1")])


def test_no_finding_is_no_finding_and_a_missing_table_is_named(tmp_path: Path, table: Path) -> None:
    with pytest.raises(ValueError, match="'No Finding' is not a finding"):
        read_findings(table, ["No Finding"], [case("both")])
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist"):
        read_findings(tmp_path / "none.csv", NAMES, [case("both")])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for k in range(3):
        pixels = np.full((16, 16), 40 + k, np.uint8)
        pixels[4:12, 4:12] = 200
        for folder, array in (("images", pixels), ("masks", np.uint8(pixels > 100))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / folder / f"c{k}.png")
    return tmp_path


def test_prepare_takes_findings_from_a_table_on_the_command_line(pictures: Path) -> None:
    table = write(pictures / "t.csv", "dicom_id,No Finding,Edema,Pleural Effusion", "c0,,1,1", "c1,1,,", "c2,,-1,")
    arguments = [str(pictures / "images"), str(pictures / "out"), "--labels", str(pictures / "masks")]
    arguments += ["--classes", "lung=1", "--size", "8", "--fractions", "1", "0", "0"]
    more = ["--findings-table", str(table), "--findings", "Edema", "Pleural Effusion"]
    assert main(["prepare", *arguments, *more]) == 0
    dataset = read_dataset(pictures / "out")
    assert dataset.findings == ("Edema", "Pleural Effusion")
    found = {item["case"]: item.get("findings") for item in dataset.items("training", findings=True)}
    assert found == {"c0": ["Edema", "Pleural Effusion"], "c1": [], "c2": None}


def test_a_changed_table_is_noticed(pictures: Path) -> None:
    table = write(pictures / "t.csv", "id,Edema", "c0,1", "c1,0", "c2,")
    cases = [{"image": pictures / f"images/c{k}.png", "label": pictures / f"masks/c{k}.png"} for k in range(3)]
    arguments = {"classes": {"lung": 1}, "size": 8, "findings": ["Edema"], "progress": False}
    first = prepare_dataset(cases, pictures / "out", findings_table=table, **arguments)
    assert prepare_dataset(cases, pictures / "out", findings_table=table, **arguments) == first
    write(table, "id,Edema", "c0,1", "c1,1", "c2,")
    with pytest.raises(FileExistsError, match="other settings"):
        prepare_dataset(cases, pictures / "out", findings_table=table, **arguments)
    with pytest.raises(ValueError, match=r"findings \(--findings\) must name the columns of .*t\.csv"):
        prepare_dataset(cases, pictures / "new", findings_table=table, **{**arguments, "findings": None})


def test_sources_without_findings_are_known_by_what_they_were_known_by_before(pictures: Path) -> None:
    unknown = Case("a", Path("/none/x.png"), Path("/none/y.png"), "p")
    assert fingerprint([unknown]) == hashlib.sha256(b"a\np\nx.png None\ny.png None\n").hexdigest()
    others = [replace(unknown, findings=names) for names in (None, (), ("Edema",))]
    others.append(replace(others[-1], region=Path("/none/r.png")))
    assert len({fingerprint([case]) for case in others}) == 4
    cases = [{"image": pictures / "images/c0.png", "label": pictures / "masks/c0.png"}]
    dataset = prepare_dataset(cases, pictures / "out", {"lung": 1}, size=8, fractions=(1, 0, 0), progress=False)
    assert "findings" not in dataset.settings


def test_regions_lie_and_shrink_as_their_pictures_do(pictures: Path) -> None:
    region = np.zeros((16, 16), np.uint8)
    region[2:6, 4:8] = 2  # upper left in the picture: to the patient's right and up
    Image.fromarray(region).save(pictures / "region.png")
    entry = {"image": pictures / "images/c0.png", "label": pictures / "masks/c0.png", "findings": ["Pneumonia"]}
    cases = [{**entry, "region": pictures / "region.png"}]
    arguments = {"classes": {"lung": 1}, "size": 8, "fractions": (1, 0, 0), "progress": False}
    dataset = prepare_dataset(cases, pictures / "out", findings=NAMES, **arguments)
    (case,) = dataset.splits["training"]
    assert (case.findings, dataset.findings) == (("Pneumonia",), NAMES)
    prepared = nib.load(case.region)
    expected = np.zeros((8, 8))
    expected[4:6, 5:7] = 2
    assert np.array_equal(np.asarray(prepared.dataobj), expected)
    assert np.array_equal(prepared.affine, nib.load(case.image).affine)

    again = prepare_dataset(pictures / "out", pictures / "again", size=8, fractions=(1, 0, 0), progress=False)
    assert again.findings == NAMES
    assert np.array_equal(np.asarray(nib.load(again.splits["training"][0].region).dataobj), expected)
    with pytest.raises(ValueError, match="refer to its own findings, Edema, Pneumonia; leave findings out"):
        prepare_dataset(pictures / "out", pictures / "x", findings=["Pneumonia"], size=8, progress=False)
    with pytest.raises(ValueError, match=r"c0\.png: is said to show unknown findings \['Pneumonia'\]"):
        prepare_dataset(cases, pictures / "x", findings=["Edema"], **arguments)


def test_slices_of_a_volume_show_what_its_region_map_tells(tmp_path: Path, make_pair: Callable) -> None:
    shape = (8, 8, 4)
    label = np.ones(shape, np.uint8)
    region = np.zeros(shape, np.uint8)
    region[2:5, 2:5, 1] = 1
    placed = make_pair("region", shape, label=region, folder="regions")["label"]
    names = ["a", "b"]
    found = {"placed": (["a"], placed), "half_placed": (["a", "b"], placed), "healthy": ([], None),
             "elsewhere": (["a"], None), "unknown": (None, None)}  # fmt: skip
    cases = []
    for name, (findings, file) in found.items():
        extra = {"findings": findings, "region": file}
        cases.append({**make_pair(name, shape, label=label), **{k: v for k, v in extra.items() if v is not None}})
    dataset = prepare_dataset(
        cases, tmp_path / "out", {"box": 1}, size=8, fractions=(1, 0, 0), findings=names, progress=False
    )
    slices = {case.id: case for case in dataset.splits["training"]}
    assert [slices[f"placed_slice{k:03d}"].findings for k in range(4)] == [(), ("a",), (), ()]
    assert [slices[f"placed_slice{k:03d}"].region is not None for k in range(4)] == [False, True, False, False]
    wanted = {"half_placed": None, "healthy": (), "elsewhere": None, "unknown": None}
    for name, findings in wanted.items():
        assert [slices[f"{name}_slice{k:03d}"].findings for k in range(4)] == [findings] * 4
