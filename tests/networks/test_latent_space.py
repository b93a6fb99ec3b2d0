"""LatentSpace: maps there and back, the measured scale, freezing, caching, what does not fit."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.data import CacheDataset, MetaTensor
from monai.transforms import Compose, Lambdad
from torch import nn

from monai_segdiff.networks import LatentSpace, MaskConcatUNet

from .autoencoders import BlockAutoencoder, small_autoencoder

OPTIONS = {"channels": (8, 8), "attention_levels": (False, False), "num_res_blocks": 1, "norm_num_groups": 4}


def images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("spatial", [(8, 12), (4, 8, 6)])
def test_there_and_back_is_exact_where_the_autoencoder_is(spatial: tuple) -> None:
    space = LatentSpace(BlockAutoencoder(len(spatial)), scale_factor=0.25)
    x = images(3, 1, *spatial)
    latents = space.encode(x)
    assert latents.shape == (3, *space.latent_shape(spatial)) == (3, 2 ** len(spatial), *(s // 2 for s in spatial))
    # The first pixel of every block is its last channel, times 2 and the scale factor.
    assert torch.equal(latents[:, -1], 0.5 * x[(slice(None), 0, *[slice(None, None, 2)] * len(spatial))])
    assert torch.equal(space.decode(latents), x)


def test_a_latent_is_the_scaled_mean_of_the_posterior_and_no_draw_from_it() -> None:
    autoencoder = small_autoencoder()
    space, x = LatentSpace(autoencoder, 0.5), images(2, 1, 8, 8)
    mean, sigma = autoencoder.encode(x)
    assert float(sigma.min()) > 0.1
    assert torch.equal(space.encode(x), 0.5 * mean)
    assert torch.equal(space.decode(0.5 * mean), autoencoder.reconstruct(x))


@pytest.mark.parametrize(("spatial", "levels"), [((16, 8), 1), ((16, 8), 2), ((16, 8), 3), ((4, 8, 8), 2)])
def test_the_factor_and_the_shape_are_those_of_monais_autoencoder(spatial: tuple, levels: int) -> None:
    space = LatentSpace(small_autoencoder(len(spatial), levels))
    assert space.downsampling == (2 ** (levels - 1),) * len(spatial)
    assert space.latent_channels == 3
    latents = space.encode(images(1, 1, *spatial))
    assert tuple(latents.shape[1:]) == space.latent_shape(spatial)
    assert space.decode(latents).shape == (1, 1, *spatial)


def test_the_fitted_latents_have_standard_deviation_one() -> None:
    spread, shift = 3.0, 0.7
    x = spread * images(40, 1, 8, 8) + shift
    space = LatentSpace.fitted(BlockAutoencoder(), iter(x))
    assert space.scale_factor == pytest.approx(1 / (2 * float(x.std(unbiased=False))), rel=1e-5)
    assert float(space.encode(x).std()) == pytest.approx(1.0, abs=1e-3)


def test_fitting_needs_images_that_differ() -> None:
    with pytest.raises(ValueError, match="there are none"):
        LatentSpace.fitted(BlockAutoencoder(), [])
    with pytest.raises(ValueError, match="variance 0"):
        LatentSpace.fitted(BlockAutoencoder(), [torch.zeros(1, 8, 8)])
    with pytest.raises(ValueError, match="variance nan"):
        LatentSpace.fitted(BlockAutoencoder(), [torch.full((1, 8, 8), torch.nan)])


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_positive_number_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="positive number"):
        LatentSpace(BlockAutoencoder(), scale)


def test_the_autoencoder_is_frozen_and_its_weights_are_saved() -> None:
    autoencoder = small_autoencoder()
    space = LatentSpace(autoencoder).train()
    assert space.training
    assert not any(module.training for module in autoencoder.modules())
    assert not any(parameter.requires_grad for parameter in space.parameters())
    assert space.state_dict().keys() == {f"autoencoder.{name}" for name in autoencoder.state_dict()}
    x = images(1, 1, 8, 8).requires_grad_()
    space.decode(space.encode(x)).sum().backward()
    assert x.grad is not None, "a loss on images still reaches what made them"


def test_autocast_does_not_reach_the_autoencoder() -> None:
    space, x = LatentSpace(small_autoencoder(), 0.5), images(1, 1, 8, 8)
    latents = space.encode(x)
    decoded = space.decode(latents)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert space.autoencoder.encode(x)[0].dtype == torch.bfloat16
        assert torch.equal(space.encode(x), latents)
        assert torch.equal(space.decode(latents), decoded)
        half = space.encode(x.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, latents, atol=0.05, rtol=0)


def test_latents_are_cached_as_plain_tensors() -> None:
    autoencoder = BlockAutoencoder()
    space = LatentSpace(autoencoder)
    chain = Compose([Lambdad("image", space.encode_item, overwrite="latent", track_meta=False)])
    x = images(3, 1, 8, 8)
    dataset = CacheDataset([{"image": MetaTensor(item)} for item in x], chain, progress=False)
    for _ in range(2):
        found = torch.stack([dataset[index]["latent"] for index in range(3)])
        assert type(dataset[0]["latent"]) is torch.Tensor
        assert not found.requires_grad
        assert torch.equal(found, space.encode(x))
    assert len(autoencoder.encoded) == 3 + 2, "each image once, and the two batches of this test"
    assert type(autoencoder.encoded[0]) is torch.Tensor


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 8, 9), r"multiple of \(2, 2\).*got \(8, 9\): pad or resize"),
        ((1, 2, 8, 8), r"2D images of shape \(B, 1, \*spatial\), got \(1, 2, 8, 8\)"),
        ((1, 1, 8, 8, 8), "2D images"),
        ((1, 8, 8), "2D images"),
    ],
)
def test_images_that_do_not_fit_are_refused(shape: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatentSpace(BlockAutoencoder()).encode(torch.zeros(shape))


def test_latents_and_sizes_that_do_not_fit_are_refused() -> None:
    space = LatentSpace(BlockAutoencoder())
    with pytest.raises(ValueError, match=r"2D latents of shape \(B, 4, \*spatial\), got \(1, 3, 4, 4\)"):
        space.decode(torch.zeros(1, 3, 4, 4))
    for size in ((8,), (8, 8, 8), (8, 0), (8, 7)):
        with pytest.raises(ValueError, match="multiple of"):
            space.latent_shape(size)


def test_networks_of_other_latents_are_refused_through_every_wrapper() -> None:
    space = LatentSpace(small_autoencoder(levels=3))
    space.check_network(MaskConcatUNet(2, 3, 3, 1, **OPTIONS), (16, 24))
    space.check_network(lambda x, timesteps, condition: x, (16, 24))
    cases = [
        (MaskConcatUNet(2, 4, 3, 1, **OPTIONS), "in_channels 4, but the autoencoder's latents need 3"),
        (MaskConcatUNet(2, 3, 4, 1, **OPTIONS), "out_channels 4, but the autoencoder's latents need 3"),
        (MaskConcatUNet(3, 3, 3, 1, **OPTIONS), "spatial_dims 3, but the autoencoder's latents need 2"),
    ]
    for network, message in cases:
        for wrapped in (network, nn.DataParallel(network), torch.compile(network, backend="eager")):
            with pytest.raises(ValueError, match=message):
                space.check_network(wrapped)
    with pytest.raises(ValueError, match=r"latents of size \(4, 5\).*multiples of 2.*multiples of \(8, 8\)"):
        space.check_network(MaskConcatUNet(2, 3, 3, 1, **OPTIONS), (16, 20))


def test_deep_copies_and_devices_follow_the_module() -> None:
    space = LatentSpace(BlockAutoencoder(), 0.5)
    twin = copy.deepcopy(space).to(torch.float64)
    x = images(1, 1, 4, 4)
    torch.testing.assert_close(twin.encode(x).float(), space.encode(x))
    assert twin.scale_factor == 0.5
