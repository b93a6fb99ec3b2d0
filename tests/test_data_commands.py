"""The verbs `check-data` and `prepare`: what they say, and arguments that are refused."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from monai_segdiff.__main__ import main
from monai_segdiff.data import read_dataset
from monai_segdiff.data.nifti import save_nifti


@pytest.fixture
def volumes(tmp_path):
    """A data set of four volumes in folders, with two organs."""
    labels = np.zeros((16, 16, 3), np.uint8)
    labels[2:7, 3:13], labels[9:14, 3:13] = 1, 2
    for n in range(4):
        for part, volume in (("imagesTr", labels * 50.0), ("labelsTr", labels)):
            save_nifti(tmp_path / "in" / part / f"p{n}.nii.gz", volume, np.eye(4))
    return tmp_path


def prepare(folder, *more, classes=("left=1", "right=2")):
    return main(["prepare", str(folder / "in"), str(folder / "out"), "--size", "8", "--classes", *classes, *more])


def test_warnings_come_as_lines_on_standard_error_even_where_pythons_are_switched_off(volumes, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert prepare(volumes) == 0
    out, err = capsys.readouterr()
    assert "split by file" in out
    assert "by patient" not in out
    (warning,) = (line for line in err.splitlines() if "warning" in line.lower())
    assert warning.startswith("warning: nothing says whose the 4 files are")
    assert "--patients-csv" in warning


def test_a_table_serves_a_data_set(volumes, capsys):
    (volumes / "p.csv").write_text("case,patient\np0,A\np1,A\np2,B\np3,B\n")
    assert prepare(volumes, "--patients-csv", str(volumes / "p.csv"), "--fractions", "0.5", "0", "0.5") == 0
    assert "6 training, 6 test; split by patient" in capsys.readouterr().out
    assert {c.patient for cases in read_dataset(volumes / "out").splits.values() for c in cases} == {"A", "B"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classes", "kidneys=1", "kidneys=2"], "'kidneys' is given twice"),
        (["--classes", "left=1", "--classes", "left=2"], "'left' is given twice"),
        (["--classes", "=1"], "'=1' is not NAME=ID"),
        (["--classes", "left="], "'left=' is not NAME=ID"),
        (["--classes", "left=1,"], "is not NAME=ID"),
        (["--classes", "left=-1"], "is not NAME=ID"),
        (["--classes", "left=1_0"], "is not NAME=ID"),
        (["--classes", "left=5-3"], "a range must go up"),
        (["--classes", "left=1-99999999999"], "a range must go up, over 65536 ids at most"),
        (["--parents", "a=b", "a=c"], "'a' is given twice"),
        (["--parents", "a= "], "is not CHILD=PARENT"),
        (["--segments", "a=A", "a=B"], "'a' is given twice"),
        (["--segments", "a=A,,B"], "is not NAME=SEGMENT"),
        (["--segments", " =A"], "is not NAME=SEGMENT"),
    ],
)
def test_arguments_that_contradict_themselves_are_wrong_usage(volumes, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        main(["prepare", str(volumes / "in"), str(volumes / "out"), *arguments])
    assert message in capsys.readouterr().err
    assert not (volumes / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--intensity-range", "300", "-200"], "(--intensity-range) must be LOW < HIGH"),
        (["--labels", "elsewhere"], "--labels is for a plain folder of images, but "),
        (["--segments", "left=Left"], "segments (--segments) has no effect on "),
        (["--findings", "mass"], "(--findings) name what"),
        (["--within-patient"], "(--within-patient) is for holding out a part of one patient, and there are 4"),
        (["--spatial-dims", "3", "--axis", "2"], "axis (--axis) say how volumes are sliced"),
        (["--body-threshold", "nan"], "(--body-threshold) must be a number"),
        (["--parents", "left=skin"], "parents (--parents) name ['skin']"),
    ],
)
def test_options_without_effect_or_out_of_range_end_with_2(volumes, capsys, arguments, message):
    assert prepare(volumes, *arguments) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert message in error[0]
    assert not (volumes / "out").exists()


@pytest.mark.parametrize("name", ["background", "Background", " left", "li\nver"])
def test_names_that_no_class_can_have_end_with_2(volumes, capsys, name):
    assert prepare(volumes, classes=(f"{name}=1", "right=2")) == 2
    assert "error: classes (--classes): class " in capsys.readouterr().err


def test_ids_may_be_listed_and_ranged(volumes):
    assert prepare(volumes, "--min-foreground", "0", classes=("organs=1-2",)) == 0
    assert read_dataset(volumes / "out").classes == {"organs": 1}


def test_check_data_without_label_maps_says_so(volumes, capsys):
    for file in (volumes / "in" / "labelsTr").iterdir():
        file.unlink()
    assert main(["check-data", str(volumes / "in")]) == 1
    out = capsys.readouterr().out
    assert "holds no label maps" in out
    assert "1 errors, 0 warnings" in out


@pytest.mark.parametrize("verb", ["check-data", "prepare"])
def test_a_damaged_description_is_one_line(volumes, capsys, verb):
    (volumes / "in" / "dataset.json").write_text("[" * 100_000 + "]" * 100_000)
    assert main([verb, str(volumes / "in"), *([str(volumes / "out")] if verb == "prepare" else [])]) in (1, 2)
    out, err = capsys.readouterr()
    (line,) = [line for line in (out + err).splitlines() if line.startswith("error: ")]
    assert "dataset.json" in line
    assert "nested too deeply" in line


def test_prepare_takes_nnunets_folders(tmp_path, capsys):
    labels = np.zeros((16, 16, 3), np.uint8)
    labels[2:7, 3:13] = 1
    for n in range(3):
        save_nifti(tmp_path / "in" / "imagesTr" / f"toy_{n:03d}_0000.nii.gz", labels * 50.0, np.eye(4))
        save_nifti(tmp_path / "in" / "labelsTr" / f"toy_{n:03d}.nii.gz", labels, np.eye(4))
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "x": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "in" / "dataset.json").write_text(json.dumps(content))
    assert main(["check-data", str(tmp_path / "in")]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out
    assert main(["prepare", str(tmp_path / "in"), str(tmp_path / "out"), "--size", "8"]) == 0
    assert read_dataset(tmp_path / "out").splits["training"][0].id.startswith("toy_00")
