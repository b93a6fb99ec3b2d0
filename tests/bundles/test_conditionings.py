"""The ways that a mask enters the network of breast_mri: trained by overlays, found again by the card."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from monai.bundle import run

from monai_segdiff.generation import collect_masks, generate_dataset, load_generator
from monai_segdiff.networks import MaskConcatUNet, MaskControlNet, MaskSPADEUNet, UnconditionalUNet

OVERLAYS = ("unconditional", "controlnet", "concat")
KINDS = {
    "concat": MaskConcatUNet,
    "spade": MaskSPADEUNet,
    "controlnet": MaskControlNet,
    "unconditional": UnconditionalUNet,
}


@pytest.fixture(scope="module")
def bundle(make_bundle, trained_breast, tmp_path_factory):
    bundle = make_bundle(tmp_path_factory.mktemp("ways"), "breast_mri", dataset_dir=str(trained_breast.phantoms))
    for overlay in OVERLAYS:
        bundle.run("training", f"{overlay}.yaml")
    return bundle


def weights_of(bundle, conditioning):
    return torch.load(bundle.root / "models" / conditioning / "model.pt", weights_only=True)


@pytest.mark.parametrize("conditioning", KINDS)
def test_the_training_makes_the_network_that_is_chosen_and_no_other(conditioning, parser_of):
    parser = parser_of("breast_mri", "train", "cpu_demo", conditioning=conditioning, classes={"a": 1, "b": 2})
    network = parser.get_parsed_content("network_def")
    assert type(network) is KINDS[conditioning]
    assert network.condition_channels == 4
    frozen = sum(not weight.requires_grad for weight in network.parameters())
    trained = parser.get_parsed_content("optimizer").param_groups[0]["params"]
    assert len(trained) + frozen == len(list(network.parameters()))
    assert (frozen > 0) == (conditioning == "controlnet")


@pytest.mark.parametrize("conditioning", OVERLAYS)
def test_inference_finds_network_and_weights(bundle, conditioning, tmp_path):
    by_name = load_generator(bundle.root, overrides={"conditioning": conditioning})
    file = bundle.root / "models" / conditioning / "model.pt"
    by_file = load_generator(bundle.root, file)
    assert yaml.safe_load(file.with_suffix(".yaml").read_text())["conditioning"] == conditioning
    assert by_name.settings["conditioning"] == conditioning
    assert type(by_name.network) is type(by_file.network) is KINDS[conditioning]
    assert by_name.weights_sha256 == by_file.weights_sha256
    masks = collect_masks(bundle.overrides["dataset_dir"])[:2]
    dataset = generate_dataset(by_name, masks, tmp_path / "synthetic", progress=False)
    assert len(dataset.splits["training"]) == 2


@pytest.mark.parametrize("asked", ["overlay", "folder"])
def test_the_inference_configuration_finds_the_network_by_overlay_and_by_folder(bundle, asked, tmp_path, own_logging):
    files = bundle.config("inference.yaml", *(["concat.yaml"] if asked == "overlay" else []))
    place = {} if asked == "overlay" else {"ckpt_dir": str(bundle.root / "models" / "concat")}
    masks = collect_masks(bundle.overrides["dataset_dir"])
    with own_logging():
        run(
            config_file=files,
            **place,
            bundle_root=str(bundle.root),
            dataset_dir=bundle.overrides["dataset_dir"],
            output_dir=str(tmp_path),
        )
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(Path(mask.label).name for mask in masks)


def test_controlnet_holds_the_frozen_network_to_the_bit_after_training_and_averaging(bundle):
    frozen, joined = weights_of(bundle, "unconditional"), weights_of(bundle, "controlnet")
    assert {name for name in joined if name.startswith("unet.")} == set(frozen)
    assert all(torch.equal(joined[name], value) for name, value in frozen.items())
    assert any(value.any() for name, value in joined.items() if "control.controlnet_mid_block" in name)


def test_controlnet_goes_on_where_it_was(bundle, make_bundle, tmp_path):
    again = make_bundle(tmp_path, "breast_mri", dataset_dir=bundle.overrides["dataset_dir"])
    values = {"base_weights": str(bundle.root / "models" / "unconditional" / "model.pt")}
    again.run("training", "controlnet.yaml", max_images=8, **values)
    again.run("training", "controlnet.yaml", **values)
    expected, resumed = weights_of(bundle, "controlnet"), weights_of(again, "controlnet")
    assert all(torch.equal(resumed[name], value) for name, value in expected.items())


def test_controlnet_without_its_base_says_what_is_missing(parser_of, tmp_path):
    parser = parser_of("breast_mri", "train", "cpu_demo", "controlnet", classes={"a": 1}, bundle_root=str(tmp_path))
    with pytest.raises(RuntimeError) as raised:
        parser.get_parsed_content("network_def")
    assert isinstance(raised.value.__cause__, FileNotFoundError)
    assert f"no weights at {tmp_path}/models/unconditional/model.pt: train first" in str(raised.value.__cause__)


@pytest.mark.parametrize("conditioning", ["controlnet", "concat"])
def test_guidance_works_with_every_way_to_condition(bundle, conditioning):
    mask = collect_masks(bundle.overrides["dataset_dir"])[0]
    made = {}
    for weight in (1.0, 3.0):
        generator = load_generator(bundle.root, overrides={"conditioning": conditioning, "guidance_weight": weight})
        made[weight] = generator.sample(generator.condition(mask.label)[None], [0])
        assert generator.inferer.evaluations == (4 if weight == 1.0 else 8)
    assert not torch.equal(made[1.0], made[3.0])
