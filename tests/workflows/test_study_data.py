"""What is said of the data of a study: it is heeded, kept, and a change of it is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from monai_segdiff.__main__ import main
from monai_segdiff.data import read_dataset
from monai_segdiff.data.nifti import save_nifti

from .plan.made import as_mr, volumes


def patients(folder: Path, number: int = 5) -> Path:
    """A folder for each patient, with two images and two label maps in it."""
    for n in range(number):
        label = np.zeros((32, 40, 24), np.uint8)
        label[8:24, 12:28, 4:20] = 1
        image = label * 10.0**n + np.random.default_rng(n).random(label.shape)
        for name, array in (("t1", image), ("t2", 2 * image), ("seg_a", label), ("seg_b", 2 * label)):
            save_nifti(folder / f"p{n}" / f"{name}.nii.gz", array, np.eye(4))
    return folder


@pytest.fixture
def study(tmp_path, capsys):
    """Run `run` or `plan` on data; gives the exit code and what was said."""

    def go(scans, *options, verb="run"):
        capsys.readouterr()
        code = main([verb, str(scans), "--output", str(tmp_path / "s"), *map(str, options)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return go


NAMED = ("--image-name", "t1*", "--label-name", "seg_a*", "--classes", "cube=1")


def test_what_run_asks_for_can_be_given_and_is_kept(tmp_path, study, measured):
    scans = patients(tmp_path / "in")
    code, said = study(scans, "--classes", "cube=1", "--until", "check")
    assert code == 2
    assert "name it (--label-name" in said
    assert study(scans, *NAMED, "--until", "plan")[0] == 0
    kept = json.loads((tmp_path / "s" / "study.json").read_text())["data"]
    assert (kept["image_name"], kept["label_name"], kept["classes"]) == (["t1*"], "seg_a*", {"cube": 1})
    code, said = study(scans, "--until", "plan")
    assert code == 0
    assert "[check] is current" in said
    assert "[plan] is current" in said
    code, said = study(scans, "--label-name", "seg_b*", "--classes", "cube=2", "--until", "plan")
    assert code == 0
    assert 'label_name "seg_a*" -> "seg_b*"' in said
    assert 'classes {"cube": 1} -> {"cube": 2}' in said


def test_the_images_that_are_named_are_prepared(tmp_path, study, measured):
    scans = patients(tmp_path / "in", number=3)
    assert study(scans, *NAMED, "--until", "prepare")[0] == 0
    before = (tmp_path / "s" / "prepared" / "dataset.json").read_text()
    assert study(scans, "--image-name", "t2*", "--until", "prepare")[0] == 0
    assert (tmp_path / "s" / "prepared" / "dataset.json").read_text() != before


def test_shares_of_the_split_stand_in_the_plan_and_a_change_redoes_no_more_than_it_must(tmp_path, study, measured):
    scans, file = volumes(tmp_path / "in", as_mr, number=6), tmp_path / "s" / "plan.yaml"
    assert study(scans, "--fractions", "0.5", "0.5", "0", "--parents", "inner=outer", "--until", "prepare")[0] == 0
    text = file.read_text()
    assert "as asked for (--fractions)" in text
    assert "as asked for (--parents)" in text
    assert yaml.safe_load(text)["generate"]["split"] == "validation"
    prepared = read_dataset(tmp_path / "s" / "prepared")
    held = {split: {case.patient for case in cases} for split, cases in prepared.splits.items()}
    assert {split: len(patients) for split, patients in held.items()} == {"training": 3, "validation": 3}
    code, said = study(scans, "--until", "prepare")
    assert code == 0
    assert "[prepare] is current" in said
    code, said = study(scans, "--fractions", "0.5", "0.25", "0.25", "--until", "prepare")
    assert code == 0
    assert "[check] is current" in said
    assert "[prepare] is done again, as this is new: fractions [0.5, 0.5, 0.0] -> [0.5, 0.25, 0.25]" in said
    assert yaml.safe_load(file.read_text())["generate"]["split"] == "test"
    assert len(measured) == 1, "no second depends on the split"


def test_an_edited_share_holds_until_another_is_asked_for(tmp_path, study, measured):
    scans, file = volumes(tmp_path / "in", as_mr, number=6), tmp_path / "s" / "plan.yaml"
    study(scans, "--fractions", "0.5", "0.25", "0.25", verb="plan")
    file.write_text(file.read_text().replace("[0.5, 0.25, 0.25]", "[0.6, 0.2, 0.2]"))
    study(scans, verb="plan")
    assert yaml.safe_load(file.read_text())["prepare"]["fractions"] == [0.6, 0.2, 0.2]
    study(scans, "--fractions", "0.7", "0.1", "0.2", verb="plan")
    assert yaml.safe_load(file.read_text())["prepare"]["fractions"] == [0.7, 0.1, 0.2]


def test_the_split_of_the_data_is_kept(tmp_path, study, measured):
    for n, split in enumerate(("train", "train", "val", "val")):
        image, label = as_mr(n, np.random.default_rng(n))
        for part, array in (("images", image), ("labels", label)):
            save_nifti(tmp_path / "in" / split / part / f"p{n}.nii.gz", array, np.eye(4))
    options = ("--classes", "outer=1", "inner=2", "--keep-split")
    assert study(tmp_path / "in", *options, "--until", "prepare")[0] == 0
    plan = yaml.safe_load((tmp_path / "s" / "plan.yaml").read_text())
    assert plan["generate"]["split"] == "validation"
    prepared = read_dataset(tmp_path / "s" / "prepared")
    held = {split: {case.patient for case in cases} for split, cases in prepared.splits.items()}
    assert held == {"training": {"p0", "p1"}, "validation": {"p2", "p3"}}
    code, said = study(tmp_path / "in", "--keep-split", "--seed", "1", "--until", "plan")
    assert code == 2
    assert "seed (--seed) says how a split is drawn, and the source's own is kept (--keep-split, --fold)" in said
    code, said = study(tmp_path / "in", "--seed", "1", "--until", "plan")  # which ends that it is kept
    assert code == 0
    assert "Split: 2 patients for training, 1 patient for validation, 1 patient for test" in " ".join(
        (tmp_path / "s" / "plan.yaml").read_text().replace("#", "").split()
    )


def test_shares_that_hold_out_nobody_are_refused_and_not_kept(tmp_path, study, measured):
    scans = volumes(tmp_path / "in", as_mr, number=4)
    code, said = study(scans, "--fractions", "1", "0", "0", verb="plan")
    assert code == 2
    assert "the fractions (--fractions) hold out nobody" in said
    assert study(scans, verb="plan")[0] == 0


def test_covariates_of_a_table_reach_the_prepared_data(tmp_path, study, measured):
    scans, table = volumes(tmp_path / "in", as_mr, number=5), tmp_path / "ages.csv"
    table.write_text("patient,age\n" + "".join(f"P{n},{50 + n}\n" for n in range(5)))
    assert study(scans, "--covariates", "age", "--covariates-table", table, "--until", "prepare")[0] == 0
    assert list(read_dataset(tmp_path / "s" / "prepared").covariates) == ["age"]
    table.write_text(table.read_text().replace("50", "20"))
    code, said = study(scans, "--until", "prepare")
    assert code == 0
    assert "[prepare] is done again, as this is new: data" in said


def test_a_line_of_the_plan_that_says_otherwise_than_an_option_is_named(tmp_path, study, measured):
    scans = volumes(tmp_path / "in", as_mr, number=3)
    file = tmp_path / "s" / "plan.yaml"
    study(scans, "--covariates", "spacing", verb="plan")
    file.write_text(file.read_text().replace("prepare:\n", "prepare:\n  covariates: [age]\n"))
    code, said = study(scans, verb="plan")
    assert code == 2
    assert f"{file}: prepare: covariates is ['age'], and --covariates was given as ['spacing']: take the line out" in (
        said
    )


@pytest.mark.parametrize("verb", ["check-data", "run"])
def test_a_folder_of_label_maps_beside_images_is_checked(tmp_path, capsys, verb):
    for n in range(2):
        image, label = as_mr(n, np.random.default_rng(n))
        label[0, 0, 0] = 9 if n else 0
        for part, array in (("scans", image), ("masks", label)):
            save_nifti(tmp_path / part / f"p{n}.nii.gz", array, np.eye(4))
    (tmp_path / "whose.csv").write_text("case,patient\np0,A\np1,A\n")
    options = ["--labels", str(tmp_path / "masks"), "--classes", "outer=1", "inner=2"]
    more = ["--output", str(tmp_path / "s"), "--until", "check"] if verb == "run" else []
    assert main([verb, str(tmp_path / "scans"), *options, *more]) in (1, 2)
    said = capsys.readouterr()
    assert "p1.nii.gz: " in said.out
    assert "[9]" in said.out
    options += ["--patients-csv", str(tmp_path / "none.csv")]
    assert main([verb, str(tmp_path / "scans"), *options, *more]) in (1, 2)
    said = capsys.readouterr()
    assert "none.csv" in said.out + said.err


@pytest.mark.slow
def test_ids_that_no_class_names_are_dropped_where_that_is_asked_for(tmp_path, study, capsys):
    scans = volumes(tmp_path / "in", as_mr, number=4)
    assert study(scans, "--classes", "outer=1", "--until", "check")[0] == 2
    options = ("--classes", "outer=1", "--drop-other-labels", "--images", "64")
    assert study(scans, *options, "--until", "prepare")[0] == 0
    assert list(read_dataset(tmp_path / "s" / "prepared").classes) == ["outer"]
    assert main(["check-data", str(scans), "--classes", "outer=1"]) == 1
    assert main(["check-data", str(scans), "--classes", "outer=1", "--drop-other-labels"]) == 0
