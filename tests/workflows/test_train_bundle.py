"""`train_bundle`: what follows from the data, the plan and the length; and that it is MONAI's own training."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from monai_segdiff.data import make_ct_phantoms
from monai_segdiff.handlers import ReproducibleRun, ResumeCheckpoint
from monai_segdiff.workflows import train_bundle
from monai_segdiff.workflows.quiet import quiet_log
from monai_segdiff.workflows.training_config import TrainingConfig, grid_of, overlay_file, stages_of

BELONGS_TO_THE_DATA = {"image_size", "phantom_patients", "phantom_slices", "phantoms#fractions", "phantoms#progress"}


@pytest.fixture
def signals_as_before() -> Iterator[None]:
    """A test that sends signals starts from Python's own handlers, and leaves them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def tiny(make_bundle: Callable[..., Any], tmp_path: Path) -> tuple[Path, Path]:
    """A bundle's copy, and an overlay that makes its network tiny but leaves the size of the images to the data."""
    bundle = make_bundle(tmp_path)
    plan = tmp_path / "plan.yaml"
    values = {name: value for name, value in bundle.overrides.items() if name not in BELONGS_TO_THE_DATA}
    plan.write_text(yaml.safe_dump(values))
    return bundle.root, plan


def config(bundle: Path, plan: Path, **values: Any) -> TrainingConfig:
    return TrainingConfig([bundle / "configs" / "train.yaml", plan], {"bundle_root": str(bundle), **values})


def weights_in(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)


def test_the_size_of_the_data_is_that_of_the_network(
    tiny: tuple[Path, Path], trained_bundle: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, plan = tiny
    weights = train_bundle(bundle, dataset=trained_bundle.phantoms, plan=plan)
    assert weights == bundle / "models" / "model.pt"
    assert yaml.safe_load(weights.with_suffix(".yaml").read_text())["image_size"] == [16, 16]
    expected = weights_in(trained_bundle.weights)  # by MONAI, with the size typed
    found = weights_in(weights)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    out, err = capsys.readouterr()
    files = f'["{bundle}/configs/train.yaml","{plan}"]'
    assert shlex.split(out.splitlines()[0].removeprefix("the same by MONAI: ")) == [
        *("python", "-m", "monai.bundle", "run", "training", "--config_file", files, "--bundle_root", str(bundle)),
        *("--dataset_dir", str(trained_bundle.phantoms), "--image_size", "[16,16]", "--spatial_dims", "2"),
    ]
    assert [line for line in out.splitlines()[1:] if line.strip()] == [
        f"validation, epoch {epoch}: val_mse {value}"
        for epoch, value in zip((1, 2), (line.rpartition(" ")[2] for line in out.split("\n")[1:3]), strict=True)
    ]
    assert "training: 100%" in err
    assert not any(word in out + err for word in ("INFO", "WARNING", "ignite", "eval()"))


def test_interrupted_in_an_epoch_it_goes_on_and_ends_with_the_same_weights(
    tiny: tuple[Path, Path],
    trained_bundle: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    signals_as_before: None,
) -> None:
    bundle, plan = tiny
    original, sent = ReproducibleRun._iteration_started, []

    def stop_within_the_second_epoch(self: ReproducibleRun, engine: Any) -> None:
        original(self, engine)
        if engine.state.iteration == 3 and not sent:
            sent.append(os.kill(os.getpid(), signal.SIGINT))

    monkeypatch.setattr(ReproducibleRun, "_iteration_started", stop_within_the_second_epoch)
    with pytest.raises(SystemExit) as end:
        train_bundle(bundle, dataset=trained_bundle.phantoms, plan=plan)
    assert end.value.code == 130
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == "stopped at image 12 of 16 (epoch 2 of 2): run the same command again to go on"
    assert [path.name for path in ResumeCheckpoint(bundle / "models", {}).files()] == [
        "checkpoint_epoch=1.pt",
        "checkpoint_epoch=1_iteration=3.pt",
    ]
    weights = train_bundle(bundle, dataset=trained_bundle.phantoms, plan=plan)
    assert "resuming epoch 2 of 2 at image 12 of 16, from " in capsys.readouterr().out
    found = weights_in(weights)
    assert all(torch.equal(found[name], value) for name, value in weights_in(trained_bundle.weights).items())
    train_bundle(bundle, dataset=trained_bundle.phantoms, plan=plan)
    assert "epoch 2 of 2 is complete in " in capsys.readouterr().out


def test_a_longer_training_goes_on_where_a_short_one_ended(
    tiny: tuple[Path, Path], trained_bundle: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, plan = tiny
    train_bundle(bundle, dataset=trained_bundle.phantoms, plan=plan, images=4)
    assert "--max_images 4 --images_per_epoch 4 --preview_interval 1" in capsys.readouterr().out
    assert (bundle / "eval" / "preview_epoch=1.png").is_file()
    train_bundle(bundle, dataset=trained_bundle.phantoms, plan=plan, images=7)
    out = capsys.readouterr().out
    assert "--max_images 7 --images_per_epoch 4" in out
    assert "resuming epoch 2 of 2, from " in out


def test_lengths_and_sizes_that_fit_are_left_alone(tiny: tuple[Path, Path]) -> None:
    one = config(*tiny)
    one.limit(80)
    assert one.values == {"bundle_root": str(tiny[0]), "max_images": 80}
    assert one.weights == tiny[0] / "models" / "model.pt"


def test_a_network_of_patches_keeps_their_size(tiny: tuple[Path, Path]) -> None:
    bundle, plan = tiny
    patches = [bundle / "configs" / name for name in ("train.yaml", "patches.yaml")]
    one = TrainingConfig([*patches, plan], {"image_size": [8, 8, 8]})
    one.fit_data([24, 32, 40])
    assert one.values == {"image_size": [8, 8, 8], "spatial_dims": 3}


def test_the_grid_is_that_of_the_first_training_case(trained_bundle: Any, tmp_path: Path) -> None:
    assert grid_of(trained_bundle.phantoms) == (16, 16)
    make_ct_phantoms(tmp_path / "volumes", patients=4, size=(8, 12, 16), spatial_dims=3, progress=False)
    assert grid_of(tmp_path / "volumes") == (8, 12, 16)


@pytest.mark.slow
def test_the_networks_of_a_bundle_are_trained_in_the_order_of_their_need(
    make_bundle: Callable[..., Any], trained_chest: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_bundle(tmp_path, "chest_xray").root
    assert stages_of(bundle) == ["train_autoencoder.yaml", "train_anatomy.yaml", "train_diffusion.yaml"]
    plan = tmp_path / "plan.yaml"
    values = {name: value for stage in trained_chest.stages.values() for name, value in stage.items()}
    plan.write_text(yaml.safe_dump({name: value for name, value in values.items() if "phantom" not in name}))
    weights = train_bundle(bundle, dataset=trained_chest.phantoms, plan=plan)
    assert weights == bundle / "models" / "model.pt"
    for name in ("autoencoder.pt", "anatomy.pt", "model.pt"):
        expected = weights_in(trained_chest.root / "models" / name)
        assert all(torch.equal(weights_in(bundle / "models" / name)[key], value) for key, value in expected.items())
    capsys.readouterr()
    train_bundle(bundle, dataset=trained_chest.phantoms, plan=plan)
    assert capsys.readouterr().out.count("nothing is left to train") == 3


def test_an_overlay_is_a_file_or_a_name(tiny: tuple[Path, Path]) -> None:
    bundle, plan = tiny
    assert overlay_file(bundle, plan) == plan
    assert overlay_file(bundle, "cpu_demo") == bundle / "configs" / "cpu_demo.yaml"
    assert overlay_file(bundle, "cpu_demo.yaml") == bundle / "configs" / "cpu_demo.yaml"
    with pytest.raises(FileNotFoundError, match=r"no overlay 'cpu': give a file, or one of cpu_demo, cpu_demo_3d, mul"):
        overlay_file(bundle, "cpu")


def test_several_processes_get_their_overlay(tiny: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, plan = tiny
    monkeypatch.setenv("WORLD_SIZE", "2")
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr("monai.bundle.run", lambda *_, **options: calls.append(options))
    train_bundle(bundle, plan=plan)
    assert calls[0]["config_file"][1:] == [str(bundle / "configs" / "multi_gpu_train.yaml"), str(plan)]
    with pytest.raises(ValueError, match="leave the device out"):
        train_bundle(bundle, plan=plan, device="cpu")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"bundle": "ct_organ"}, "'ct_organ' comes with the package and stays as it is: copy it"),
        ({"bundle": "ct_organs"}, "no bundle 'ct_organs': give one of breast_mri, "),
        ({"plan": "no.yaml"}, r"there is no plan no\.yaml"),
        ({"device": "cpu'); import os #"}, "is none that torch knows"),
        ({"dataset": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    tiny: tuple[Path, Path], arguments: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ct_organ").rename(tmp_path / "mine")
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        train_bundle(**{"bundle": tmp_path / "mine", **arguments})


def test_a_quiet_log_leaves_everything_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    hook, handlers = sys.excepthook, list(logging.getLogger().handlers)
    ours, theirs = logging.getLogger("monai_segdiff.handlers.checkpoint"), logging.getLogger("ignite.engine.engine.Own")
    levels = [logging.getLogger(name).level for name in ("monai_segdiff", "ignite")]
    with quiet_log():
        ours.info("resuming epoch 3 of 4")
        ours.warning("trying the one before")
        theirs.error("Engine run is terminating")
        warnings.warn("of a library", stacklevel=1)
        sys.excepthook = lambda *_: None
    assert capsys.readouterr() == ("resuming epoch 3 of 4\n", "warning: trying the one before\n")
    assert (sys.excepthook, logging.getLogger().handlers) == (hook, handlers)
    assert [logging.getLogger(name).level for name in ("monai_segdiff", "ignite")] == levels
    assert os.environ.get("PYTHONWARNINGS") is None
