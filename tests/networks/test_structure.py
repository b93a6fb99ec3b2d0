"""Two objects are made alike, or the first part that differs is named."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from monai_segdiff.diffusion import EDM, ScoreVE
from monai_segdiff.networks import MaskConcatUNet, NCSNpp
from monai_segdiff.networks.structure import first_difference
from monai_segdiff.transforms import EncodeMask

OPTIONS = {"channels": (8, 8), "attention_levels": (False, False), "num_res_blocks": 1, "norm_num_groups": 4}


def unet(**options) -> MaskConcatUNet:
    return MaskConcatUNet(
        **{"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "condition_channels": 2, **OPTIONS} | options
    )


def test_networks_of_one_making_are_alike_whatever_their_weights_and_device():
    first = unet().train()
    nn.init.ones_(first.unet.conv_in.conv.weight)
    first.register_forward_hook(lambda *_: None)
    with torch.device("meta"):
        second = unet().eval().requires_grad_(False)
    assert first_difference(first, second, "network") is None
    assert first_difference(copy.deepcopy(first), first, "network") is None


@pytest.mark.parametrize(
    ("options", "named", "what"),
    [
        ({"channels": (8, 16)}, "network.unet.block_out_channels", ("[8, 8]", "[8, 16]")),
        ({"condition_channels": 3}, "network.condition_channels", ("2", "3")),
        ({"norm_num_groups": 2}, "num_groups", ("4", "2")),
        ({"norm_eps": 1e-5}, "eps", ("1e-06", "1e-05")),
        ({"num_res_blocks": 2}, "network.unet.num_res_blocks", ("[1, 1]", "[2, 2]")),
    ],
)
def test_the_first_part_of_a_network_that_differs_is_named(options, named, what):
    found = first_difference(unet(), unet(**options), "network")
    assert found is not None
    assert named in found[0]
    assert found[1:] == what


def test_a_network_of_another_kind_is_one():
    other = NCSNpp(in_channels=1, condition_channels=2, **OPTIONS)
    assert first_difference(unet(), other, "network") == ("network", "MaskConcatUNet", "NCSNpp")


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ([1, 2.0], (1, 2.0), None),
        ([1, 2], [1, 3], ("x", "[1, 2]", "[1, 3]")),
        ({"a": 1}, {"a": 1, "b": [2]}, ("x.b", "None", "[2]")),
        ({"a": {"b": 1}}, {"a": {"b": None}}, ("x.a.b", "1", "None")),
        (EDM(0.5), EDM(0.5), None),
        (EDM(0.5), EDM(0.4), ("x.sigma_data", "0.5", "0.4")),
        (EDM(), ScoreVE(), ("x._target_", "monai_segdiff.diffusion.EDM", "monai_segdiff.diffusion.ScoreVE")),
        (EncodeMask({"a": 1}), EncodeMask({"a": 1}), None),
        (EncodeMask({"a": 1}), EncodeMask({"a": 2}), ("x.classes.a", "[1]", "[2]")),
        (EncodeMask({"a": 1}), EncodeMask({"a": 1}, "bits"), ("x.mode", "one_hot", "bits")),
        (torch.zeros(2), torch.ones(2), ("x", "tensor([0., 0.])", "tensor([1., 1.])")),
    ],
)
def test_values_and_transforms_are_compared_by_what_they_hold(first, second, found):
    assert first_difference(first, second, "x") == found
