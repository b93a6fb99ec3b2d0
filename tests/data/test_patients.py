from __future__ import annotations

from pathlib import Path

import pytest

from monai_segdiff.data import Case
from monai_segdiff.data.patients import alike, contradictions, guess_patients, read_patients, unknown_patients


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    (folder / "patients.csv").write_bytes(text.encode(encoding))
    return folder / "patients.csv"


def unknown(*names: str) -> list[Case]:
    return [Case(name, Path(f"{name}.png"), Path(f"{name}_label.png"), name, patient_known=False) for name in names]


@pytest.mark.parametrize(
    "text",
    [
        "case,patient\na,P1\nb,P2\n",
        "case;patient\r\na;P1\r\nb;P2\r\n",
        "case\tpatient\na\tP1\nb\tP2",
        "\n case , patient \n\n a , P1 \n,\n b , P2 \n\n",
        "case,patient\na,P1\nb,P2\na,P1\n",
        'case,patient\n"a","P1"\nb,P2\nelse,P3\n',
        "case,age,patient\na,30,P1\nb,40,P2\n",
        "Patient_ID,case\nP1,a\nP2,b\n",
        "image,whose\na,P1\nb,P2\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_are_read_as_people_write_them(tmp_path: Path, text: str, encoding: str) -> None:
    assert read_patients(write(tmp_path, text, encoding), ["b", "a"]) == {"b": "P2", "a": "P1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,patient\na,P1\nb,P2\na,P2\n", r"line 4: case 'a' is of 'P2' here and of 'P1' above"),
        ("case,patient\na,P1\nb,\n", r"line 3: the column 'patient' is blank"),
        ("case,patient\na,P1\n,P2\n", r"line 3: the column 'case' is blank"),
        ("case,patient\na,P1\nb,p1\n", r"patients 'P1' and 'p1' differ by upper and lower case only"),
        ("a,P1\nb,P2\n", r"its first line, a,P1, names a case where a heading is expected"),
        ("case\na\nb\n", r"has one column, 'case'; it needs two"),
        ("case,patient\na,P1\nb,P2,P3\n", r"line 3: there are 3 cells where the header has 2"),
        ("case,patient\na\nb,P2\n", r"line 2: there are 1 cells where the header has 2"),
        ("case,case\na,P1\n", r"two columns named 'case'"),
        ("", r"it is empty"),
        ("case,patient\na,P1\n", r"names no patient for case 'b' \(1 such cases\); add a line"),
        ("case,patient\na.nii.gz,P1\nb.nii.gz,P2\n",
         r"case 'a', 'b' \(2 such cases\), and its 'a\.nii\.gz', 'b\.nii\.gz' \(2 such lines\) are no cases; write"),
        ("case,patient\nx/A.png,P1\nC:\\b.png,P2\n", r"are no cases; write names as the cases have them, without"),
        ("case,patient\nx,P1\ny,P2\n", r"its 'x', 'y' \(2 such lines\) are no cases; add a line for each"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_named_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_patients(write(tmp_path, text), ["a", "b"])
    assert "patients.csv" in str(error.value)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist"):
        read_patients(tmp_path / "none.csv", ["a"])


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["p0", "p1", "p2"], []),
        (["toy_000", "toy_001", "toy_002"], []),
        (["liver_12", "liver_13"], []),
        ([f"site{s}_{n:03d}" for s in (1, 2) for n in range(20)], []),
        (
            ["patient000_frame01", "patient000_frame12", "patient001_frame01"],
            [["patient000_frame01", "patient000_frame12"]],
        ),
        (["p1_pre", "p1_post", "p2_pre"], [["p1_post", "p1_pre"]]),
        (["1234L", "1234R", "99L"], [["1234L", "1234R"]]),
        (["a-left", "A-Right", "b-left"], [["A-Right", "a-left"]]),
        (["sub-01_ses-1_T1w", "sub-01_ses-2_T1w", "sub-02_ses-1"], [["sub-01_ses-1_T1w", "sub-01_ses-2_T1w"]]),
        (["P1_20200101", "P1_20210302"], [["P1_20200101", "P1_20210302"]]),
        (["anna_1", "anna_2", "bert_1", "bert_2"], [["anna_1", "anna_2"], ["bert_1", "bert_2"]]),
        (["_" * 10_000 + "1", "_" * 10_000 + "2"], []),
    ],
)
def test_names_of_several_images_of_one_patient_are_recognized(names: list[str], groups: list[list[str]]) -> None:
    assert alike(names) == groups
    assert alike(names[::-1]) == groups


def test_names_tell_whose_slices_are_unless_volumes_look_like_one_patients() -> None:
    cases = guess_patients(unknown("p1_slice001", "p1_slice002", "p2", "q1_frame1_slice001", "q1_frame2_slice001"))
    assert [(case.patient, case.patient_known) for case in cases] == [
        ("p1", True),
        ("p1", True),
        ("p2", False),
        ("q1_frame1", False),
        ("q1_frame2", False),
    ]
    told = Case("a_slice001", None, None, "somebody")
    assert guess_patients([told]) == [told]


def test_what_is_unknown_is_said_with_the_remedy_and_how_bad_it_is() -> None:
    assert unknown_patients([Case("a", None, None, "p")]) == ""
    plain = unknown_patients(unknown("a", "b"))
    assert plain.startswith(
        "nothing says whose the 2 files are, so each counts as another patient's; say whose each is"
    )
    assert "--patients-csv" in plain
    worse = unknown_patients(unknown("p1_left", "p1_right", "p2_left"))
    assert worse.startswith("'p1_left' and 'p1_right' look like images of one patient (1 such groups)")
    assert "may be in training and held out" in worse


def test_an_image_of_two_patients_is_a_contradiction() -> None:
    first, second = Case("a1", Path("a.png"), None, "P"), Case("a2", Path("a.png"), None, "Q")
    (message,) = contradictions([first, second, Case("b", Path("b.png"), None, "P")])
    assert message.startswith(
        "a.png is the image of 2 cases that count as different patients' ('a1', 'a2'); list it once"
    )
    assert contradictions([first, Case("a2", Path("a.png"), None, "P")]) == []
