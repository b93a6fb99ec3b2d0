"""LatentSamplingInferer: sampling of latents, composed by hand with an autoencoder that is inverted to the bit."""

from __future__ import annotations

import pytest
import torch
from networks.autoencoders import BlockAutoencoder, small_autoencoder

from monai_segdiff.diffusion import SAMPLERS, RectifiedFlow, SampleNoise
from monai_segdiff.inferers import (
    BlendConstraint,
    ImageStart,
    InputStart,
    InterpolationStart,
    LatentSamplingInferer,
    MaskGuidance,
    SamplingInferer,
)
from monai_segdiff.networks import FindingUNet, LatentSpace, MaskConcatUNet

from .oracles import PromptNetwork, edm, gaussian_flow

VALUES = [0.0, -0.3, 0.4, 0.6]  # means of the latents under: unknown, nothing found, and two findings
PROMPTS = torch.tensor([[2.0, 0.0], [1.0, 1.0], [3.0, 2.0]])
SCALE = 0.25
UNET = {"channels": (8, 8), "attention_levels": (False, True), "num_res_blocks": 1, "norm_num_groups": 4}


def space(spatial_dims: int = 2) -> LatentSpace:
    return LatentSpace(BlockAutoencoder(spatial_dims), SCALE)


def pictures(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("spatial", [(8, 12), (4, 8, 6)])
@pytest.mark.parametrize("sampler", ["ddpm", "dpmpp_2m", "heun"])
def test_equals_the_sampler_on_latents_and_the_decoder_composed_by_hand(spatial, sampler):
    latent_space, parameterization = space(len(spatial)), edm()
    network = PromptNetwork(VALUES, out_channels=latent_space.latent_channels)
    inferer = LatentSamplingInferer(parameterization, latent_space, sampler, 6, seed=5, image_size=spatial)
    images = inferer(PROMPTS, network)
    noise = SampleNoise(5, range(3))
    shape = (3, *latent_space.latent_shape(spatial))
    grid = parameterization.sigmas(6)
    with torch.no_grad():
        denoiser = parameterization.denoiser(network, PROMPTS)
        start = float(grid[0]) * noise(shape, torch.zeros(()))
        latents = SAMPLERS[sampler](denoiser, start, grid, noise=noise)
        expected = latent_space.decode(latents)
    assert images.shape == (3, 1, *spatial)
    assert type(images) is torch.Tensor
    torch.testing.assert_close(images, expected, atol=1e-6, rtol=1e-6)


def test_samples_have_the_latents_distribution_seen_through_the_decoder():
    network = PromptNetwork(VALUES)
    images = LatentSamplingInferer(edm(), space(), "heun", 100, image_size=(8, 8))(PROMPTS, network)
    start = 80.0 * SampleNoise(0, range(3))((3, 4, 4, 4), torch.zeros(()))
    means = torch.tensor([0.2, -0.3, 0.5]).reshape(3, 1, 1, 1)
    expected = space().decode(gaussian_flow(start, 80.0, means, network.std))
    torch.testing.assert_close(images, expected.detach(), atol=5e-3, rtol=0)
    # Latents are twice the pixels, times the scale factor: the pixels' mean is 2 of the latents'.
    torch.testing.assert_close(images.mean(dim=(1, 2, 3)), 2 * means.flatten(), atol=0.15, rtol=0)


def test_other_parameterizations_do_too():
    network = FindingUNet(2, 3, 3, 2, context_dim=8, **UNET)
    inferer = LatentSamplingInferer(RectifiedFlow(), LatentSpace(small_autoencoder()), "ddim", 3, image_size=(16, 8))
    images = inferer(PROMPTS, network)
    assert images.shape == (3, 1, 16, 8)
    assert bool(torch.isfinite(images).all())


def test_samples_depend_on_seed_and_index_and_on_nothing_else():
    def sample(prompts, indices=None, seed=0, inferer=None):
        inferer = inferer or LatentSamplingInferer(edm(), space(), "ddpm", 5, seed, image_size=(8, 8))
        return inferer(prompts, PromptNetwork(VALUES), indices)

    together = sample(PROMPTS, [4, 7, 9])
    for row, index in enumerate([4, 7, 9]):
        assert torch.equal(sample(PROMPTS[row : row + 1], [index])[0], together[row])
    assert not torch.allclose(sample(PROMPTS, [4, 7, 9], seed=1), together)
    counting = LatentSamplingInferer(edm(), space(), "ddpm", 5, image_size=(8, 8))
    calls = [sample(PROMPTS[:2], inferer=counting), sample(PROMPTS[2:], inferer=counting)]
    assert torch.equal(torch.cat(calls), sample(PROMPTS, [0, 1, 2]))


def test_starts_are_images():
    image = pictures(3, 1, 8, 8)
    low = LatentSamplingInferer(edm(1e-6), space(), num_steps=4, start=ImageStart(image, sigma=1e-5), image_size=(8, 8))
    torch.testing.assert_close(low(PROMPTS, PromptNetwork(VALUES)), image, atol=1e-3, rtol=0)
    alone = low(None, PromptNetwork(VALUES))
    torch.testing.assert_close(alone, image, atol=1e-3, rtol=0)
    begun = LatentSamplingInferer(edm(1e-6), space(), num_steps=4, start=InputStart(sigma=1e-5))
    torch.testing.assert_close(begun(image, PromptNetwork(VALUES)), image, atol=1e-3, rtol=0)


def test_one_reference_serves_a_batch_and_is_kept_to_the_bit():
    image = pictures(1, 1, 8, 8)
    region = torch.zeros(1, 1, 4, 4)
    region[..., :2] = 1
    for sampler in ("ddpm", "dpmpp_2m"):
        hold = BlendConstraint(image, region)
        inferer = LatentSamplingInferer(edm(), space(), sampler, 8, constraints=[hold], image_size=(8, 8))
        images = inferer(PROMPTS, PromptNetwork(VALUES))
        assert torch.equal(images[..., 4:], image[..., 4:].expand(3, -1, -1, -1))
        assert float((images[..., :4] - image[..., :4]).abs().mean()) > 0.1


def test_a_run_drawn_to_an_image_meets_its_latent():
    image = pictures(3, 1, 8, 8)
    start = InterpolationStart(image, 1.0, sigma=1e-4)
    inferer = LatentSamplingInferer(edm(1e-5), space(), "ddim", 30, start=start, image_size=(8, 8))
    torch.testing.assert_close(inferer(PROMPTS, PromptNetwork(VALUES)), image, atol=1e-2, rtol=0)


def test_an_inverted_image_comes_back():
    image = pictures(3, 1, 8, 8)
    inferer = LatentSamplingInferer(edm(), space(), "heun", 40, image_size=(8, 8))
    network = PromptNetwork(VALUES)
    trajectory = inferer.invert(image, PROMPTS, network, t0=1.0)
    assert trajectory.states[0].shape == (3, 4, 4, 4)
    assert torch.equal(trajectory.image, space().encode(image))
    torch.testing.assert_close(inferer(PROMPTS, network, start=trajectory), image, atol=2e-2, rtol=0)


def test_guidance_on_prompts_is_its_formula_and_is_counted():
    parameterization, weight = edm(), 7.0
    network = PromptNetwork(VALUES)
    plain = LatentSamplingInferer(parameterization, space(), "ddim", 1, image_size=(8, 8))
    null = torch.zeros(2)
    guided = LatentSamplingInferer(
        parameterization, space(), "ddim", 1, guidance=MaskGuidance(weight, null), image_size=(8, 8)
    )
    given, unknown = plain(PROMPTS, network, range(3)), plain(null.expand(3, -1), network, range(3))
    torch.testing.assert_close(
        guided(PROMPTS, network, range(3)), unknown + weight * (given - unknown), atol=1e-4, rtol=1e-4
    )
    assert (plain.evaluations, guided.evaluations) == (1, 2)
    assert torch.equal(network.prompts[-1], torch.cat([PROMPTS, torch.zeros(3, 2)]))
    assert network.batch_sizes[-1] == 6
    longer = LatentSamplingInferer(
        parameterization, space(), "ddpm", 10, guidance=MaskGuidance(2.0, null), image_size=(8, 8)
    )
    longer(PROMPTS, network)
    assert longer.evaluations == 20


def test_a_null_prompt_of_another_length_is_refused():
    inferer = LatentSamplingInferer(edm(), space(), guidance=MaskGuidance(2.0, torch.zeros(3)), image_size=(8, 8))
    with pytest.raises(ValueError, match=r"null condition has shape \(3,\), but the conditions are \(3, 2\)"):
        inferer(PROMPTS, PromptNetwork(VALUES))


@pytest.mark.parametrize("spatial", [(16, 8), (8, 8, 8)])
def test_masks_of_image_resolution_condition_a_network_on_latents(spatial):
    torch.manual_seed(0)
    dims = len(spatial)
    latent_space = LatentSpace(small_autoencoder(dims), 0.5)
    network = MaskConcatUNet(dims, 3, 3, 2, condition_downsampling=2, **UNET).eval()
    torch.nn.init.normal_(network.unet.out[-1].conv.weight, std=0.1)
    masks = pictures(2, 2, *spatial)
    images = LatentSamplingInferer(edm(), latent_space, "ddim", 1)(masks, network)
    grid, shape = edm().sigmas(1), (2, *latent_space.latent_shape(spatial))
    with torch.no_grad():
        start = float(grid[0]) * SampleNoise(0, range(2))(shape, torch.zeros(()))
        expected = latent_space.decode(edm().denoiser(network, masks)(start, grid[0]))
        other = latent_space.decode(edm().denoiser(network, -masks)(start, grid[0]))
    assert images.shape == (2, 1, *spatial)
    torch.testing.assert_close(images, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(images, other, atol=1e-3)


def test_autocast_is_for_the_network_alone():
    autoencoder = BlockAutoencoder()
    inferer = LatentSamplingInferer(edm(), LatentSpace(autoencoder), "ddim", 2, amp_dtype="bfloat16", image_size=(8, 8))
    seen = []
    autoencoder.decode = lambda z: seen.append((z.dtype, torch.is_autocast_enabled("cpu"))) or BlockAutoencoder.decode(
        autoencoder, z
    )
    autocast = []

    def network(x, timesteps, condition):
        autocast.append(torch.is_autocast_enabled("cpu"))
        return torch.zeros_like(x)

    assert inferer(PROMPTS, network).dtype == torch.float32
    assert seen == [(torch.float32, False)]
    assert autocast == [True, True]


def test_the_autoencoder_is_left_as_it_was_and_images_can_be_trained_on():
    latent_space = space()
    before = {name: value.clone() for name, value in latent_space.state_dict().items()}
    images = LatentSamplingInferer(edm(), latent_space, "ddim", 2, image_size=(8, 8))(PROMPTS, PromptNetwork(VALUES))
    assert all(torch.equal(value, before[name]) for name, value in latent_space.state_dict().items())
    assert not images.is_inference()
    assert not any(parameter.is_inference() for parameter in latent_space.parameters())


def test_prompts_need_an_image_size_and_image_space_takes_none():
    with pytest.raises(ValueError, match="give LatentSamplingInferer the image_size"):
        LatentSamplingInferer(edm(), space())(PROMPTS, PromptNetwork(VALUES))
    with pytest.raises(ValueError, match=r"2 or 3 spatial dimensions, got shape \(3, 2\)"):
        SamplingInferer(edm())(PROMPTS, PromptNetwork(VALUES))
    with pytest.raises(ValueError, match=r"or a prompt \(B, L\), got shape \(3, 2, 1\)"):
        LatentSamplingInferer(edm(), space(), image_size=(8, 8))(PROMPTS[..., None], PromptNetwork(VALUES))


def test_sizes_and_networks_that_do_not_fit_are_refused_before_anything_is_sampled():
    with pytest.raises(ValueError, match=r"multiple of \(2, 2\).*got \(8, 9\)"):
        LatentSamplingInferer(edm(), space(), image_size=(8, 9))
    network = PromptNetwork(VALUES, out_channels=3)
    with pytest.raises(ValueError, match="in_channels 3, but the autoencoder's latents need 4"):
        LatentSamplingInferer(edm(), space(), image_size=(8, 8))(PROMPTS, network)
    assert not network.seen
    unet = FindingUNet(2, 4, 4, 2, **UNET)
    with pytest.raises(ValueError, match=r"latents of size \(4, 5\).*multiples of 2"):
        LatentSamplingInferer(edm(), space(), image_size=(8, 10))(PROMPTS, unet)
    start = ImageStart(torch.zeros(3, 1, 8, 12), sigma=1.0)
    with pytest.raises(ValueError, match="image to start from has shape"):
        LatentSamplingInferer(edm(), space(), start=start, image_size=(8, 8))(PROMPTS, PromptNetwork(VALUES))
