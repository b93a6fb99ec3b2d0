"""What a configuration has of monai-generative, in every form, and what is said of what cannot be converted."""

from __future__ import annotations

from operator import attrgetter

import monai
import pytest

from monai_segdiff.conversion import CLASSES, convert_config


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
        (
            "a: $generative.networks.nets.VQVAE(**dict())\n",
            ":1: a: ",
            "write monai.networks.nets.VQVAE by hand, with options by name, channels for",
        ),
        (
            "a: $generative.networks.nets.VQVAE(**@b)\n",
            ":1: a: ",
            "by hand, with options by name, channels for num_channels",
        ),
        ("a: $generative.networks.nets.VQVAE(\n", ":1: a: ", "write monai.networks.nets.VQVAE by hand"),
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
            "write monai.networks.nets.AutoencoderKL by hand, with options by name, channels for",
        ),
        (
            "a: {_target_: functools.partial, func: $generative.networks.nets.VQVAE, num_channels: [4]}\n",
            ":1: a#func: ",
            "write monai.networks.nets.VQVAE by hand, with options by name, channels for",
        ),
        (
            "a: $generative.networks.nets.AutoencoderKL(2, 1, 1, 2, [4], [False], 3, 4, 1e-6, True, True, False)\n",
            ":1: a: ",
            "write monai.networks.nets.AutoencoderKL by hand, with options by name",
        ),
        (
            "a: $generative.networks.nets.ControlNet(*@b)\n",
            ":1: a: ",
            "write monai.networks.nets.ControlNet by hand, with options by name",
        ),
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


def _problems(tmp_path, text):
    return [problem.partition("old.yaml")[2] for problem in _convert(tmp_path, text).problems]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("net: &net {_target_: generative.networks.nets.VQVAE}\nb: {<<: *net, num_channels: [4]}\n", ":2: b: "),
        ("a: &a {num_channels: [4]}\nb: {_target_: generative.networks.nets.VQVAE, <<: *a}\n", ":2: b: "),
        ("o: &o {num_channels: [4]}\na: {_target_: generative.networks.nets.VQVAE}\n+a: *o\n", ":1: +a: "),
        ("a: &a {num_channels: [4]}\nb: {<<: [{x: 1}, *a], _target_: monai.Other}\n", ":2: b: "),
    ],
)
def test_what_yaml_merges_is_left_to_the_user(tmp_path, text, where):
    (problem,) = _problems(tmp_path, text)
    assert problem.startswith(where)
    assert "<< or an alias shares options of generative's classes: write them out in each place by hand" in problem
    assert _problems(tmp_path, "a: &a {x: 1}\nb: {<<: *a, y: {_target_: generative.networks.nets.VQVAE}}\n") == []


IN_EXPRESSIONS = {
    "options renamed": "$generative.networks.nets.VQVAE(num_channels=[4])",
    "an option refused": "$generative.networks.nets.AutoencoderKL(use_convtranspose=True)",
    "an option missing": "$generative.metrics.MMDMetric(y_transform=None)",
    "arguments without names": "$generative.networks.nets.AutoencoderKL(2, 1)",
    "options of a dictionary": "$generative.networks.schedulers.DDPMScheduler(num_train_timesteps=9, **@b)",
    "a class that is handed on": "$isinstance(@a, generative.networks.nets.AutoencoderKL)",
    "a class in a string": "$locate('generative.networks.nets.VQVAE')(num_channels=[4])",
    "within a call of another": "$f(generative.networks.nets.VQVAE(spatial_dims=2), g(num_channels=4))",
    "a module": "$getattr(generative.networks, 'nets')",
    "the package": "$getattr(generative, 'networks')",
    "an import of a class": "$from generative.networks.nets import VQVAE as VQ",
    "an import of a module": "$import generative.networks.nets as nets",
    "an import of two packages": "$import torch, generative",
    "an import over lines": "$from generative.inferers import (DiffusionInferer)",
    "classes of two modules": "$from generative.utils import unsqueeze_left, EMAQuantizer",
    "a name without $": "generative.networks.nets.VQVAE",
}


@pytest.mark.parametrize("case", IN_EXPRESSIONS)
def test_what_is_not_surely_right_stays_as_it_was_and_is_listed(tmp_path, case):
    text = f'a: "{IN_EXPRESSIONS[case]}"\n'
    done = _convert(tmp_path, text)
    assert done.text == text
    assert done.changes == ()
    (problem,) = done.problems
    assert problem.startswith(f"{tmp_path / 'old.yaml'}:1: a: ")
    assert "by hand" in problem


def test_expressions_with_options_of_the_same_name_are_converted(tmp_path):
    text = (
        "a: $generative.networks.schedulers.ddpm.DDPMPredictionType.SAMPLE\n"
        "b: $f(generative.networks.nets.AutoencoderKL( spatial_dims=2), generative.utils.unsqueeze_left(@x, 3))\n"
        "c: $@generative.x + '/generative/models' + 'my generative model'\n"
        "imports: [$import generative.networks.schedulers.ddpm]\n"
    )
    done = _convert(tmp_path, text)
    assert done.problems == ()
    assert done.data == {
        "a": "$monai.networks.schedulers.ddpm.DDPMPredictionType.SAMPLE",
        "b": "$f(monai.networks.nets.AutoencoderKL( spatial_dims=2), monai.utils.unsqueeze_left(@x, 3))",
        "c": "$@generative.x + '/generative/models' + 'my generative model'",
        "imports": ["$import monai"],
    }


def test_to_import_monai_is_enough_for_every_class():
    for new in CLASSES.values():
        assert attrgetter(new.target.removeprefix("monai."))(monai) is not None


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
