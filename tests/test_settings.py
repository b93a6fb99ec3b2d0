"""What may be set in a bundle's trainings, and what the message says otherwise."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from monai_segdiff import bundle_path
from monai_segdiff.errors import root_cause
from monai_segdiff.settings import check_command_line, check_export, check_settings

RIGHT = {
    "image_size": [32, 32],
    "spatial_dims": 2,
    "channels": [8, 16],
    "norm_num_groups": 4,
    "attention_levels": [False, True],
    "num_res_blocks": [1, 2],
    "full_prob": 0.3,
    "null_prob": 0,
    "batch_size": 4,
    "learning_rate": 1e-4,
    "anything": object(),
}


def test_what_can_be_is_taken() -> None:
    check_settings(RIGHT)
    check_settings({**RIGHT, "image_size": (32, 32, 8), "spatial_dims": 3, "num_res_blocks": 2})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("batch_size", 0, "batch_size must be a whole number of at least 1, not 0"),
        ("batch_size", "four", "batch_size must be a whole number of at least 1, not 'four'"),
        ("batch_size", 2.5, "batch_size must be a whole number of at least 1, not 2.5"),
        ("batch_size", True, "not True"),
        ("max_images", 0, "max_images must be a whole number of at least 1, not 0"),
        ("images_per_epoch", -1, "images_per_epoch must be a whole number of at least 1, not -1"),
        ("num_steps", 0, "num_steps must be a whole number of at least 1, not 0"),
        ("learning_rate", -1, "learning_rate must be a number above 0, not -1"),
        ("learning_rate", math.nan, "learning_rate must be a number above 0, not nan"),
        ("learning_rate", "1e-4", "not '1e-4': YAML takes that for text, write 1.0e-04"),
        ("ema_momentum", 1, "ema_momentum must be a number from 0 to 1, the ends left out, not 1"),
        ("cooldown", 1.5, "cooldown must be a number from 0 to 1, not 1.5"),
        ("warmup_steps", -1, "warmup_steps must be a whole number of at least 0, not -1"),
        ("image_size", "32x32", "image_size must be a list of 2 or 3 entries, each a whole number of at least 1, not"),
        ("image_size", 32, "image_size must be a list of 2 or 3 entries, each a whole number of at least 1, not 32"),
        ("image_size", [0, 32], r"not \[0, 32\]"),
        ("image_size", [32, 32, 32], "image_size must have spatial_dims entries, 2, not 3"),
        ("channels", [8, 9], "channels must be multiples of norm_num_groups, which is 4: 9 is none"),
        ("channels", [], "channels must be a list of entries"),
        ("attention_levels", [False], "attention_levels must have as many entries as channels, 2, not 1"),
        ("attention_levels", [0, 1], "attention_levels must be a list of entries, each true or false"),
        ("num_res_blocks", [1], "num_res_blocks must have as many entries as channels, 2, not 1"),
        ("full_prob", 1.1, "full_prob must be a number from 0 to 1, not 1.1"),
        ("null_prob", 0.8, "full_prob and null_prob must be 1 together at most, not 0.3 and 0.8"),
        ("verify_data", "no", "verify_data must be true or false, not 'no'"),
    ],
)
def test_what_cannot_be_is_refused_by_its_id(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_settings({**RIGHT, name: value})
    with pytest.raises(ValueError, match=f"diffusion_size#{name}"):
        check_settings({"diffusion_size": {**RIGHT, name: value}})


def line(config: str, *options: str) -> list[str]:
    return ["/somewhere/monai/bundle/__main__.py", "run", "training", "--config_file", config, *options]


@pytest.fixture
def config() -> str:
    return str(bundle_path("ct_organ") / "configs" / "train.yaml")


@pytest.mark.parametrize(
    "options",
    [
        ["--batch_size", "4"],
        ["--batch-size=4"],
        ["--train#dataset#cache_rate", "0.5"],  # an argument that the file leaves at its default
        ["--train::dataset::seed", "1"],
        ["--meta_file", "metadata.json", "--logging_file", "False"],
        ["--tracking", "mlflow", "--experiment_name", "mine"],
        ["--my_rate", "0.1", "--learning_rate", "@my_rate"],
        ["--", "--trace"],
    ],
)
def test_ids_that_there_are_may_be_set(config: str, options: list[str]) -> None:
    check_command_line(line(config, *options))
    overlay = str(Path(config).parent / "cpu_demo.yaml")
    check_command_line(line(f"['{config}','{overlay}']", *options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--batchsize", "4"],
            r"--batchsize cannot be set, as .*train\.yaml has no such id; did you mean --batch_size\?",
        ),
        (["--zzz", "4"], "--zzz cannot be set, as .* has no such id: the ids are those of the file"),
        (["--num_steps", "4", "--train#nothing#here=1"], "--train#nothing#here cannot be set"),
        (["--experiment_name", "mine"], "--experiment_name cannot be set"),
    ],
)
def test_an_id_that_there_is_not_is_refused(config: str, options: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_command_line(line(config, *options))


def test_other_programs_are_left_alone(config: str) -> None:
    check_command_line(["/usr/bin/pytest", "--no_such_id", "3"])
    check_command_line(["/somewhere/monai/bundle/__main__.py", "verify_metadata", "--no_such_id", "3"])


@pytest.mark.parametrize("name", ["breast_mri", "ct_organ", "knee_drr"])
def test_trainings_check_before_anything_is_made(name: str, make_bundle: Any, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, name, batch_size=0)
    with pytest.raises(RuntimeError) as error:
        bundle.run()
    assert str(root_cause(error.value)) == "batch_size must be a whole number of at least 1, not 0"
    assert not bundle.phantoms.exists()


def test_trainings_look_at_their_command_line(
    make_bundle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path)
    monkeypatch.setattr(sys, "argv", line(bundle.config("train.yaml")[0], "--epochs", "3"))
    with pytest.raises(RuntimeError) as error:
        bundle.run()
    assert str(root_cause(error.value)).startswith("--epochs cannot be set")


MONAI = ["/site-packages/monai/bundle/__main__.py"]


def test_the_onnx_export_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = sys.excepthook
    monkeypatch.setattr(sys, "excepthook", hook)  # put back afterwards
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r"onnx_export needs onnx and onnxscript: pip install 'monai-segdiff\[onnx\]'"
    ):
        check_export([*MONAI, "onnx_export", "export_def"])
    assert sys.excepthook is not hook, "its last line is this one"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ImportError, match="onnx_export needs onnxscript: pip"):
        check_export([*MONAI, "onnx_export"])


@pytest.mark.parametrize("arguments", [[*MONAI, "ckpt_export"], ["pytest", "onnx_export"], MONAI])
def test_other_commands_need_no_onnx(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_export(arguments)
