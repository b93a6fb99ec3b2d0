"""What a configuration has of monai-generative, in every form, and what is said of what cannot be converted."""

from __future__ import annotations

import pytest

from monai_segdiff.conversion import convert_config


def _convert(tmp_path, text, name="old.yaml"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return convert_config(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        (
            "a:\n  b:\n    _target_: generative.networks.blocks.SpatialRescaler\n",
            ":3: a#b#_target_: ",
            "no counterpart of ",
        ),
        ("a: $generative.networks.nets.Unheard(3)\n", ":1: a: ", "no counterpart of generative.networks.nets.Unheard"),
        ("a: $from generative.data import Thing\n", ":1: a: ", "no counterpart of generative.data.Thing"),
        ("a: $generative.networks.nets.VQVAE(**dict())\n", ":1: a: ", "rename them by hand (num_channels to channels)"),
        ("a: $generative.networks.nets.VQVAE(**@b)\n", ":1: a: ", "the options b are not in this file"),
        ("a: $generative.networks.nets.VQVAE(\n", ":1: a: ", "cannot be read as Python"),
        (
            "a:\n  _target_: generative.networks.nets.AutoencoderKL\n  use_convtranspose: true\n",
            ":3: a#use_convtranspose: ",
            "3 wide and MONAI's 2",
        ),
        (
            "a:\n  _target_: generative.metrics.MMDMetric\n  y_transform: $torch.neg\n",
            ":3: a#y_transform: ",
            "give MONAI's one y_mapping",
        ),
        *(
            (
                f"a:\n  _target_: generative.networks.nets.VQVAE\n  num_channels: [4]\n  b: '{reference}'\n",
                ":4: a#b: ",
                "may be to a renamed option",
            )
            for reference in ("@##a#num_channels", "%##a#num_channels", "@::::a::num_channels", "%#num_channels")
        ),
        ("net#num_channels: [4]\n", ":1: net#num_channels: ", "net is not in this file: if it is one of"),
        ("+net#num_channels: [4]\n", ":1: +net#num_channels: ", "rename num_channels to channels by hand"),
        ("+net: {num_channels: [4]}\n", ":1: +net#num_channels: ", "rename num_channels to channels by hand"),
        ("a: '@net::num_channels'\n", ":1: a: ", "net is not in this file"),
        ("a: $len(@net#num_channels)\n", ":1: a: ", "net is not in this file"),
        ("a: '%base.yaml::net::num_channels'\n", ":1: a: ", "net is not in this file"),
        ("net: '%base.yaml::net'\na: '@net#num_channels'\n", ":2: a: ", "net is not in this file"),
        (
            "net#_target_: generative.networks.nets.VQVAE\n",
            ":1: net#_target_: ",
            "rename generative.networks.nets.VQVAE and its options by hand",
        ),
        (
            "a: {_target_: generative.networks.nets.AutoencoderKL}\na#use_convtranspose: true\n",
            ":2: a#use_convtranspose: ",
            "3 wide and MONAI's 2",
        ),
        (
            "a: $functools.partial(generative.networks.nets.AutoencoderKL, num_channels=[4])\n",
            ":1: a: ",
            "AutoencoderKL is handed on rather than called",
        ),
        (
            "a: {_target_: functools.partial, func: $generative.networks.nets.VQVAE, num_channels: [4]}\n",
            ":1: a#func: ",
            "VQVAE is handed on rather than called: rename its options by hand (num_channels to channels)",
        ),
        (
            "a: $generative.networks.nets.AutoencoderKL(2, 1, 1, 2, [4], [False], 3, 4, 1e-6, True, True, False)\n",
            ":1: a: ",
            "arguments after number 11 have another order",
        ),
        ("a: $generative.networks.nets.ControlNet(*@b)\n", ":1: a: ", "give them by their names"),
        (
            "a:\n  _target_: generative.networks.schedulers.DDPMScheduler\n  beta_schedule: scaled_linear\n",
            ":3: a#beta_schedule: ",
            "give schedule, such as scaled_linear_beta",
        ),
    ],
)
def test_what_cannot_be_converted_is_listed_with_its_place(tmp_path, text, where, what):
    done = _convert(tmp_path, text)
    (problem,) = done.problems
    assert problem.startswith(f"{tmp_path / 'old.yaml'}{where}")
    assert what in problem


MERGED = """\
unet: &unet
  _target_: generative.networks.nets.DiffusionModelUNet
  num_channels: [8, 8]
wide: {<<: *unet, num_channels: [16, 16]}
same: {<<: *unet}
base: &base {num_channels: [4]}
autoencoder:
  <<: *base
  _target_: generative.networks.nets.AutoencoderKL
references: ["@wide#num_channels", "@same#num_channels", "@autoencoder#num_channels", "@base#num_channels"]
"""


def test_what_yaml_merges_into_a_component_is_converted(tmp_path):
    done = _convert(tmp_path, MERGED)
    assert done.problems == ()
    unet = {"_target_": "monai.networks.nets.DiffusionModelUNet", "channels": [8, 8]}
    autoencoder = {"_target_": "monai.networks.nets.AutoencoderKL", "channels": [4]}
    assert done.data == {
        "unet": unet,
        "wide": {**unet, "channels": [16, 16]},
        "same": unet,
        "base": {"channels": [4]},
        "autoencoder": autoencoder,
        "references": [f"@{name}#channels" for name in ("wide", "same", "autoencoder", "base")],
    }
    shared = MERGED + "other: {<<: *base, _target_: monai.networks.nets.Other}\n"
    (problem,) = _convert(tmp_path, shared).problems
    assert "share num_channels by <<" in problem


def test_a_target_by_a_name_of_an_import(tmp_path):
    imports = "imports: [$from generative.networks.nets import VQVAE as VQ, $from generative.networks import nets]\n"
    components = "a: {_target_: $VQ, num_channels: [4]}\nb: {_target_: $nets.VQVAE, num_channels: [4]}\n"
    done = _convert(tmp_path, components + imports)
    assert done.problems == ()
    assert done.data["a"] == {"_target_": "$VQ", "channels": [4]}
    assert done.data["b"] == {"_target_": "$nets.VQVAE", "channels": [4]}


def test_modules_and_enumerations_that_monai_has_by_the_same_path(tmp_path):
    text = (
        "imports: [$import generative.networks.schedulers.ddpm as dd]\n"
        "a: $dd.DDPMPredictionType.SAMPLE\n"
        "b: $generative.networks.schedulers.ddpm.DDPMPredictionType.SAMPLE\n"
        "c: $isinstance(@a, generative.networks.nets.AutoencoderKL)\n"
    )
    done = _convert(tmp_path, text)
    assert done.problems == ()
    assert done.data["imports"] == ["$import monai.networks.schedulers.ddpm as dd"]
    assert done.data["b"] == "$monai.networks.schedulers.ddpm.DDPMPredictionType.SAMPLE"


def test_an_option_that_the_file_turns_off_is_off(tmp_path):
    text = "flag: {flag}\na: {{_target_: generative.networks.nets.AutoencoderKL, use_convtranspose: '@flag'}}\n"
    assert _convert(tmp_path, text.format(flag="false")).problems == ()
    for flag in ("true", "$1 > 0"):
        assert len(_convert(tmp_path, text.format(flag=flag)).problems) == 1


def test_a_bundles_own_code_is_noted(tmp_path):
    for text in ("a: {_target_: scripts.Thing}\n", "a: $scripts.make(1)\n", "a: $from scripts.x import y\n"):
        (note,) = _convert(tmp_path, text).notes
        assert "the bundle's own code: see whether" in note
    assert _convert(tmp_path, "a: my_scripts.py\n").notes == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("inferers.ControlNetDiffusionInferer", "gives the ControlNet the condition, too"),
        ("inferers.ControlNetLatentDiffusionInferer", "gives the ControlNet the condition, too"),
        ("metrics.MMDMetric", "unbiased"),
        ("networks.nets.SPADENet", "z_logvar"),
        ("networks.nets.diffusion_model_unet.DiffusionModelEncoder", "input_shape"),
    ],
)
def test_what_differs_is_noted(tmp_path, name, words):
    for text in (f"a: {{_target_: generative.{name}}}\n", f"a: $generative.{name}()\n"):
        done = _convert(tmp_path, text)
        assert done.problems == ()
        (note,) = done.notes
        assert words in note


def test_upcast_attention_is_noted_where_half_precision_fails(tmp_path):
    unet = "a: {_target_: generative.networks.nets.DiffusionModelUNet, with_conditioning: true, upcast_attention: true}"
    (note,) = _convert(tmp_path, unet).notes
    assert "in half precision: set upcast_attention to false" in note
    assert _convert(tmp_path, unet.replace("with_conditioning: true", "with_conditioning: false")).notes == ()


def test_dropout_that_would_stay_on_at_inference_is_noted(tmp_path):
    unet = "a: {_target_: generative.networks.nets.DiffusionModelUNet, use_flash_attention: true, dropout_cattn: 0.1}"
    (note,) = _convert(tmp_path, unet).notes
    assert "set use_flash_attention to false" in note
    assert _convert(tmp_path, unet.replace("0.1", "0.0")).notes == ()
