from __future__ import annotations

import torch

from monai_segdiff.inferers import BlendConstraint, ImageStart, SamplingInferer

from .oracles import GaussianNetwork, edm


class PooledInferer(SamplingInferer):
    """Samples at half the resolution: a latent space whose encoder and decoder are known."""

    def state_shape(self, template, network):
        batch, channels, *spatial = super().state_shape(template, network)
        return (batch, channels, *(size // 2 for size in spatial))

    def encode(self, image):
        return torch.nn.functional.avg_pool2d(image, 2)

    def decode(self, state):
        return torch.nn.functional.interpolate(state, scale_factor=2, mode="nearest")


def blocks() -> torch.Tensor:
    """An image of constant 2x2 blocks, which pooling keeps."""
    values = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(values, scale_factor=2, mode="nearest")


def test_starts_are_encoded_and_the_result_is_decoded():
    inferer = PooledInferer(edm(1e-6), num_steps=5, start=ImageStart(blocks(), sigma=1e-5))
    torch.testing.assert_close(inferer(None, GaussianNetwork([0.3])), blocks(), atol=1e-4, rtol=0)


def test_references_are_encoded_and_regions_belong_to_the_state():
    region = torch.zeros(1, 1, 4, 4)
    region[..., :2] = 1
    constraint = BlendConstraint(blocks(), region)
    exact = GaussianNetwork([0.0])
    inferer = PooledInferer(edm(), num_steps=8, constraints=[constraint], image_channels=1)
    images = inferer(torch.zeros(2, 1, 8, 8), lambda x, timesteps, condition: exact(x, timesteps, torch.zeros_like(x)))
    assert images.shape == (2, 1, 8, 8)
    assert torch.equal(images[..., 4:], blocks()[..., 4:])
    assert not torch.allclose(images[..., :4], blocks()[..., :4])
