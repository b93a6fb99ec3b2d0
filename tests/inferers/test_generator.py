from __future__ import annotations

import json

import pytest
import torch
from monai.bundle import ckpt_export, verify_net_in_out
from monai.data import MetaTensor

from monai_segdiff.inferers import InputStart, MaskToImage, SamplingInferer
from monai_segdiff.networks import MaskConcatUNet
from monai_segdiff.transforms import EncodeMask

from .oracles import GaussianNetwork, edm

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")

CLASSES = {"body": 1, "liver": 2}
UNET = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "condition_channels": 4,
    "channels": [8, 16],
    "attention_levels": [False, True],
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "num_head_channels": 8,
}


def label_maps(batch: int = 2, seed: int = 0, size: int = 16) -> torch.Tensor:
    return torch.randint(0, 3, (batch, 1, size, size), generator=torch.Generator().manual_seed(seed))


def generator(network: torch.nn.Module | None = None, condition_channels: int = 4, **options) -> MaskToImage:
    if network is None:
        torch.manual_seed(0)
        network = MaskConcatUNet(**{**UNET, "condition_channels": condition_channels})
        # MONAI starts its last convolution at zero, and an output of zeros would hide every difference.
        torch.nn.init.normal_(network.unet.out[-1].conv.weight, std=0.1)
    return MaskToImage(network, SamplingInferer(edm(), num_steps=3, **options), EncodeMask(CLASSES)).eval()


def test_every_class_gets_the_intensity_that_the_network_gives_it():
    labels = label_maps(size=32)
    # body is 0.1 + 0.4 above the background, liver -0.2 - 0.4 below it: weights on the -1/+1 channels count twice
    images = generator(GaussianNetwork([0.2, -0.3, 0.0, 0.0], std=0.01))(labels)
    assert images.shape == (2, 1, 32, 32)
    background = -0.2 + 0.3
    for label, mean in ((0, background), (1, background + 0.4), (2, background - 0.6)):
        assert float(images[labels == label].mean()) == pytest.approx(mean, abs=0.02)


def test_it_is_a_function_of_the_label_map_the_seed_and_the_indices():
    model, labels = generator(), label_maps()
    images = model(labels)
    assert torch.equal(model(labels), images)
    torch.testing.assert_close(model(labels.flip(0), [1, 0]), images.flip(0), atol=1e-4, rtol=0)
    assert not torch.equal(model(labels, [5, 6]), images)
    assert not torch.equal(generator(seed=1)(labels), images)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_label_maps_of_any_type_and_with_metadata_give_the_same(dtype):
    expected = generator()(label_maps())
    images = generator()(MetaTensor(label_maps().to(dtype)))
    assert type(images) is torch.Tensor
    assert torch.equal(images, expected)


def test_unknown_labels_are_refused():
    with pytest.raises(ValueError, match="3"):
        generator()(label_maps() + 1)


def test_its_weights_are_those_of_the_network():
    source, target = (
        generator(),
        MaskToImage(MaskConcatUNet(**UNET), SamplingInferer(edm(), num_steps=3), EncodeMask(CLASSES)),
    )
    assert source.state_dict().keys() == source.network.state_dict().keys()
    target.load_state_dict(source.network.state_dict())
    assert torch.equal(target(label_maps()), source(label_maps()))


@pytest.fixture
def bundle_files(tmp_path):
    config = {
        "network_def": {"_target_": "monai_segdiff.networks.MaskConcatUNet", **UNET},
        "parameterization": {"_target_": "monai_segdiff.diffusion.EDM"},
        "inferer": {
            "_target_": "monai_segdiff.inferers.SamplingInferer",
            "parameterization": "@parameterization",
            "num_steps": 3,
        },
        "encoder": {"_target_": "monai_segdiff.transforms.EncodeMask", "classes": CLASSES},
        "generator_def": {
            "_target_": "monai_segdiff.inferers.MaskToImage",
            "network": "@network_def",
            "inferer": "@inferer",
            "encoder": "@encoder",
        },
    }
    image = {"type": "image", "num_channels": 1, "spatial_shape": [16, 16], "dtype": "float32", "value_range": [0, 2]}
    metadata = {"network_data_format": {"inputs": {"image": image}, "outputs": {"pred": image}}}
    for name, content in (("config.json", config), ("metadata.json", metadata)):
        (tmp_path / name).write_text(json.dumps(content))
    return str(tmp_path / "config.json"), str(tmp_path / "metadata.json")


def test_the_bundle_check_of_inputs_and_outputs_passes(bundle_files):
    config, metadata = bundle_files
    verify_net_in_out("generator_def", meta_file=metadata, config_file=config, device="cpu")
    with pytest.raises(ValueError, match="output channel number"):
        verify_net_in_out(
            "generator_def",
            meta_file=metadata,
            config_file=config,
            device="cpu",
            **{"_meta_#network_data_format#outputs#pred#num_channels": 2},
        )


@pytest.mark.slow
def test_the_bundle_export_gives_the_images_of_the_weights_file(bundle_files, tmp_path):
    config, metadata = bundle_files
    model = generator()
    torch.save(model.network.state_dict(), tmp_path / "model.pt")
    ckpt_export(
        "generator_def",
        filepath=str(tmp_path / "generator.ts"),
        ckpt_file=str(tmp_path / "model.pt"),
        meta_file=metadata,
        config_file=config,
        use_trace=True,
        input_shape=[2, 1, 16, 16],
    )
    exported = torch.jit.load(tmp_path / "generator.ts")
    labels = label_maps(seed=7).float()
    with torch.no_grad():
        torch.testing.assert_close(exported(labels), model(labels), atol=1e-5, rtol=0)


def test_a_trace_keeps_the_noise_of_stochastic_samplers():
    model = MaskToImage(generator().network, SamplingInferer(edm(), "ddpm", 3, seed=4), EncodeMask(CLASSES)).eval()
    labels = label_maps(seed=7).float()
    traced = torch.jit.trace(model, (label_maps().float(),), check_trace=False)
    with torch.no_grad():
        torch.testing.assert_close(traced(labels), model(labels), atol=1e-5, rtol=0)


def test_a_trace_starts_at_the_mask_it_is_given():
    encoder = EncodeMask(CLASSES, "values", {"body": 0.5, "liver": 1.0})
    inferer = SamplingInferer(edm(), num_steps=3, start=InputStart(t0=0.4))
    model = MaskToImage(generator(condition_channels=0).network, inferer, encoder).eval()
    labels = label_maps(seed=7).float()
    traced = torch.jit.trace(model, (label_maps().float(),), check_trace=False)
    with torch.no_grad():
        images = model(labels)
        assert float((images - model(label_maps().float())).abs().mean()) > 0.01
        torch.testing.assert_close(traced(labels), images, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_exported_network_samples_like_the_network():
    network = generator().network
    condition = torch.stack([EncodeMask(CLASSES)(labels) for labels in label_maps(3)])
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(
        network,
        (torch.zeros(2, 1, 16, 16), torch.zeros(2)),
        {"condition": torch.zeros(2, 4, 16, 16)},
        dynamic_shapes={"x": {0: batch}, "timesteps": {0: batch}, "condition": {0: batch}},
    )
    exported = SamplingInferer(edm(), num_steps=3, image_channels=1)(condition, program.module())
    torch.testing.assert_close(exported, SamplingInferer(edm(), num_steps=3)(condition, network), atol=1e-5, rtol=0)
