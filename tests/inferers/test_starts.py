from __future__ import annotations

import pytest
import torch

from monai_segdiff.diffusion import SampleNoise, ScoreVE
from monai_segdiff.inferers import ImageStart, InputStart, MaskGuidance, NoiseStart, SamplingInferer

from .oracles import GaussianNetwork, edm, gaussian_flow


def draws(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return SampleNoise(seed, range(shape[0]))(shape, like=torch.empty(()))


def test_noise_start_follows_the_flow_from_the_highest_level_to_the_data():
    network = GaussianNetwork([0.4])
    condition = torch.linspace(-1, 1, 16).reshape(1, 1, 4, 4).repeat(3, 1, 1, 1)
    images = SamplingInferer(edm(), "heun", 120, seed=5, start=NoiseStart())(condition, network)
    expected = gaussian_flow(80.0 * draws((3, 1, 4, 4), seed=5), 80.0, 0.4 * condition, 0.2)
    torch.testing.assert_close(images, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("level", [{"sigma": 0.7}, {"t0": 0.4}])
def test_image_start_follows_the_flow_from_the_noised_image(level):
    image = torch.linspace(-1, 1, 16).reshape(1, 1, 4, 4)
    sigma = level.get("sigma") or float(edm().sigma(0.4))
    images = SamplingInferer(edm(), "heun", 40, start=ImageStart(image, **level))(
        torch.ones(5, 1, 4, 4), GaussianNetwork([0.3])
    )
    expected = gaussian_flow(image + sigma * draws((5, 1, 4, 4)), sigma, 0.3, 0.2)
    torch.testing.assert_close(images, expected, atol=2e-3, rtol=0)


def test_image_start_at_a_tiny_level_gives_the_image_back():
    image = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images = SamplingInferer(edm(1e-6), num_steps=5, start=ImageStart(image, sigma=1e-5))(image, GaussianNetwork([0.3]))
    torch.testing.assert_close(images, image, atol=1e-4, rtol=0)


def test_image_start_needs_no_condition():
    image = torch.zeros(4, 1, 4, 4, 4)
    images = SamplingInferer(edm(), "heun", 30, start=ImageStart(image, sigma=1.0))(None, GaussianNetwork([0.3]))
    torch.testing.assert_close(images, gaussian_flow(draws(image.shape), 1.0, 0.0, 0.2), atol=2e-3, rtol=0)


def test_a_start_given_to_the_call_takes_the_place_of_the_inferers():
    image = torch.full((1, 1, 4, 4), 0.6)
    inferer = SamplingInferer(edm(1e-6), num_steps=5)
    images = inferer(torch.zeros(1, 1, 4, 4), GaussianNetwork([0.0]), start=ImageStart(image, sigma=1e-5))
    torch.testing.assert_close(images, image, atol=1e-4, rtol=0)


@pytest.mark.parametrize("levels", [{}, {"t0": 0.4, "sigma": 1.0}, {"t0": 0.0}, {"t0": 1.5}, {"sigma": 0.0}])
def test_starts_refuse_levels_that_say_nothing_or_too_much(levels):
    with pytest.raises(ValueError, match=r"t0|sigma"):
        ImageStart(torch.zeros(1, 1, 4, 4), **levels)
    with pytest.raises(ValueError, match=r"t0|sigma"):
        InputStart(**levels)


@pytest.mark.parametrize("shape", [(1, 1, 4, 5), (1, 2, 4, 4), (2, 1, 4, 4), (1, 4, 4)])
def test_image_start_names_the_shapes_that_do_not_fit(shape):
    inferer = SamplingInferer(edm(), start=ImageStart(torch.zeros(shape), sigma=1.0))
    with pytest.raises(ValueError, match=r"image to start from has shape .* samples of this run are \(3, 1, 4, 4\)"):
        inferer(torch.zeros(3, 1, 4, 4), GaussianNetwork([0.3]))


def test_a_run_without_condition_and_image_says_what_it_needs():
    with pytest.raises(ValueError, match="needs a start that has an image"):
        SamplingInferer(edm())(None, GaussianNetwork([0.3]))


@pytest.mark.parametrize("level", [{"sigma": 0.7}, {"t0": 0.4}])
def test_input_start_is_an_image_start_at_the_inputs_without_a_condition(level):
    inputs = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    network = GaussianNetwork([0.3])
    from_inputs = SamplingInferer(edm(), "ddpm", 6, start=InputStart(**level))
    images = from_inputs(inputs, network, indices=[4, 2, 9])
    assert from_inputs.evaluations == 6
    expected = SamplingInferer(edm(), "ddpm", 6)(None, network, indices=[4, 2, 9], start=ImageStart(inputs, **level))
    assert torch.equal(images, expected)
    # the network's mean follows its condition, and is 0 for the none that it got
    sigma = level.get("sigma") or float(edm().sigma(0.4))
    flow = SamplingInferer(edm(), "heun", 40, start=InputStart(**level))(inputs, network)
    torch.testing.assert_close(
        flow, gaussian_flow(inputs + sigma * draws((3, 1, 4, 4)), sigma, 0.0, 0.2), atol=2e-3, rtol=0
    )


def test_each_call_starts_at_its_own_inputs():
    inferer = SamplingInferer(edm(1e-6), num_steps=5, start=InputStart(sigma=1e-5))
    for value in (0.2, 0.7):
        inputs = torch.full((2, 1, 4, 4), value)
        torch.testing.assert_close(inferer(inputs, GaussianNetwork([0.3])), inputs, atol=1e-4, rtol=0)
    assert inferer.next_index == 4


def test_the_published_time_is_the_published_level():
    assert InputStart(t0=0.4).at(torch.zeros(1, 1, 4, 4)).level(ScoreVE()) == pytest.approx(0.439, abs=5e-4)


def test_input_start_says_what_it_cannot_do():
    inferer = SamplingInferer(edm(), start=InputStart(t0=0.4))
    with pytest.raises(ValueError, match="InputStart begins at the inputs, but they are None"):
        inferer(None, GaussianNetwork([0.3]))
    with pytest.raises(ValueError, match=r"image to start from has shape \(3, 2, 4, 4\)"):
        inferer(torch.zeros(3, 2, 4, 4), GaussianNetwork([0.3]))
    guided = SamplingInferer(edm(), start=InputStart(t0=0.4), guidance=MaskGuidance(2.0, torch.zeros(1, 4, 4)))
    with pytest.raises(ValueError, match="called without one"):
        guided(torch.zeros(3, 1, 4, 4), GaussianNetwork([0.3]))
