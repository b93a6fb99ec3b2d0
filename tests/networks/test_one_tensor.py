from __future__ import annotations

import pytest
import torch

from monai_segdiff.networks import MaskConcatUNet, OneTensorNetwork, UnconditionalUNet

UNET = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": (8, 8), "num_res_blocks": 1}
UNET |= {"attention_levels": (False, False), "num_head_channels": 4, "norm_num_groups": 4}


def network(seed: int = 0, kind: type = MaskConcatUNet, condition_channels: int = 4) -> torch.nn.Module:
    torch.manual_seed(seed)
    made = kind(**UNET, condition_channels=condition_channels).eval()
    for parameter in made.parameters():  # the last convolution begins with zeros
        torch.nn.init.normal_(parameter, std=0.1)
    return made


def parts(batch: int, condition_channels: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    image = torch.randn(batch, 1, 16, 16, generator=generator)
    return image, torch.randn(batch, condition_channels, 16, 16, generator=generator), torch.linspace(-1, 2, batch)


def joined(image: torch.Tensor, condition: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    return torch.cat([image, condition, timesteps.view(-1, 1, 1, 1).expand_as(image)], dim=1)


@pytest.mark.parametrize(
    ("kind", "condition_channels"), [(MaskConcatUNet, 4), (MaskConcatUNet, 0), (UnconditionalUNet, 4)]
)
def test_it_is_the_network(kind: type, condition_channels: int) -> None:
    own = network(kind=kind, condition_channels=condition_channels)
    image, condition, timesteps = parts(3, condition_channels)
    with torch.no_grad():
        expected = own(image, timesteps, condition if condition_channels else None)
        found = OneTensorNetwork(own, (16, 16))(joined(image, condition, timesteps))
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_trace_of_it_takes_other_batches() -> None:
    own = network()
    traced = torch.jit.trace(OneTensorNetwork(own, (16, 16)), (torch.rand(1, 6, 16, 16),))
    image, condition, timesteps = parts(3)
    with torch.no_grad():
        found = traced(joined(image, condition, timesteps))
        torch.testing.assert_close(found, own(image, timesteps, condition), atol=1e-5, rtol=0)


def test_its_weights_are_the_networks() -> None:
    first, second = network(0), network(1)
    OneTensorNetwork(second, (16, 16)).load_state_dict(first.state_dict())
    state = OneTensorNetwork(second, (16, 16)).state_dict()
    assert state.keys() == first.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in first.state_dict().items())


def test_a_tensor_that_does_not_fit_is_told_the_shape() -> None:
    with pytest.raises(ValueError, match=r'has 1 channels, .* give --input_shape "\[1,6,16,16\]"'):
        OneTensorNetwork(network(), (16, 16))(torch.rand(1, 1, 16, 16))
