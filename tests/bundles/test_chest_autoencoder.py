"""The two trainings of chest_xray that need no other network: the autoencoder and the anatomy controller."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser, run
from monai.networks.nets import AutoencoderKL
from PIL import Image

from monai_segdiff import bundle_path, copy_bundle
from monai_segdiff.data import read_dataset
from monai_segdiff.networks import load_weights

STAGES = ("autoencoder", "anatomy")
SIZE = {"channels": [8, 8, 8], "num_res_blocks": 1, "middle_attention": False, "norm_num_groups": 4}
TRAINING = {
    "batch_size": 4,
    "images_per_epoch": 16,
    "max_images": 48,  # 12 iterations: the moving average begins to differ after 10
    "learning_rate": 0.005,
    "adversarial_start": 16,
    "val_interval": 1,
}
TINY = {
    "image_size": [16, 16],
    **{f"{stage}_{part}": value for stage in STAGES for part, value in (("size", SIZE), ("training", TRAINING))},
    "discriminator_options": {
        "spatial_dims": 2,
        "in_channels": 1,
        "channels": 4,
        "num_layers_d": 1,
        "norm": "INSTANCE",
    },
    "warmup_steps": 1,
    "cooldown": 0.0,  # so that a longer training begins as a shorter one
    "amp_dtype": "float32",
    "preview_interval": 3,
    "preview_images": 2,
    "phantom_patients": 10,
    "phantoms#fractions": [0.6, 0.2, 0.2],
    "phantoms#progress": False,
}


def overrides_of(stage: str) -> dict:
    """What the configuration of a stage has of these: `run` sets no entries in what is not there."""
    other = next(name for name in STAGES if name != stage)
    return deepcopy(
        {name: value for name, value in TINY.items() if not name.startswith(other)}
    )  # a parser writes into it


def config(stage: str, root: Path | None = None) -> str:
    return str((root or bundle_path("chest_xray")) / "configs" / f"train_{stage}.yaml")


def read(name: str) -> dict:
    return yaml.safe_load((bundle_path("chest_xray") / "configs" / f"{name}.yaml").read_text())


@pytest.fixture(scope="module")
def train(own_logging):
    """Train a stage in a copy of the bundle."""

    def train(root: Path, stage: str, **overrides) -> Path:
        if not root.exists():
            copy_bundle("chest_xray", root)
        with own_logging():
            run(
                "training",
                config_file=config(stage, root),
                **{"bundle_root": str(root), **overrides_of(stage), **overrides},
            )
        return root

    return train


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train) -> Path:
    """The bundle after both trainings, one after the other in one folder: not to be changed."""
    root = tmp_path_factory.mktemp("chest") / "chest_xray"
    for stage in STAGES:
        train(root, stage)
    return root


@pytest.fixture(scope="module")
def phantoms(trained) -> str:
    return str(trained / "phantoms_16x16")


@pytest.fixture
def parsed(phantoms, tmp_path):
    """A parser of a stage's configuration on the phantoms."""

    def parsed(stage: str, **overrides) -> ConfigParser:
        parser = ConfigParser()
        parser.read_config(config(stage))
        parser.update({**overrides_of(stage), "dataset_dir": phantoms, "bundle_root": str(tmp_path), **overrides})
        return parser

    return parsed


def checkpoint(root: Path, stage: str, epoch: int = 3) -> dict:
    return torch.load(root / "models" / stage / f"checkpoint_epoch={epoch}.pt", weights_only=True)


def leaves(value, name="") -> Iterator[tuple[str, object]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        yield name, value
    else:
        for key, item in pairs:
            yield from leaves(item, f"{name}#{key}" if name else str(key))


def assert_same(first, second) -> None:
    first, second = dict(leaves(first)), dict(leaves(second))
    assert first.keys() == second.keys()
    for name, value in first.items():
        equal = torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
        assert equal, name


def test_both_trainings_leave_weights_cards_checkpoints_and_pictures_side_by_side(trained):
    names = sorted(path.name for path in (trained / "models").iterdir())
    expected = [stage + end for stage in STAGES for end in ("", ".pt", ".yaml", "_best.pt", "_best.yaml")]
    assert names == sorted(expected)
    for stage in STAGES:
        files = sorted(path.name for path in (trained / "models" / stage).iterdir())
        assert files == ["checkpoint_epoch=2.pt", "checkpoint_epoch=3.pt"]
        output = trained / "eval" / f"train_{stage}"
        with Image.open(output / "preview_epoch=3.png") as picture:
            assert np.asarray(picture).std() > 10
        assert list((output / "tensorboard").glob("events.*"))


def test_the_cards_rebuild_the_networks(trained, phantoms):
    dataset = read_dataset(phantoms)
    for stage in STAGES:
        card = yaml.safe_load((trained / "models" / f"{stage}.yaml").read_text())
        assert (card["spatial_dims"], card["image_size"]) == (2, [16, 16])
        assert card["classes"] == dataset.classes
        assert tuple(card["intensity_range"]) == dataset.intensity_range
        network = AutoencoderKL(**card[f"{stage}_options"])
        load_weights(network, trained / "models" / f"{stage}.pt")
        mean, _ = network.encode(torch.zeros(1, 1, 16, 16))
        assert mean.shape == (1, 3, 4, 4), "a quarter of the size, 3 channels"
    assert card["levels"]["background"] == -1
    assert list(card["levels"])[1:] == list(dataset.classes)
    assert len(set(card["levels"].values())) == len(dataset.classes) + 1


def test_the_weights_are_the_moving_average(trained):
    for stage in STAGES:
        state, weights = checkpoint(trained, stage), torch.load(trained / "models" / f"{stage}.pt", weights_only=True)
        assert_same(weights, state["ema"])
        assert any(not torch.equal(weights[name], state["network"][name]) for name in weights)


def test_the_best_weights_have_the_psnr_that_the_training_noted(trained, parsed):
    for stage in STAGES:
        parser = parsed(stage)
        network = parser.get_parsed_content("network")
        load_weights(network, trained / "models" / f"{stage}_best.pt")
        pairs = [
            (torch.as_tensor(item["image" if stage == "autoencoder" else "label"]), torch.as_tensor(item["image"]))
            for item in parser.get_parsed_content("validate#dataset")
        ]
        with torch.no_grad():
            errors = [(network.reconstruct(x[None])[0] - y).square().mean().item() for x, y in pairs]
        psnr = np.mean([10 * np.log10(2.0**2 / error) for error in errors])
        assert checkpoint(trained, stage)["best"]["best"] == pytest.approx(psnr, abs=1e-3)


@pytest.mark.parametrize("stage", STAGES)
def test_a_continued_training_ends_as_one_in_one_go(trained, phantoms, train, tmp_path, monkeypatch, stage):
    monkeypatch.chdir(tmp_path)
    for max_images in (32, 48):  # the discriminator begins after 16
        root = train(tmp_path / "parts", stage, dataset_dir=phantoms, max_images=max_images)
        assert checkpoint(root, stage, max_images // 16)["trainer"]["iteration"] == max_images // 4
    assert_same(checkpoint(root, stage), checkpoint(trained, stage))
    assert checkpoint(root, stage)["discriminator_optimizer"]["state"][0]["step"] == 8
    for name in (f"{stage}.pt", f"{stage}_best.pt"):
        weights = [torch.load(folder / "models" / name, weights_only=True) for folder in (root, trained)]
        assert_same(*weights)
    assert [path.name for path in tmp_path.iterdir()] == ["parts"], "a run leaves nothing where it is started"


def test_a_discriminator_that_has_not_begun_changes_nothing(phantoms, train, tmp_path):
    states = []
    for name, channels in (("a", 4), ("b", 12)):
        options = {"dataset_dir": phantoms, "adversarial_start": 16, "max_images": 16}
        root = train(tmp_path / name, "autoencoder", **options, **{"discriminator_options#channels": channels})
        states.append(checkpoint(root, "autoencoder", 1))
    assert_same(*({part: state[part] for part in ("network", "ema", "optimizer")} for state in states))
    with_it = train(tmp_path / "c", "autoencoder", dataset_dir=phantoms, adversarial_start=8, max_images=16)
    assert not torch.equal(
        checkpoint(with_it, "autoencoder", 1)["network"]["post_quant_conv.conv.weight"],
        states[0]["network"]["post_quant_conv.conv.weight"],
    )


@pytest.mark.slow
def test_one_command_in_the_bundles_folder_trains(trained, phantoms, tmp_path):
    root = copy_bundle("chest_xray", tmp_path / "chest_xray")
    overrides = {"config_file": "configs/train_anatomy.yaml", "dataset_dir": phantoms, **overrides_of("anatomy")}
    options = [part for k, v in overrides.items() for part in (f"--{k}", v if isinstance(v, str) else repr(v))]
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", "training", *options],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    weights = [torch.load(folder / "models" / "anatomy.pt", weights_only=True) for folder in (root, trained)]
    assert_same(*weights)


def test_the_controller_sees_a_mask_in_gray_levels_or_the_image(parsed):
    parser = parsed("anatomy")
    levels = torch.tensor(list(parser.get_parsed_content("levels").values()))
    dataset = parser.get_parsed_content("train#dataset")
    shown = []
    for epoch in range(40):
        dataset.set_epoch(epoch)
        for item in (dataset[0], dataset[1]):
            shown.append(torch.equal(item["label"], item["image"]))
            assert shown[-1] or torch.isin(item["label"], levels).all()
            assert set(item) == {"image", "label", "case"}, "findings and regions are of other stages"
    assert 0.3 < np.mean(shown) < 0.7
    for item in parser.get_parsed_content("validate#dataset"):
        assert torch.isin(torch.as_tensor(item["label"]), levels).all(), "it is measured on masks alone"


def test_an_autoencoder_needs_no_label_maps(phantoms, parsed, tmp_path):
    folder = shutil.copytree(phantoms, tmp_path / "images_only")
    content = json.loads((folder / "dataset.json").read_text())
    for split in ("training", "validation", "test"):
        content[split] = [{"image": case["image"], "patient": case["patient"]} for case in content[split]]
    (folder / "dataset.json").write_text(json.dumps(content))
    dataset = parsed("autoencoder", dataset_dir=str(folder)).get_parsed_content("train#dataset")
    assert len(dataset) == 6
    assert set(dataset[0]) == {"image", "case"}
    assert dataset[0]["image"].min() >= -1
    assert dataset[0]["image"].max() <= 1


def test_a_perceptual_network_of_the_user_takes_part(parsed):
    parser = parsed(
        "autoencoder", perceptual={"_target_": "torch.nn.SmoothL1Loss"}, perceptual_weight=5.0, kl_weight=0.0
    )
    loss = parser.get_parsed_content("update").loss
    prediction, target = torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.5)
    parts = loss(prediction, target, torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1))
    assert parts["perceptual"].item() == pytest.approx(0.125)
    assert parts["loss"].item() == pytest.approx(0.5 + 5 * 0.125)


def test_the_two_configurations_differ_where_they_must():
    """They cannot share a file: MONAI looks for it where the command is started."""
    first = {name.replace("autoencoder_", "STAGE_"): value for name, value in leaves(read("train_autoencoder"))}
    second = {name.replace("anatomy_", "STAGE_"): value for name, value in leaves(read("train_anatomy"))}
    same = [
        name
        for name in first.keys() & second.keys()
        if str(first[name]).replace("autoencoder_", "STAGE_") == str(second[name]).replace("anatomy_", "STAGE_")
    ]
    differing = {name.split("#")[0] for name in (first.keys() | second.keys()) - set(same)}
    assert differing == {
        *("stage", "STAGE_training", "levels", "model_card", "image_prob", "prepare_batch", "keys", "to_plain_tensor"),
        *("encode", "mask_or_image", "train", "validate", "dataset_info"),
    }
    of_data = {name for name in (first.keys() | second.keys()) - set(same) if name.startswith(("train", "validate"))}
    assert of_data == {
        "train#preprocessing#transforms#5",
        "train#preprocessing#transforms#6",
        "validate#preprocessing#transforms#5",
        "train#handlers#6#input_key",
        "train#handlers#9#network_id",
        "train#handlers#9#trained#2",
        *(f"train#handlers#9#values#{name}" for name in ("trained_conditioning", "levels", "STAGE_options")),
    }


@pytest.mark.parametrize("overlay", ["cpu_demo", "published"])
def test_an_overlay_serves_every_stage(overlay):
    content = read(overlay)
    for stage in STAGES:
        own = read(f"train_{stage}")
        for part in ("size", "training"):
            name = f"{stage}_{part}"
            assert content.get(name, own[name]).keys() == own[name].keys(), name
        taken_from_the_stage = {
            name for name, value in own.items() if isinstance(value, str) and value.startswith(f"@{stage}_")
        }
        assert {"batch_size", "max_images", "learning_rate"} <= taken_from_the_stage
        assert not taken_from_the_stage & set(content), "such an entry would be meant for one stage and reach all"


@pytest.mark.parametrize("stage", STAGES)
def test_the_published_sizes_are_a_quarter_with_three_channels(stage):
    parser = ConfigParser()
    files = [config(stage), str(bundle_path("chest_xray") / "configs" / "published.yaml")]
    parser.read_config(files)
    options = parser.get_parsed_content(f"{stage}_options")
    assert parser.get_parsed_content("image_size") == [256, 256]
    assert options["latent_channels"] == 3
    assert 2 ** (len(options["channels"]) - 1) == 4
    assert options["attention_levels"] == [False] * 3


@pytest.mark.slow
def test_two_processes_train_one_network_and_one_discriminator(tmp_path):
    stage = "autoencoder"  # that of the anatomy controller is the same file but for its input, as is shown above
    root = copy_bundle("chest_xray", tmp_path / "chest_xray")
    overrides = {**overrides_of(stage), f"{stage}_training": {**TRAINING, "max_images": 32, "adversarial_start": 8}}
    saved = "{'network': @network_def.state_dict(), 'discriminator': @discriminator.module.state_dict()}"
    overrides["finalize"] = [
        f"$torch.save({saved}, f'rank{{os.environ[\"RANK\"]}}.pt')",
        "$dist.destroy_process_group()",
    ]
    files = [f"configs/train_{stage}.yaml", "configs/multi_gpu_train.yaml"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command += ["monai.bundle", "run", "training", "--config_file", str(files)]
    command += [word for name, value in overrides.items() for word in (f"--{name}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(root / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    for part in ("network", "discriminator"):
        for name, value in ranks[0][part].items():
            assert torch.equal(value, ranks[1][part][name]), name
    state = torch.load(root / "models" / stage / "checkpoint_epoch=2.pt", weights_only=True)
    for part in ("network", "discriminator"):
        assert state[part].keys() == ranks[0][part].keys(), "the file fits a network without the parallel wrapper"
    untrained = torch.load(root / "models" / stage / "checkpoint_epoch=1.pt", weights_only=True)["discriminator"]
    assert any(not torch.equal(value, untrained[name]) for name, value in state["discriminator"].items())
