"""Whatever is wrong with the input: one message with the file and the remedy, and finished work stays."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import monai_segdiff.generation
from monai_segdiff.__main__ import main
from monai_segdiff.errors import root_cause


def change(file: Path, edit=lambda array: array, dtype=None, affine=None) -> None:
    image = nib.load(file)
    array = edit(np.array(image.dataobj))
    nib.save(nib.Nifti1Image(array.astype(dtype or array.dtype), image.affine if affine is None else affine), file)


def unknown_id(image: Path, label: Path) -> None:
    change(label, lambda array: np.where(array == 1, 9, array))


def float_labels(image: Path, label: Path) -> None:
    change(label, lambda array: array * 0.5, np.float32)


def other_shape(image: Path, label: Path) -> None:
    change(label, lambda array: array[1:])


def other_affine(image: Path, label: Path) -> None:
    change(label, affine=nib.load(label).affine @ np.diag([2.0, 1, 1, 1]))


def volume(image: Path, label: Path) -> None:
    for file in (image, label):
        change(file, lambda array: np.stack([array, array], -1))


def nan(image: Path, label: Path) -> None:
    change(image, lambda array: np.where(array > 0, np.nan, array), np.float32)


def missing_label(image: Path, label: Path) -> None:
    label.unlink()


def cut_short(image: Path, label: Path) -> None:
    image.write_bytes(image.read_bytes()[:100])


def empty(image: Path, label: Path) -> None:
    root = image.parents[1]
    (root / "dataset.json").write_text('{"labels": {"1": "body"}, "intensity_range": [0, 1], "training": []}')


DEFECTS = {
    "unknown label id": (unknown_id, "label", r"unknown ids \[9\]; add them to the classes"),
    "float labels": (float_labels, "label", r"no whole numbers, e\.g\. 0\.5: .*; resample label maps with nearest"),
    "another shape": (other_shape, "label", r"shape \(15, 16\) differs from its image's \(16, 16\).*; resample"),
    "another position": (other_affine, "label", r"affine differs from its image's by .* mm.*; resample"),
    "3D where 2D is configured": (volume, "label", "3 dimensions where 2D is configured; convert .* prepare"),
    "NaN": (nan, "image", r"holds \d+ NaN or infinite values; repair it or remove the case"),
    "a missing pair": (missing_label, "label", "is missing: restore it, or remove the case"),
    "a file cut short": (cut_short, "image", "cannot be read.*restore it"),
    "an empty data set": (empty, "root", "is empty: put cases into"),
}


@pytest.fixture
def data(trained_bundle, tmp_path):
    shutil.copytree(trained_bundle.phantoms, tmp_path / "data")
    return tmp_path / "data"


def first_pair(data: Path) -> tuple[Path, Path]:
    name = min(path.name for path in (data / "imagesTr").iterdir())
    return data / "imagesTr" / name, data / "labelsTr" / name


@pytest.mark.parametrize("defect", DEFECTS)
def test_training_refuses_bad_data(make_bundle, tmp_path, data, defect):
    spoil, kind, message = DEFECTS[defect]
    image, label = first_pair(data)
    spoil(image, label)
    named = {"image": image, "label": label, "root": data}[kind]
    bundle = make_bundle(tmp_path, dataset_dir=str(data))
    with pytest.raises(RuntimeError) as wrapped:
        bundle.run()
    cause = root_cause(wrapped.value)
    assert isinstance(cause, (ValueError, OSError))
    last = str(cause).splitlines()[-1]
    assert str(named) in last
    assert re.search(message, last)
    assert not bundle.weights.exists()


@pytest.mark.slow
def test_the_message_is_the_last_line_of_the_command(make_bundle, tmp_path, data):
    image, label = first_pair(data)
    unknown_id(image, label)
    bundle = make_bundle(tmp_path)
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", "configs/train.yaml"]
    done = subprocess.run(
        [*command, "--dataset_dir", str(data)], cwd=bundle.root, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 1
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith(f"error: {label}: label map holds unknown ids [9]; add them to the classes")
    assert "check-data" in done.stderr


@pytest.mark.slow
def test_the_message_is_the_last_line_when_a_training_has_begun(make_bundle, tmp_path, data):
    for file in (data / "imagesTr").iterdir():
        nan(file, file)
    bundle = make_bundle(tmp_path, dataset_dir=str(data), verify_data=False, sigma_data=0.5)
    options = [f"--{name}={value}" for name, value in bundle.overrides.items()]
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", "configs/train.yaml"]
    done = subprocess.run([*command, *options], cwd=bundle.root, capture_output=True, text=True, timeout=900)
    assert done.returncode == 1
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith("FloatingPointError: the loss is nan in epoch 1, iteration 1")
    assert "mend or remove these images" in last


# ---------------------------------------------------------------- generate


@pytest.fixture
def masks(trained_bundle, tmp_path):
    """A folder of three label maps."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for file in sorted((trained_bundle.phantoms / "labelsTr").iterdir())[:3]:
        shutil.copy(file, folder)
    return sorted(folder.iterdir())


def generate(bundle, masks, output, *more) -> int:
    common = ["generate", "--bundle", str(bundle.root), "--masks", str(masks[0].parent), "--output", str(output)]
    return main([*common, "--batch-size", "1", *more])


def error_of(capsys) -> str:
    """The one message, which is the last line of standard error."""
    err = capsys.readouterr().err.rstrip()
    assert "Traceback" not in err
    assert len(re.findall(r"^error: ", err, re.M)) == 1
    assert err.splitlines()[-1].startswith("error: ")
    return err.splitlines()[-1]


def images_in(output: Path) -> list[str]:
    return sorted(path.name for path in (output / "imagesTr").glob("*"))


@pytest.mark.parametrize(
    ("edit", "dtype", "message"),
    [
        (lambda array: np.where(array == 1, 9, array), np.uint8, "unknown label ids 9 in .*Add the ids to the classes"),
        (lambda array: array * 0.5, np.float32, "no whole numbers, .*resample label maps with nearest"),
    ],
    ids=["class never trained", "float labels"],
)
def test_a_mask_that_does_not_fit_is_named_and_the_others_stay(
    trained_bundle, masks, tmp_path, capsys, edit, dtype, message
):
    whole = masks[-1].read_bytes()
    change(masks[-1], edit, dtype)
    output = tmp_path / "s"
    assert generate(trained_bundle, masks, output) == 2
    error = error_of(capsys)
    assert str(masks[-1]) in error
    assert re.search(message, error)
    assert len(images_in(output)) == 2
    assert (output / "manifest.0.jsonl").read_text().count("\n") == 2
    masks[-1].write_bytes(whole)
    assert generate(trained_bundle, masks, output) == 2, "other masks are another data set"
    assert "another masks" in error_of(capsys)


def test_weights_of_another_architecture_are_refused(trained_bundle, masks, tmp_path, capsys):
    other = tmp_path / "other.pt"
    state = torch.load(trained_bundle.weights, weights_only=True)
    torch.save({name: value for name, value in state.items() if "conv_in" not in name}, other)
    shutil.copy(trained_bundle.root / "models" / "model.yaml", tmp_path / "other.yaml")
    assert generate(trained_bundle, masks, tmp_path / "s", "--weights", str(other)) == 2
    error = error_of(capsys)
    assert f"{other} holds the weights of another architecture" in error
    assert "conv_in" in error
    assert "train again" in error
    assert not (tmp_path / "s").exists()


def test_weights_that_are_code_are_not_run(trained_bundle, masks, tmp_path, capsys):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "attacked"),)

    torch.save({"weight": Attack()}, tmp_path / "model.pt")
    shutil.copy(trained_bundle.root / "models" / "model.yaml", tmp_path)
    assert generate(trained_bundle, masks, tmp_path / "s", "--weights", str(tmp_path / "model.pt")) == 2
    assert "model.pt" in capsys.readouterr().err
    assert not (tmp_path / "attacked").exists()


def test_a_checkpoint_of_another_architecture_stops_a_training(trained_bundle, make_bundle, tmp_path):
    bundle = make_bundle(tmp_path, dataset_dir=str(trained_bundle.phantoms), channels=[8, 12])
    (bundle.root / "models").mkdir()
    checkpoint = trained_bundle.root / "models" / "checkpoint_epoch=1.pt"
    shutil.copy(checkpoint, bundle.root / "models")
    with pytest.raises(RuntimeError) as wrapped:
        bundle.run()
    message = str(root_cause(wrapped.value))
    assert "checkpoint_epoch=1.pt' was made with another model.channels than this training has" in message
    assert "give another folder to start anew" in message
    assert (bundle.root / "models" / checkpoint.name).read_bytes() == checkpoint.read_bytes()


def test_masks_that_are_not_there(trained_bundle, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for masks, message in ((tmp_path / "nowhere", "no folder of masks"), (tmp_path / "empty", "holds no data set")):
        assert generate(trained_bundle, [masks / "any"], tmp_path / "s") == 2
        error = error_of(capsys)
        assert str(masks) in error
        assert message in error


@contextmanager
def file_size_limit(size: int):
    """The kernel refuses to let a file grow larger, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_generate_and_what_is_finished_stays(trained_bundle, masks, tmp_path, capsys, monkeypatch):
    output, sample = tmp_path / "s", monai_segdiff.generation.TrainedGenerator.sample
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    calls = []

    def fill_the_disk(self, conditions, indices):
        calls.append(indices)
        images = sample(self, conditions, indices)
        if len(calls) == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard[1]))
        return images

    monkeypatch.setattr(monai_segdiff.generation.TrainedGenerator, "sample", fill_the_disk)
    with file_size_limit(hard[0]):
        assert generate(trained_bundle, masks, output) == 2
    error = error_of(capsys)
    assert re.search(rf"cannot write {output}/imagesTr/.*: File too large; .*free some space", error)
    assert len(images_in(output)) == 2, "the image that did not fit leaves nothing behind"
    monkeypatch.undo()
    assert generate(trained_bundle, masks, output) == 0
    assert len(images_in(output)) == 3


@pytest.mark.parametrize("place", ["below a file", "/proc/synthetic"])
def test_a_folder_that_cannot_be_written(trained_bundle, masks, tmp_path, capsys, place):
    if place == "below a file":
        (tmp_path / "file").write_text("")
        place = str(tmp_path / "file" / "s")
    assert generate(trained_bundle, masks, place) == 2
    error = error_of(capsys)
    assert f"cannot make the folder {place}: " in error
    assert re.search("choose (another folder|a folder that can be written to)$", error)
