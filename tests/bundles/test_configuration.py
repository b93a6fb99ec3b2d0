"""What the configuration files of every bundle say, without training."""

from __future__ import annotations

import pytest
import torch
import yaml
from monai.bundle import ConfigWorkflow, verify_net_in_out

from monai_segdiff import bundle_path
from monai_segdiff.diffusion import Parameterization
from monai_segdiff.inferers import SamplingInferer

from .conftest import BUNDLES

FILES = ("train", "inference", "evaluate")
OVERLAYS = [
    (bundle, path.stem)
    for bundle in BUNDLES
    for path in sorted((bundle_path(bundle) / "configs").glob("*.yaml"))
    if path.stem not in FILES
]
DEMOS = [(bundle, name) for bundle, name in OVERLAYS if name.startswith("cpu_demo")]
FROM_THE_DATA = {"classes", "parents", "intensity_range", "channels_of_image", "channel_names", "covariates"}
# Ids that inference shares with the training, beside those of the card.
SHARED = {
    "breast_mri": "encoder networks network_options network inferer",
    "ct_organ": "encoder network_def network inferer",
    "knee_drr": "ckpt_dir start_sigma network sampler num_steps sigmas mask_sigmas sampler_options sampling "
    "sampling_from_mask regression",
}
# Where training is told what to train and inference asks which weights to take: what both are told, and the folder.
CHOICES = {
    "breast_mri": [({"conditioning": "spade"}, ""), ({"conditioning": "concat"}, "/concat")],
    "ct_organ": [({}, "")],
    "knee_drr": [
        ({"method": "ctm", "condition": "contour_bone"}, ""),
        ({"method": "csm", "condition": "contour_bone"}, "/csm"),
        ({"method": "unet", "condition": "contour"}, "/unet_contour"),
    ],
}

OF_ITS_OWN = {
    "multi_gpu_train": ["use_cuda"],
    "wandb": ["wandb_run"],
    "tune": ["trained_weights", "trained_card", "start", "teacher", "guidance"],
}  # ids that an overlay brings


@pytest.mark.parametrize(("bundle", "overlay"), OVERLAYS)
def test_every_id_of_an_overlay_exists_in_the_training(bundle, overlay, parser_of):
    train, file = parser_of(bundle, "train"), bundle_path(bundle) / "configs" / f"{overlay}.yaml"
    names = {name.removeprefix("+") for name in yaml.safe_load(file.read_text())}
    assert [name for name in sorted(names - set(OF_ITS_OWN.get(overlay, ()))) if name not in train] == []


def test_training_and_inference_agree_on_the_model(bundle_name, read):
    train, inference = read("train"), read("inference")
    card = train["model_card"].keys() | train["sampling_card"]
    for name in card:
        assert f"@card['{name}']" in str(inference), f"inference.yaml does not use {name} of the card"
    assert set(inference["untrained"]) == card, "every entry has to be in a card"
    measured = {"parameterization"} if "sigma_data" in train else set()
    chosen = {"conditioning", "method", "condition"}
    for name in sorted(card - FROM_THE_DATA - measured - chosen):
        assert agree(train[name], inference["untrained"][name]), name
    for name in SHARED[bundle_name].split():
        assert agree(train[name], inference[name]), name


def test_inference_looks_for_weights_where_the_training_puts_them(bundle_name, parser_of):
    for choice, folder in CHOICES[bundle_name]:
        for name in ("train", "inference"):
            parser = parser_of(bundle_name, name, bundle_root="/somewhere", **choice)
            assert parser.get_parsed_content("ckpt_dir") == f"/somewhere/models{folder}"
        assert parser.get_parsed_content("weights") == f"/somewhere/models{folder}/model.pt"
    assert parser_of(bundle_name, "inference").get_parsed_content("weights") == "./models/model.pt"


def agree(first, second):
    """Whether both say the same wherever both say something."""
    if isinstance(first, dict) and isinstance(second, dict):
        return all(agree(first[name], second[name]) for name in first.keys() & second.keys())
    return first == second


def test_every_name_in_the_files_is_a_full_path(configs, read):
    def targets(config):
        if isinstance(config, dict):
            yield from ([config["_target_"]] if "_target_" in config else [])
            config = list(config.values())
        if isinstance(config, list):
            for item in config:
                yield from targets(item)

    for file in configs.glob("*.yaml"):
        assert all("." in target for target in targets(read(file.stem)))


@pytest.mark.parametrize("kind", ["train", "infer"])
def test_the_properties_of_the_bundle_specification_are_there(kind, trained, tmp_path, own_logging):
    name = {"train": "train", "infer": "inference"}[kind]
    values = {
        **{id_: value for id_, value in trained.overrides.items() if kind == "train" or "#" not in id_},
        "bundle_root": str(tmp_path),
        "ckpt_dir": str(trained.weights.parent),
        "dataset_dir": str(trained.phantoms),
    }
    with own_logging():
        workflow = ConfigWorkflow(config_file=trained.config(f"{name}.yaml"), workflow_type=kind, **values)
        workflow.initialize()
        assert workflow.check_properties() == []


def test_run_and_run_training_are_the_same(bundle_name, parser_of):
    train = parser_of(bundle_name, "train")
    train.parse()  # takes the place of macros
    assert train["training"] == train["run"] == ["$@train::trainer.run()"]


TINY = {"channels": [8, 8], "attention_levels": [False, True], "norm_num_groups": 4}
WITH_HEADS = {**TINY, "num_head_channels": 4}
TINY_OF = {"breast_mri": WITH_HEADS, "ct_organ": WITH_HEADS, "knee_drr": TINY}
FEW = {"num_res_blocks": 1, "num_steps": 2, "amp_dtype": "float32"}


@pytest.mark.parametrize(
    ("bundle", "overlays", "size"),
    [
        ("breast_mri", (), [16, 16]),
        ("breast_mri", ("cpu_demo",), [16, 16]),
        ("ct_organ", (), [16, 16]),
        ("ct_organ", ("cpu_demo",), [16, 16]),
        ("ct_organ", ("cpu_demo_3d",), [8] * 3),
        *[("knee_drr", overlays, [16, 16]) for overlays in ((), ("cpu_demo",), ("csm",), ("unet", "contour"))],
    ],
)
def test_the_generator_takes_and_gives_what_the_metadata_say(bundle, overlays, size):
    configs = bundle_path(bundle) / "configs"
    tiny = {} if "cpu_demo" in str(overlays) else TINY_OF[bundle]
    values = {"_meta_#network_data_format#inputs#image#spatial_shape": size, **tiny, **FEW}
    verify_net_in_out(
        "generator_def",
        meta_file=str(configs / "metadata.json"),
        config_file=[str(configs / f"{name}.yaml") for name in ("inference", *overlays)],
        device="cpu",
        **values,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bundle", "overlay", "size"),
    [("ct_organ", "cpu_demo", (16, 16)), ("ct_organ", "cpu_demo_3d", (8, 8, 8)), ("knee_drr", "cpu_demo", (16, 16))],
)
def test_the_denoiser_can_be_exported_and_sampled_from(bundle, overlay, size, parser_of):
    torch.manual_seed(0)
    parser = parser_of(bundle, "inference", overlay)
    network = parser.get_parsed_content("network_def").eval()
    last = network.unet.out[-1].conv if bundle == "ct_organ" else network.conv_out
    torch.nn.init.normal_(last.weight, std=0.1)  # it starts at zero
    condition = torch.rand(3, parser.get_parsed_content("encoder").out_channels, *size)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(
        network,
        (torch.zeros(2, 1, *size), torch.zeros(2)),
        {"condition": condition[:2]},
        dynamic_shapes={"x": {0: batch}, "timesteps": {0: batch}, "condition": {0: batch}},
    )
    inferer = SamplingInferer(parser.get_parsed_content("parameterization"), num_steps=2, image_channels=1)
    expected = inferer(condition, network, indices=[0, 1, 2])
    assert float(expected.std()) > 0.01
    torch.testing.assert_close(inferer(condition, program.module(), indices=[0, 1, 2]), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("bundle", "overlay"), DEMOS)
def test_the_demo_overlays_build_networks_of_their_dimension(bundle, overlay, parser_of):
    parser = parser_of(bundle, "train", overlay, classes={"body": 1, "bone": 2}, sigma_data=0.5)
    network = parser.get_parsed_content("network_def")
    size = parser.get_parsed_content("image_size")
    assert len(size) == parser.get().get("spatial_dims", 2)
    assert all(side % network.size_multiple == 0 for side in size)
    assert sum(weight.numel() for weight in network.parameters()) < 5_000_000


def test_inference_takes_the_gpu_of_its_process(bundle_name, parser_of, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    for use_cuda, device in ((True, torch.device("cuda", 1)), (False, torch.device("cpu"))):
        parser = parser_of(bundle_name, "inference", use_cuda=use_cuda)
        assert parser.get_parsed_content("device") == device


def test_what_is_recorded_of_a_sample_names_the_seed_and_the_noise(bundle_name, parser_of):
    parser = parser_of(bundle_name, "inference", seed=5, device="cpu")
    record = parser.get_parsed_content("record")
    assert record["seed"] == 5
    parameterization = parser.get_parsed_content("parameterization")
    assert isinstance(parameterization, Parameterization)
    assert parameterization.config() in (
        record.get("parameterization"),
        record.get("sampling", {}).get("parameterization"),
    )
