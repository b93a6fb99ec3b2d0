from __future__ import annotations

import json
import shutil

import pytest
import yaml
from PIL import Image

from monai_segdiff.networks import read_card
from monai_segdiff.workflows import make_plan, run_study, study
from monai_segdiff.workflows.study_stage import Stage
from monai_segdiff.workflows.study_stages import STAGES

from .plan.made import as_ct, as_mr, nested, volumes


class Made(Stage):
    """A stage that writes what its inputs are, and counts its runs."""

    doing = "making"

    def __init__(self, name, needs):
        self.name, self.needs, self.runs = name, needs, 0

    def inputs(self, study):
        return {name: (study.root / f"{name}.txt").read_text() for name in self.needs}

    def result(self, study):
        return study.root / f"made_{self.name}.txt"

    def run(self, study, result):
        self.runs += 1
        self.result(study).write_text(str(self.inputs(study)))

    def said(self, study):
        return "made"


@pytest.fixture
def stages(monkeypatch, tmp_path):
    made = {"first": Made("first", ["a"]), "second": Made("second", ["a", "b"]), "third": Made("third", ["b"])}
    monkeypatch.setattr(study, "STAGES", made)
    monkeypatch.setattr(study, "STAGE_NAMES", tuple(made))
    (tmp_path / "s").mkdir()
    for name in "ab":
        (tmp_path / "s" / f"{name}.txt").write_text("1")
    volumes(tmp_path / "in", as_mr, number=2)

    def run(until="third"):
        before = {name: stage.runs for name, stage in made.items()}
        run_study(tmp_path / "in", tmp_path / "s", until=until)
        return [name for name, stage in made.items() if stage.runs > before[name]]

    return run


def test_each_stage_is_done_once(stages):
    assert stages("second") == ["first", "second"]
    assert stages() == ["third"]
    assert stages() == []


def test_what_depends_on_a_change_is_done_again_and_nothing_else(stages, tmp_path, capsys):
    stages()
    (tmp_path / "s" / "b.txt").write_text("2")
    capsys.readouterr()
    assert stages() == ["second", "third"]
    out = capsys.readouterr().out
    assert "[first] is current: made" in out
    assert '[second] is done again, as this is new: b "1" -> "2"' in out


def test_a_result_that_is_gone_is_made_again(stages, tmp_path):
    stages()
    (tmp_path / "s" / "made_second.txt").unlink()
    assert stages() == ["second"]


def test_a_stage_that_failed_goes_on_and_counts_all_its_time(stages, tmp_path, monkeypatch):
    def fail(self, study, result):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Made, "run", fail)
        with pytest.raises(KeyboardInterrupt):
            stages()
    state = json.loads((tmp_path / "s" / "study.json").read_text())["stages"]
    assert state["first"]["done"] is False
    assert stages() == ["first", "second", "third"]


def test_what_is_not_of_the_study_is_not_written_over(stages, tmp_path):
    (tmp_path / "s" / "made_first.txt").write_text("precious")
    with pytest.raises(FileExistsError, match=r"made_first\.txt is there and not of this study: move it away"):
        stages()
    assert (tmp_path / "s" / "made_first.txt").read_text() == "precious"


def test_a_study_keeps_to_its_data(stages, tmp_path):
    stages()
    volumes(tmp_path / "other", as_mr, number=2)
    with pytest.raises(ValueError, match=r"is a study of .*in, not of .*other: choose another folder"):
        run_study(tmp_path / "other", tmp_path / "s", until="first")


def test_a_damaged_state_is_named(stages, tmp_path):
    (tmp_path / "s" / "study.json").write_text('{"version": 9}')
    with pytest.raises(ValueError, match=r"study\.json is not as a study writes it .*remove it"):
        stages()


def test_a_stage_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"until \(--until\) must be one of check, plan, prepare, train"):
        run_study(tmp_path, tmp_path / "s", until="rest")


def test_the_plan_is_written_with_a_picture_before_anything_is_trained(tmp_path, measured, capsys):
    file = make_plan(volumes(tmp_path / "in", as_ct, number=3, modality="CT"), tmp_path / "s")
    root = tmp_path / "s"
    assert file == root / "plan.yaml"
    assert (root / "check.txt").read_text().endswith("0 errors, 0 warnings\n")
    assert {path.name for path in root.iterdir()} == {
        "check.txt",
        "fingerprint.json",
        "overview.png",
        "plan.yaml",
        "study.json",
    }
    with Image.open(root / "overview.png") as picture:
        assert picture.size[0] > 3 * 208, "three planes of a volume side by side"
        assert picture.size[1] > 3 * 208, "a row for each split"
    text = file.read_text()
    assert "in, 3 cases of 3 patients; CT, intensities -1" in " ".join(text.replace("#", "").split())
    assert "# Expected: " in text
    assert yaml.safe_load(text)["prepare"]["crop"] == "body"
    capsys.readouterr()
    make_plan(tmp_path / "in", root)
    assert "[plan] is current: expected " in capsys.readouterr().out


def test_an_edited_plan_is_respected_and_a_removed_line_is_planned_anew(tmp_path, measured, capsys):
    def edit(before, after):
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after))
        capsys.readouterr()
        make_plan(tmp_path / "in", tmp_path / "s")
        return yaml.safe_load(file.read_text())

    file = make_plan(volumes(tmp_path / "in", as_mr, number=3), tmp_path / "s", images=320)
    assert edit("batch_size: 16  # as the", "batch_size: 8 #")["batch_size"] == 8
    assert "plan.yaml: batch_size is yours, 8" in capsys.readouterr().out
    assert "yours; planned was 16" in file.read_text()
    changed = edit("max_images: 248", "max_images: 160")
    assert (changed["max_images"], changed["batch_size"]) == (160, 8)
    assert changed["images_per_epoch"] == 16
    line = next(line for line in file.read_text().splitlines() if line.startswith("batch_size"))
    assert edit(line, "")["batch_size"] == 16
    # What is asked for anew outweighs what was edited before.
    make_plan(tmp_path / "in", tmp_path / "s", images=48)
    now = yaml.safe_load(file.read_text())
    assert (now["max_images"], now["tuning_images"]) == (32, 16)


def test_errors_of_the_data_end_a_study_before_it_begins(tmp_path, measured):
    def off(n, rng):
        label = nested()
        label[0, 0, 0] = 9
        return label.astype("float32"), label

    with pytest.raises(ValueError, match=r"the data have 3 errors, all in .*check\.txt; the first: .*p0\.nii\.gz"):
        make_plan(volumes(tmp_path / "in", off, number=3), tmp_path / "s")
    assert (tmp_path / "s" / "check.txt").read_text().count("error: ") == 3
    assert not (tmp_path / "s" / "plan.yaml").exists()


def tiny(file):
    """Make a plan one of seconds."""
    content = yaml.safe_load(file.read_text())
    content.update(channels=[8, 8], attention_levels=[False, False], num_head_channels=8, norm_num_groups=4)
    content.update(num_steps=2, batch_size=4)
    content["evaluate"]["segmenter_images"] = 16
    content["prepare"]["workers"] = 1
    file.write_text(yaml.safe_dump(content))


@pytest.mark.slow
def test_the_whole_way_and_what_a_changed_plan_does_again(tmp_path, measured, capsys, own_logging):
    scans, root = volumes(tmp_path / "in", as_mr, number=6), tmp_path / "s"
    tiny(make_plan(scans, root, images=8))

    def again():
        capsys.readouterr()
        with own_logging():
            made = run_study(scans, root)
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
        return made, [line[1:].partition("]")[0] for line in lines if "] done in" in line]

    made, done = again()
    assert done == ["plan", "prepare", "train", "guide", "tune", "generate", "evaluate"]
    assert made.weights.is_file()
    assert (made.report / "report.html").is_file()
    assert 0 <= made.figures["dice"] <= 1
    assert made.spent > 0
    assert again()[1] == []
    shutil.copy(made.plan, tmp_path / "before.yaml")
    made.plan.write_text(made.plan.read_text().replace("segmenter_images: 16", "segmenter_images: 32"))
    assert again()[1] == ["plan", "guide", "evaluate"]
    made.plan.write_text(made.plan.read_text().replace("max_images: 8", "max_images: 12"))
    assert again()[1] == ["plan", "train", "guide", "tune", "generate", "evaluate"]
    assert not made.tuned.is_file()
    text = made.plan.read_text()
    made.plan.write_text(text.replace("weights: [1.0, 1.5, 2.0, 3.0]", "weights: [2.5]"))
    assert again()[1][:2] == ["plan", "guide"]
    assert read_card(made.weights)["guidance_weight"] == 2.5
    made.plan.write_text(made.plan.read_text().replace("tuning_images: 0", "tuning_images: 8"))
    assert again()[1] == ["plan", "tune", "generate", "evaluate"]
    manifest = json.loads((made.synthetic / "manifest.json").read_text())
    assert made.tuned.is_file()
    assert manifest["settings"]["sampler"] == "consistency"


@pytest.mark.data
@pytest.mark.slow
def test_the_whole_way_on_real_mr(tmp_path, measured, segdiff_data, own_logging):
    source = segdiff_data / "mr" / "hippocampus"
    content = json.loads((source / "dataset.json").read_text())
    content["training"] = content["training"][:6]
    for case in content["training"]:
        for key in ("image", "label"):
            (tmp_path / "in" / case[key]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / case[key], tmp_path / "in" / case[key])
    (tmp_path / "in" / "dataset.json").write_text(json.dumps(content))
    tiny(make_plan(tmp_path / "in", tmp_path / "s", images=8))
    with own_logging():
        made = run_study(tmp_path / "in", tmp_path / "s")
    plan = yaml.safe_load(made.plan.read_text())
    assert plan["prepare"]["crop"] == "labels"
    assert plan["prepare"]["percentiles"] == [0.5, 99.5]
    assert made.figures["ceiling"] is not None


def test_the_stages_are_those_of_the_documents():
    assert list(STAGES) == ["check", "plan", "prepare", "train", "guide", "tune", "generate", "evaluate"]
