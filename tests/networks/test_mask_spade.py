"""MaskSPADEUNet: equality with MONAI's network, what its normalizations do to the condition, export, guidance."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.networks.blocks.spade_norm import SPADE
from monai.networks.nets import SPADEDiffusionModelUNet
from torch.nn import functional

from monai_segdiff.networks import MaskSPADEUNet
from monai_segdiff.transforms import EncodeMask

from .rivals import BAD_SHAPES, OPTIONS, check_export, check_guidance, inputs, with_drawn_weights

SMALL = {**OPTIONS, "spade_intermediate_channels": 8}


def small(spatial_dims: int = 2, channels: tuple[int, int] = (2, 3), **options: bool) -> MaskSPADEUNet:
    return with_drawn_weights(MaskSPADEUNet(spatial_dims, channels[0], 1, channels[1], **options, **SMALL))


@pytest.mark.parametrize("spatial", [(8, 12), (4, 8, 6)])
def test_equals_monais_network_with_the_condition_as_segmentation(spatial: tuple) -> None:
    network = small(len(spatial))
    plain = SPADEDiffusionModelUNet(len(spatial), in_channels=2, out_channels=1, label_nc=3, **SMALL)
    plain.load_state_dict(network.unet.state_dict())
    x, timesteps, condition = inputs(spatial=spatial)
    result = network(x, timesteps, condition=condition)
    assert result.shape == (2, 1, *spatial)
    assert result.std() > 1e-3
    assert torch.equal(result, plain(x, timesteps, seg=condition))


def test_says_what_it_takes_and_gives() -> None:
    network = small()
    assert (network.in_channels, network.out_channels, network.condition_channels) == (2, 1, 3)
    assert network.size_multiple == 2


@pytest.mark.parametrize("normalize_modulation", [True, False])
def test_gradients_reach_condition_and_every_weight(normalize_modulation: bool) -> None:
    network = small(normalize_modulation=normalize_modulation)
    x, timesteps, condition = inputs()
    condition.requires_grad_()
    network(x, timesteps, condition).square().sum().backward()
    assert condition.grad is not None
    assert float(condition.grad.abs().min()) > 0
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_without_normalized_modulation_scale_and_shift_are_plain_convolutions() -> None:
    """Equation 1 of arXiv 1903.07291: normalized activation times (1 + gamma) plus beta."""
    network = small(normalize_modulation=False)
    block = next(module for module in network.unet.modules() if isinstance(module, SPADE))
    seen = {}
    block.register_forward_hook(lambda _, given, result: seen.update(x=given[0], mask=given[1], result=result))
    x, timesteps, condition = inputs()
    network(x, timesteps, condition)

    def convolve(h: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
        return functional.conv2d(h, layer.conv.weight, layer.conv.bias, padding=1)

    hidden = functional.leaky_relu(
        convolve(functional.interpolate(seen["mask"], seen["x"].shape[2:]), block.mlp_shared)
    )
    gamma, beta = (convolve(hidden, layer) for layer in (block.mlp_gamma, block.mlp_beta))
    expected = block.param_free_norm(seen["x"]) * (1 + gamma) + beta
    torch.testing.assert_close(seen["result"], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("normalize_modulation", [True, False])
def test_normalized_modulation_is_the_same_on_average_whatever_the_mask(normalize_modulation: bool) -> None:
    network = small(normalize_modulation=normalize_modulation)
    block = next(module for module in network.unet.modules() if isinstance(module, SPADE))
    with torch.no_grad():
        shifts = [block.mlp_beta(block.mlp_shared(torch.full((1, 3, 32, 32), value))) for value in (-1.0, 1.0)]
    low, high = (shift.mean(dim=(0, 2, 3)) for shift in shifts)
    if normalize_modulation:
        torch.testing.assert_close(torch.stack([low, high]), torch.zeros(2, len(low)), atol=1e-5, rtol=0)
    else:
        assert float((high - low).abs().max()) > 0.1


def test_metadata_and_other_dtypes_of_the_condition_are_taken_off() -> None:
    network = small()
    x, timesteps, condition = inputs()
    on = condition > 0
    expected = network(x, timesteps, condition=on.float())
    result = network(MetaTensor(x), MetaTensor(timesteps), condition=MetaTensor(on.double()))
    assert type(result) is torch.Tensor
    assert torch.equal(result, expected)


@pytest.mark.parametrize(("x_shape", "condition_shape", "message"), BAD_SHAPES)
def test_shapes_that_do_not_fit_are_refused(x_shape: tuple, condition_shape: tuple | None, message: str) -> None:
    condition = None if condition_shape is None else torch.zeros(condition_shape)
    with pytest.raises(ValueError, match=message):
        small()(torch.zeros(x_shape), torch.zeros(2), condition=condition)


def test_it_needs_a_mask() -> None:
    with pytest.raises(ValueError, match=r"at least 1, got 0; without masks use UnconditionalUNet\."):
        MaskSPADEUNet(2, 1, 1, 0, **SMALL)


@pytest.mark.slow
def test_exports_with_any_batch_size() -> None:
    check_export(small(), (8, 8))


@pytest.mark.parametrize("normalize_modulation", [True, False])
def test_guidance_doubles_the_batch_and_the_masks_with_it(normalize_modulation: bool) -> None:
    encoder = EncodeMask({"a": 1, "b": 2})
    check_guidance(small(channels=(1, encoder.out_channels), normalize_modulation=normalize_modulation), encoder)
