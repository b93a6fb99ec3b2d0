"""MaskConcatUNet in a latent space: the mask comes at image resolution, and none of its pixels is lost."""

from __future__ import annotations

import itertools

import pytest
import torch
from monai.networks.nets import DiffusionModelUNet

from monai_segdiff.networks import MaskConcatUNet
from monai_segdiff.networks.conditions import space_to_depth

from .rivals import OPTIONS, inputs, with_drawn_weights


def depth_to_space(condition: torch.Tensor, channels: int, factor: int) -> torch.Tensor:
    """Put the pixels of every block back where they were, one by one."""
    spatial = [side * factor for side in condition.shape[2:]]
    image = condition.new_zeros(len(condition), channels, *spatial)
    places = list(itertools.product(range(factor), repeat=len(spatial)))
    for channel in range(channels):
        for number, place in enumerate(places):
            pixels = (slice(None), channel, *(slice(start, None, factor) for start in place))
            image[pixels] = condition[:, channel * len(places) + number]
    return image


@pytest.mark.parametrize(("spatial", "factor"), [((8, 12), 4), ((8, 12), 2), ((4, 8, 6), 2)])
def test_a_mask_of_image_resolution_enters_a_latent_network_with_every_pixel(spatial: tuple, factor: int) -> None:
    condition = torch.randn(2, 3, *spatial, generator=torch.Generator().manual_seed(2))
    blocks = space_to_depth(condition, factor)
    assert blocks.shape == (2, 3 * factor ** len(spatial), *(side // factor for side in spatial))
    assert torch.equal(depth_to_space(blocks, 3, factor), condition)
    if len(spatial) == 2:
        assert torch.equal(blocks, torch.nn.functional.pixel_unshuffle(condition, factor))


@pytest.mark.parametrize(("latent", "factor"), [((4, 6), 4), ((2, 4, 4), 2)])
def test_with_downsampling_it_equals_the_plain_network_on_the_blocks(latent: tuple, factor: int) -> None:
    dims = len(latent)
    network = with_drawn_weights(MaskConcatUNet(dims, 2, 1, 3, condition_downsampling=factor, **OPTIONS))
    plain = DiffusionModelUNet(dims, in_channels=2 + 3 * factor**dims, out_channels=1, **OPTIONS)
    plain.load_state_dict(network.unet.state_dict())
    x, timesteps, _ = inputs(spatial=latent)
    condition = torch.randn(2, 3, *(side * factor for side in latent), generator=torch.Generator().manual_seed(3))
    result = network(x, timesteps, condition=condition > 0)
    assert network.in_channels == 2
    assert torch.equal(result, plain(torch.cat([x, space_to_depth((condition > 0).float(), factor)], 1), timesteps))
    with pytest.raises(ValueError, match="expected a condition of shape"):
        network(x, timesteps, condition=torch.zeros(2, 3, *latent))


@pytest.mark.slow
def test_with_downsampling_it_exports() -> None:
    network = with_drawn_weights(MaskConcatUNet(2, 2, 1, 3, condition_downsampling=2, **OPTIONS)).eval()
    x, timesteps, _ = inputs(3)
    condition = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    expected = network(x, timesteps, condition)
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = {"x": {0: batch}, "timesteps": {0: batch}, "condition": {0: batch}}
    exported = torch.export.export(network, (x, timesteps), {"condition": condition}, dynamic_shapes=shapes).module()
    torch.testing.assert_close(exported(x[:1], timesteps[:1], condition=condition[:1]), expected[:1])


def test_downsampling_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="condition_downsampling must be at least 1, got 0"):
        MaskConcatUNet(2, 1, 1, 1, condition_downsampling=0, **OPTIONS)
