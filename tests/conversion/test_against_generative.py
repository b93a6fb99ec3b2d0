"""The converted networks compute what those of the real monai-generative compute: run by `make test-convert`."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import monai.bundle
import monai.config
import monai.utils
import pytest
import torch
import yaml
from monai.networks import nets

from monai_segdiff.__main__ import main
from monai_segdiff.conversion import CLASSES, NETWORKS, convert_options, convert_weights

from .cases import CASES, draw_weights, outputs

generative = pytest.importorskip(
    "generative.networks.nets", reason="needs monai-generative 0.2.3 beside MONAI: run `make test-convert`"
)
TOLERANCE = 2e-5  # as docs/converting.md says


def _both(name, **more):
    kind, options = CASES[name]
    old = getattr(generative, NETWORKS[kind])(**options)
    draw_weights(old)
    new = getattr(nets, NETWORKS[kind])(**convert_options(NETWORKS[kind], options), **more)
    return kind, options, old, new


def _difference(kind, options, old, new):
    expected, found = outputs(old, kind, options), outputs(new, kind, options)
    assert len(expected) == len(found)
    assert all(tensor.std() > 0.05 for tensor in expected), "an output without content compares nothing"
    return max(float((a - b).abs().max()) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_the_original(name):
    kind, options, old, new = _both(name)
    converted = convert_weights(old.state_dict())
    assert converted.network == kind
    new.load_state_dict(converted.weights, strict=True)
    difference = _difference(kind, options, old, new)
    print(f"{name}: largest difference {difference:.1e}")
    assert difference <= (0 if kind == "autoencoder" else TOLERANCE)


@pytest.mark.parametrize("name", [name for name in CASES if name in ("unet 2D", "controlnet 3D", "spade 3D")])
def test_outputs_are_the_same_with_torchs_flash_attention(name):
    kind, options, old, new = _both(name, use_flash_attention=True)
    new.load_state_dict(convert_weights(old.state_dict()).weights, strict=True)
    assert _difference(kind, options, old, new) <= TOLERANCE


@pytest.mark.parametrize("name", ["unet 2D", "autoencoder 2D"])
def test_monais_own_loading_gives_other_outputs(name):
    kind, options, old, new = _both(name)
    new.load_old_state_dict(dict(old.state_dict()))
    assert _difference(kind, options, old, new) > 100 * TOLERANCE


def test_flash_attention_with_dropout_drops_at_inference_which_a_note_says():
    kind, options, old, new = _both("unet dropout", use_flash_attention=True)
    new.load_state_dict(convert_weights(old.state_dict()).weights, strict=True)
    assert _difference(kind, options, old, new) > 100 * TOLERANCE


@pytest.mark.parametrize("upcast", [False, True])
def test_half_precision_fails_with_upcast_attention_which_a_note_says(upcast):
    kind, options = CASES["unet cross-attention"]
    options = {**options, "upcast_attention": upcast}
    old = generative.DiffusionModelUNet(**options)
    draw_weights(old)
    new = nets.DiffusionModelUNet(**convert_options(NETWORKS[kind], options))
    new.load_state_dict(convert_weights(old.state_dict()).weights, strict=True)
    generator = torch.Generator().manual_seed(0)
    image, context = (torch.randn(*shape, generator=generator).bfloat16() for shape in ((1, 2, 16, 16), (1, 3, 6)))

    def predicted(network):
        with torch.no_grad():
            return network.bfloat16().eval()(image, torch.tensor([3]), context).float()

    expected = predicted(old)
    if upcast:
        with pytest.raises(RuntimeError, match="same dtype"):
            predicted(new)
    else:
        assert (predicted(new) - expected).abs().max() < 0.05 * expected.abs().max()


def test_heads_that_do_not_come_out_even_can_be_given_so_that_they_do():
    kind, options = CASES["unet 2D"]
    options = {**options, "num_channels": [8, 12, 12], "num_head_channels": 8}
    old = generative.DiffusionModelUNet(**options)
    draw_weights(old)
    with pytest.raises(ValueError, match="must be divisible by num_head_channels"):
        nets.DiffusionModelUNet(**convert_options(NETWORKS[kind], options))
    new = nets.DiffusionModelUNet(**convert_options(NETWORKS[kind], {**options, "num_head_channels": [8, 12, 12]}))
    new.load_state_dict(convert_weights(old.state_dict()).weights, strict=True)
    assert _difference(kind, options, old, new) <= TOLERANCE


def test_a_transposed_convolution_has_no_counterpart():
    _, options = CASES["autoencoder 2D"]
    old = generative.AutoencoderKL(**options, use_convtranspose=True)
    new = nets.AutoencoderKL(**convert_options("AutoencoderKL", options), use_convtranspose=True)
    layer = "decoder.blocks.6."
    assert old.state_dict()[f"{layer}conv.conv.weight"].shape[2:] == (3, 3)
    assert new.state_dict()[f"{layer}deconv.weight"].shape[2:] == (2, 2)
    with pytest.raises(ValueError, match="3 wide and MONAI's 2"):
        convert_options("AutoencoderKL", {**options, "use_convtranspose": True})


@pytest.mark.parametrize("name", ["unet cross-attention", "spade 2D", "controlnet 2D", "autoencoder 3D"])
def test_a_checkpoint_of_a_bundle_by_the_command(name, tmp_path):
    kind, options, old, _ = _both(name)
    state = torch.nn.DataParallel(old).state_dict()
    torch.save({"model": state, "optimizer": torch.optim.Adam(old.parameters()).state_dict()}, tmp_path / "old.pt")
    component = {"_target_": f"generative.networks.nets.{NETWORKS[kind]}", **options}
    (tmp_path / "old.yaml").write_text(yaml.safe_dump({"network_def": component}))
    names = [str(tmp_path / name) for name in ("old.pt", "new.pt", "old.yaml", "new.yaml")]
    assert main(["convert", names[0], names[1], "--config", names[2], "--new-config", names[3]]) == 0
    parser = monai.bundle.ConfigParser()
    parser.read_config(names[3])
    new = parser.get_parsed_content("network_def")
    new.load_state_dict(torch.load(names[1], weights_only=True), strict=True)
    assert _difference(kind, options, old, new) <= TOLERANCE


def _old_options():
    """Options of every public class of the old package, from its source: parts of it cannot be imported any more."""
    found = {}
    for file in Path(generative.__file__).parents[2].rglob("*.py"):
        if "(" in file.name:  # a copy that was packed by accident
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                made = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
                arguments = made[0].args if made else ast.parse("lambda: 0", mode="eval").body.args
                found[node.name] = [argument.arg for argument in arguments.args[1:] + arguments.kwonlyargs]
            elif isinstance(node, ast.FunctionDef):
                found[node.name] = [argument.arg for argument in node.args.args]
    return found


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"NoiseSchedules"}))
def test_monai_takes_every_option_of_the_old_class(name):
    old = _old_options()
    assert name in old
    module, _, final = CLASSES[name].target.rpartition(".")
    new = getattr(importlib.import_module(module), final)
    if isinstance(new, type) and issubclass(new, str):
        return  # an enumeration is made of its values
    taken = inspect.signature(new).parameters
    renamed, missing = CLASSES[name].renamed, CLASSES[name].missing
    assert set(renamed) | set(missing) <= set(old[name])
    assert all(option not in taken for option in [*renamed, *missing])
    assert {renamed.get(option, option) for option in old[name] if option not in missing} <= set(taken)
    if isinstance(new, type):
        pairs = [(renamed.get(first, first), second) for first, second in zip(old[name], taken, strict=False)]
        same = next((index for index, (first, second) in enumerate(pairs) if first != second), len(pairs))
        assert CLASSES[name].positional == (None if same == len(old[name]) else same)


def test_every_public_network_has_a_place():
    public = {name for name in vars(generative) if isinstance(getattr(generative, name), type)}
    assert public
    assert public <= set(CLASSES)


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler", "PNDMScheduler"])
def test_what_differs_in_schedulers_is_what_the_notes_say(name, monkeypatch):
    monkeypatch.setattr(monai.config, "IgniteInfo", monai.utils.IgniteInfo, raising=False)  # which moved in MONAI
    old_schedulers = importlib.import_module("generative.networks.schedulers")
    from monai.networks import schedulers

    def both(**options):
        old, new = getattr(old_schedulers, name)(**options), getattr(schedulers, name)(**options)
        return old, new

    old, new = both(schedule="scaled_linear_beta", beta_start=0.0015, beta_end=0.0205)
    assert torch.equal(old.alphas_cumprod, new.alphas_cumprod)
    old.set_timesteps(50)
    new.set_timesteps(50)
    assert (old.timesteps.tolist() == new.timesteps.tolist()) is not bool(CLASSES[name].note)
    old, new = both(schedule="cosine")
    torch.testing.assert_close(old.alphas_cumprod[1:], new.alphas_cumprod[:-1], atol=1e-5, rtol=1e-3)
    assert (old.alphas_cumprod - new.alphas_cumprod).abs().max() > 1e-3
