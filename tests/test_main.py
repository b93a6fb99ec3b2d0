from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

import monai_segdiff
import monai_segdiff.evaluation
import monai_segdiff.workflows.demo
from monai_segdiff.__main__ import _parser, main
from monai_segdiff.data import read_dataset, read_geometry
from monai_segdiff.data.nifti import save_nifti

VERBS = ["demo", "check-data", "prepare", "make-drr", "train", "generate", "edit", "evaluate", "convert"]


@pytest.fixture
def pictures(tmp_path):
    """Pictures of squares with label maps; a table says that they are of four patients."""
    rng = np.random.default_rng(0)
    for kind in ("pictures", "masks"):
        (tmp_path / kind).mkdir()
    lines = ["file,patient"]
    for n in range(40):
        label = np.zeros((20, 20), np.uint8)
        label[4:16, 4:16] = 1
        label[8:12, 8:12] = 2
        image = np.clip(100 * label + rng.normal(20, 5, label.shape), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "pictures" / f"view{n}.png")
        Image.fromarray(label).save(tmp_path / "masks" / f"view{n}.png")
        lines.append(f"view{n},patient{n % 4}")
    (tmp_path / "patients.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def prepare(folder, *more):
    arguments = [str(folder / "pictures"), str(folder / "out"), "--labels", str(folder / "masks"), "--size", "16"]
    return main(["prepare", *arguments, "--classes", "square=1", "core=2", *more])


def error_of(capsys):
    """The one line on standard error."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error:", "Traceback"))]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert f"python -m monai_segdiff {verb}" in text
    options = [line.split()[0] for line in text.splitlines() if line.startswith("  -")]
    assert len(options) > 3
    assert "None" not in text, "a default must be said in words"


def test_the_overview_lists_the_verbs_and_the_way(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"    {verb} " in text for verb in VERBS)
    assert "python -m monai_segdiff train ct_organ --output my_ct --data prepared" in text


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"monai_segdiff {monai_segdiff.__version__}\n"


def test_help_is_quick_as_it_loads_no_framework():
    look = "print({'torch', 'monai'} & set(sys.modules))"
    program = f"import sys; from monai_segdiff.__main__ import _parser; _parser(); {look}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint"],
        ["prepare", "a"],
        ["check-data", "a", "--classes", "liver"],
        ["prepare", "a", "b", "--parents", "x"],
    ],
)
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "error: " in capsys.readouterr().err


def test_check_data_ends_with_0_for_sound_data(trained_bundle, capsys):
    assert main(["check-data", str(trained_bundle.phantoms)]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out


def test_check_data_ends_with_1_for_errors_and_names_each_file(trained_bundle, tmp_path, capsys):
    shutil.copytree(trained_bundle.phantoms, tmp_path / "data")
    missing, *_ = sorted((tmp_path / "data" / "imagesTr").iterdir())
    missing.unlink()
    assert main(["check-data", str(tmp_path / "data"), "--classes", "body=1", "rest=2,3,4,5"]) == 1
    out = capsys.readouterr().out
    assert f"{missing}: image file is missing" in out
    assert "unknown ids [6]" in out
    errors = sum(line.startswith("error: ") for line in out.splitlines())
    assert f"{errors} errors, 0 warnings" in out


def test_prepare_pairs_folders_and_splits_by_the_table_of_patients(pictures, capsys):
    table = ("--patients-csv", str(pictures / "patients.csv"))
    assert prepare(pictures, *table, "--fractions", "0.5", "0.25", "0.25", "--parents", "core=square") == 0
    assert "20 training, 10 validation, 10 test; split by patient; classes square, core" in capsys.readouterr().out
    dataset = read_dataset(pictures / "out")
    assert dataset.parents == {"core": "square"}
    for cases in dataset.splits.values():
        for case in cases:
            assert case.patient == f"patient{int(case.id.split('_')[0].removeprefix('view')) % 4}"


def test_prepare_takes_an_intensity_range_a_seed_and_a_credit(pictures):
    assert prepare(pictures, "--intensity-range", "0", "255", "--attribution", "drawn here", "--seed", "3") == 0
    content = json.loads((pictures / "out" / "dataset.json").read_text())
    assert content["intensity_range"] == [0.0, 255.0]
    assert content["attribution"] == "drawn here"


def test_prepare_refuses_ids_without_a_class_unless_told_to_drop_them(pictures, capsys):
    arguments = [str(pictures / "pictures"), str(pictures / "out"), "--labels", str(pictures / "masks"), "--size", "16"]
    assert main(["prepare", *arguments, "--classes", "square=1"]) == 2
    message = error_of(capsys)
    assert "view0.png" in message
    assert "2" in message
    assert main(["prepare", *arguments, "--classes", "square=1", "--drop-other-labels"]) == 0
    assert read_dataset(pictures / "out").classes == {"square": 1}


def test_one_patient_is_split_only_when_told_to(pictures, capsys):
    lines = ["file,patient", *(f"view{n},only" for n in range(40))]
    (pictures / "patients.csv").write_text("\n".join(lines))
    table = ("--patients-csv", str(pictures / "patients.csv"))
    assert prepare(pictures, *table) == 2
    assert "--within-patient" in error_of(capsys)
    assert prepare(pictures, *table, "--within-patient", "--fractions", "0.8", "0.1", "0.1") == 0
    assert read_dataset(pictures / "out").split_kind == "within one patient"


def test_a_table_that_lacks_a_case_is_named(pictures, capsys):
    (pictures / "patients.csv").write_text("file,patient\nview0,a\n")
    assert prepare(pictures, "--patients-csv", str(pictures / "patients.csv")) == 2
    assert "patients.csv names no patient for case 'view1'" in error_of(capsys)


@pytest.fixture
def legs(tmp_path):
    """CT volumes of three legs of which each has its width, as far as two cylinders are legs."""
    x, y = np.meshgrid(*[(np.arange(24) - 11.5) * 3.0] * 2, indexing="ij")
    for n in range(3):
        plane = np.where(np.hypot(x, y) < 8, 700, np.where(np.hypot(x, y) < 20 + 3 * n, 40, -1000)).astype(np.float32)
        save_nifti(tmp_path / "legs" / f"leg{n}.nii", np.repeat(plane[:, :, None], 12, axis=2), np.diag([3, 3, 3, 1.0]))
    return tmp_path


def make_drr(folder, *more):
    return main(["make-drr", str(folder / "legs"), str(folder / "out"), "--size", "16", *more])


def test_make_drr_hands_its_options_on(legs, capsys):
    views = ("--angles", "0", "90", "--axis", "0", "0.1", "1", "--detector-spacing", "6", "1.5", "--parallel")
    beam = ("--spectrum", "70kVp", "--photons", "1e6", "--normalize", "view", "--source-to-isocenter", "800")
    labels = ("--contour-threshold", "0.2", "--bone-threshold", "150", "--min-bone-length", "3")
    assert make_drr(legs, *views, *beam, *labels, "--seed", "4", "--licence", "CC0", "--attribution", "me") == 0
    out = legs / "out"
    assert f"2 training, 2 validation, 2 test; split by file; look at {out / 'overview.png'}" in capsys.readouterr().out
    with Image.open(out / "overview.png") as picture:
        assert picture.size[0] > 2 * 192 + 2, "two views a patient, and its name"
        assert picture.size[1] > 3 * 192 + 4, "three patients, and the classes"
    geometry = read_geometry(out, "leg1")
    assert [view["angle"] for view in geometry["views"]] == [0, 90]
    assert (geometry["beam"], geometry["source_to_isocenter"], geometry["source_to_detector"]) == (
        "parallel",
        800,
        1500,
    )
    assert geometry["detector_spacing"] == [6, 1.5]
    assert geometry["axis"] == pytest.approx([0, 0.0995, 0.995], abs=1e-3)
    assert (geometry["photons"], geometry["normalize"]) == (1e6, "view")
    assert len(geometry["spectrum"]) > 10
    assert [geometry[f"{key}_threshold"] for key in ("contour", "bone")] == [0.2, 150]
    assert geometry["min_bone_length"] == 3
    content = json.loads((out / "dataset.json").read_text())
    assert (content["licence"], content["attribution"], content["settings"]["seed"]) == ("CC0", "me", 4)


def test_make_drr_by_default_goes_all_around_and_splits_by_volume(legs):
    assert make_drr(legs, "--views", "4") == 0
    geometry = read_geometry(legs / "out", "leg0")
    assert [view["angle"] for view in geometry["views"]] == [0, 90, 180, 270]
    assert geometry["detector_shape"] == [16, 16]
    assert read_dataset(legs / "out").split_kind == "by file"


def test_make_drr_names_what_failed_and_ends_with_2_unless_told_to_skip(legs, capsys):
    (legs / "legs" / "leg1.nii").write_text("not a volume")
    assert make_drr(legs, "--views", "2", "--split", "image", "--fractions", "0.5", "0", "0.5") == 2
    message = error_of(capsys)
    assert message.startswith("error: 1 of 3 volumes failed")
    assert make_drr(legs, "--views", "2", "--split", "image", "--fractions", "0.5", "0", "0.5", "--skip-failed") == 0
    out, err = capsys.readouterr()
    assert "2 training, 2 test; split by image" in out
    assert "left out leg1:" in err
    assert "leg1.nii cannot be read" in err


def test_make_drr_takes_a_table_of_patients(legs, capsys):
    (legs / "patients.csv").write_text("volume,patient\nleg0,x\nleg1,x\nleg2,x\n")
    assert make_drr(legs, "--views", "2", "--patients-csv", str(legs / "patients.csv")) == 2
    assert "one patient only ('x')" in error_of(capsys)


def test_generate_hands_its_options_on(trained_bundle, tmp_path, capsys):
    output = tmp_path / "synthetic"
    common = ["generate", "--bundle", str(trained_bundle.root), "--masks", str(trained_bundle.phantoms)]
    options = ["--output", str(output), "--split", "training", "--max-masks", "2", "--per-mask", "2", "--seed", "5"]
    assert main([*common, *options, "--num-steps", "3", "--sampler", "heun", "--guidance", "2", "--device", "cpu"]) == 0
    assert f"{output}: 4 pairs" in capsys.readouterr().out
    manifest = json.loads((output / "manifest.json").read_text())
    settings = manifest["settings"]
    assert (settings["seed"], settings["num_steps"], settings["sampler"]) == (5, 3, "heun")
    assert {sample["evaluations"] for sample in manifest["samples"]} == {10}  # 2 * 3 - 1 of heun, twice for guidance
    assert main([*common, *options]) == 2
    assert "another settings" in error_of(capsys)
    assert main([*common, *options, "--overwrite"]) == 0


def test_generate_drops_classes_and_follows_images(trained_bundle, tmp_path, capsys):
    output = tmp_path / "s"
    like = ["--like", str(trained_bundle.phantoms), "--similarity", "0.5", "--similarity-level", "0.3"]
    arguments = ["generate", "--bundle", str(trained_bundle.root), "--output", str(output)]
    assert main([*arguments, *like, "--drop-class", "liver", "spleen"]) == 0
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["dropped_classes"]["names"] == ["liver", "spleen"]
    assert manifest["similarity"]["value"] == 0.5
    assert read_dataset(output).classes == {"body": 1, "lungs": 2, "kidneys": 5, "spine": 6}
    for wrong, named in (
        ([], "give --masks, or --like"),
        (like[:2], "--like and --similarity belong together"),
        (
            ["--masks", str(trained_bundle.phantoms), *like[4:]],
            "--similarity-level needs --like and --similarity",
        ),
        ([*like[:3], "1.5"], "similarity must lie between 0"),
        ([*like, "--accept-dice", "0.5"], "--accept-dice and --segmenter belong together"),
    ):
        assert main([*arguments, *wrong]) == 2
        assert named in error_of(capsys)


def test_edit_hands_its_options_on(trained_bundle, tmp_path, capsys):
    first = read_dataset(trained_bundle.phantoms).splits["test"][0]
    mask = nib.load(first.label)
    array = np.asarray(mask.dataobj).copy()
    array[array == 3] = 1
    nib.save(nib.Nifti1Image(array, mask.affine, mask.header), tmp_path / "edited.nii.gz")
    files = ["--images", str(first.image), "--edited", str(tmp_path / "edited.nii.gz")]
    common = ["edit", "--bundle", str(trained_bundle.root), "--output", str(tmp_path / "s"), *files]
    options = ["--method", "noise", "--level", "0.4", "--dilation", "4", "--softness", "1", "--seed", "2"]
    assert main([*common, *options, "--num-steps", "3", "--device", "cpu"]) == 0
    assert f"1 edited images; look at {tmp_path / 's'}/pictures" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    about = manifest["edits"]
    assert [about[key] for key in ("method", "t0", "dilation", "softness")] == ["noise", 0.4, 4, 1]
    assert (manifest["settings"]["seed"], manifest["settings"]["num_steps"]) == (2, 3)
    unedited = [*common[:-1], str(first.label), "--overwrite"]
    assert main(unedited) == 2
    assert "is the same mask" in error_of(capsys)


def test_generate_goes_on_after_a_torn_journal_line(trained_bundle, tmp_path):
    arguments = ["generate", "--bundle", str(trained_bundle.root), "--masks", str(trained_bundle.phantoms)]
    arguments += ["--output", str(tmp_path / "s")]
    assert main(arguments) == 0
    manifest = tmp_path / "s" / "manifest.json"
    whole = manifest.read_text()
    content = json.loads(whole)
    samples = content.pop("samples")
    lines = "".join(json.dumps(sample) + "\n" for sample in samples[:2])
    (tmp_path / "s" / "manifest.header.json").write_text(json.dumps(content))
    (tmp_path / "s" / "manifest.0.jsonl").write_text(lines + json.dumps(samples[2])[:40])
    manifest.unlink()
    assert main(arguments) == 0
    assert manifest.read_text() == whole
    assert not list((tmp_path / "s").glob("*.jsonl"))


def test_evaluate_and_demo_hand_their_options_on(tmp_path, capsys, monkeypatch):
    calls = []

    def evaluate(*arguments, **options):
        calls.append((arguments, options))
        return SimpleNamespace(summary=lambda: "all is well")

    monkeypatch.setattr(monai_segdiff.evaluation, "evaluate", evaluate)
    monkeypatch.setattr(monai_segdiff.workflows.demo, "run_demo", lambda *a, **k: calls.append((a, k)))
    required = ["--real", "a", "--synthetic", "b", "--output", str(tmp_path)]
    assert main(["evaluate", *required, "--no-real-images", "--max-images", "9", "--seed", "2"]) == 0
    out = capsys.readouterr().out
    assert "all is well" in out
    assert str(tmp_path / "report.html") in out
    arguments, options = calls[0]
    assert arguments == ("a", "b", str(tmp_path))
    assert options.items() >= {"no_real_images": True, "max_images": 9, "seed": 2, "segmenter": None}.items()
    assert main(["demo", "--output", str(tmp_path), "--max-images", "50", "--samples", "4", "--seed", "1"]) == 0
    assert calls[1] == ((tmp_path,), {"number": 4, "seed": 1, "overrides": {"max_images": 50}})


def test_an_interrupt_says_that_the_work_can_go_on(monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(monai_segdiff.workflows.demo, "run_demo", interrupt)
    assert main(["demo"]) == 130
    assert "run the same command again to go on" in capsys.readouterr().err


def test_an_extra_that_is_not_installed_is_named(monkeypatch, capsys):
    def fail(*_, **__):
        raise ImportError("this needs that: pip install 'monai-segdiff[that]'")

    monkeypatch.setattr(monai_segdiff.workflows.demo, "run_demo", fail)
    assert main(["demo"]) == 2
    assert "error: this needs that: pip install 'monai-segdiff[that]'" in capsys.readouterr().err


def test_a_defect_of_the_program_is_one_line_too_and_not_hidden(monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.delenv("SEGDIFF_TRACEBACK", raising=False)
    monkeypatch.setattr(monai_segdiff.workflows.demo, "run_demo", fail)
    assert main(["demo"]) == 2
    assert error_of(capsys) == (
        "error: demo failed unexpectedly (RuntimeError: a bug); SEGDIFF_TRACEBACK=1 in the environment shows where"
    )
    monkeypatch.setenv("SEGDIFF_TRACEBACK", "1")
    assert main(["demo"]) == 2
    assert 'raise RuntimeError("a bug")' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("check-data", "the data set is unchanged, and a new run begins anew"),
        ("prepare", "no output is left; run the same command again to begin anew"),
        ("make-drr", "run the same command again to go on"),
        ("train", "run the same command again to go on"),
        ("generate", "run the same command again to go on"),
        ("edit", "run the same command again to go on"),
        ("evaluate", "networks that were trained are kept, the rest begins anew"),
        ("convert", "run the same command again to begin anew"),
        ("verify", "run the same command again to begin anew"),
    ],
)
def test_every_verb_says_what_is_left_when_it_is_stopped(verb, said, monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    def parse(self, argv):
        return SimpleNamespace(verb=verb, stopped=defaults[verb], function=interrupt)

    verbs = next(action for action in _parser()._actions if action.dest == "verb")
    defaults = {name: parser.get_default("stopped") for name, parser in verbs.choices.items()}
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    assert main([verb]) == 130
    assert said in capsys.readouterr().err
