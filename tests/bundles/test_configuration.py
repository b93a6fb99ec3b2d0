"""What the configuration files of ct_organ say, without training."""

from __future__ import annotations

import pytest
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out

from monai_segdiff import bundle_path
from monai_segdiff.diffusion import EpsilonVP
from monai_segdiff.inferers import SamplingInferer

CONFIGS = bundle_path("ct_organ") / "configs"
OVERLAYS = ["cpu_demo", "cpu_demo_3d", "published", "patches", "multi_gpu_train"]
CLASSES = {"body": 1, "lungs": 2, "liver": 3, "spleen": 4, "kidneys": 5, "spine": 6}


def read(name):
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


def parser_of(*names, **overrides):
    parser = ConfigParser()
    parser.read_config([CONFIGS / f"{name}.yaml" for name in names])
    parser.update(overrides)
    return parser


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_id_of_an_overlay_exists_in_the_training(overlay):
    train = parser_of("train")
    own = {"use_cuda"} if overlay == "multi_gpu_train" else set()
    assert {name.removeprefix("+") for name in read(overlay)} - own <= set(train.get())


def test_training_and_inference_agree_on_the_model():
    train, inference = read("train"), read("inference")
    card = train["model_card"]
    for name in card:
        assert name in inference, f"inference.yaml does not use {name} of the card"
    same = set(card) - {"classes", "parents", "intensity_range", "parameterization"}  # those come from the data
    for name in sorted(same | {"encoder", "network_def", "network"}):
        assert train[name] == inference[name], name
    for name in ("sampler", "num_steps", "clip", "parameterization", "amp_dtype", "seed"):
        assert train["inferer"][name] == inference["inferer"][name] if name in train["inferer"] else True
    assert train["inferer"]["_target_"] == inference["inferer"]["_target_"]


def test_every_name_in_the_files_is_a_full_path():
    def targets(config):
        if isinstance(config, dict):
            yield from ([config["_target_"]] if "_target_" in config else [])
            config = list(config.values())
        if isinstance(config, list):
            for item in config:
                yield from targets(item)

    for name in ("train", "inference", "evaluate", *OVERLAYS):
        assert all("." in target for target in targets(read(name)))


@pytest.mark.parametrize("kind", ["train", "infer"])
def test_the_properties_of_the_bundle_specification_are_there(kind, trained_bundle, tmp_path, own_logging):
    name = {"train": "train", "infer": "inference"}[kind]
    values = {
        **{id_: value for id_, value in trained_bundle.overrides.items() if kind == "train" or "#" not in id_},
        "bundle_root": str(tmp_path),
        "ckpt_dir": str(trained_bundle.weights.parent),
        "dataset_dir": str(trained_bundle.phantoms),
    }
    with own_logging():
        workflow = ConfigWorkflow(config_file=trained_bundle.config(f"{name}.yaml"), workflow_type=kind, **values)
        workflow.initialize()
        assert workflow.check_properties() == []


def test_run_and_run_training_are_the_same():
    train = parser_of("train")
    train.parse()  # takes the place of macros
    assert train["training"] == train["run"] == ["$@train::trainer.run()"]


TINY = {"channels": [8, 8], "attention_levels": [False, True], "num_head_channels": 4, "norm_num_groups": 4}
FEW = {"num_res_blocks": 1, "num_steps": 2, "amp_dtype": "float32"}


@pytest.mark.parametrize(("overlays", "size"), [((), [16, 16]), (("cpu_demo",), [16, 16]), (("cpu_demo_3d",), [8] * 3)])
def test_the_generator_takes_and_gives_what_the_metadata_say(overlays, size):
    names = ["inference", *overlays]
    values = {"_meta_#network_data_format#inputs#image#spatial_shape": size, **(TINY if not overlays else {}), **FEW}
    verify_net_in_out(
        "generator_def",
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=[str(CONFIGS / f"{name}.yaml") for name in names],
        device="cpu",
        **values,
    )


@pytest.mark.parametrize(("overlay", "size"), [("cpu_demo", (16, 16)), ("cpu_demo_3d", (8, 8, 8))])
def test_the_denoiser_can_be_exported_and_sampled_from(overlay, size):
    torch.manual_seed(0)
    parser = parser_of("inference", overlay)
    network = parser.get_parsed_content("network_def").eval()
    torch.nn.init.normal_(network.unet.out[-1].conv.weight, std=0.1)  # MONAI starts it at zero
    condition = torch.randn(3, parser.get_parsed_content("encoder").out_channels, *size)
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
    torch.testing.assert_close(inferer(condition, program.module(), indices=[0, 1, 2]), expected, atol=1e-5, rtol=0)


def test_the_published_overlay_is_the_published_recipe():
    parser = parser_of("train", "published", classes=CLASSES, **{"network_def#channels": [8] * 6})
    parser.update({"network_def#norm_num_groups": 4, "network_def#num_head_channels": 4})
    get = parser.get_parsed_content
    assert get("channels") == [128, 128, 256, 256, 512, 512]
    assert get("image_size") == [256, 256]
    parameterization = get("parameterization")
    assert isinstance(parameterization, EpsilonVP)
    assert parameterization.config()["_target_"] == "monai_segdiff.diffusion.EpsilonVP"
    assert get("encoder").out_channels == 1
    ablate = get("ablate")
    assert get("encode") is not None
    label = torch.zeros(1, 8, 8)
    for index in range(6):
        label[0, index] = index + 1
    shares = torch.stack([ablate({"label": label})["label_known"].float() for _ in range(400)]).mean(0)
    assert torch.all((shares - 0.5).abs() < 0.1), "every class is dropped with probability one half"
    optimizer, schedule = get("optimizer"), get("lr_scheduler")
    rates = []
    for _ in range(510):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(1e-4 / 500)
    assert rates[250] == pytest.approx(1e-4 * 251 / 500)
    assert rates[499] == rates[505] == pytest.approx(1e-4)


@pytest.mark.parametrize("overlay", ["cpu_demo", "cpu_demo_3d"])
def test_the_demo_overlays_build_networks_of_their_dimension(overlay):
    parser = parser_of("train", overlay, classes=CLASSES)
    network = parser.get_parsed_content("network_def")
    size = parser.get_parsed_content("image_size")
    assert network.spatial_dims == len(size) == parser["spatial_dims"]
    assert all(side % network.size_multiple == 0 for side in size)
    assert sum(weight.numel() for weight in network.parameters()) < 5_000_000


def test_inference_takes_the_gpu_of_its_process(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert parser_of("inference", use_cuda=True).get_parsed_content("device") == torch.device("cuda", 1)
    assert parser_of("inference", use_cuda=False).get_parsed_content("device") == torch.device("cpu")
