from __future__ import annotations

import math

import pytest
import torch

from monai_segdiff.diffusion import SAMPLERS, RectifiedFlow, SampleNoise, mix_seed
from monai_segdiff.inferers import BlendConstraint, InterpolationStart, MaskGuidance, SamplingInferer

from .oracles import GaussianNetwork, edm, gaussian_flow

SHAPES = [(3, 1, 4, 4), (2, 1, 4, 3, 5)]


def image(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(2)) * 2 - 1


def flow(state, high: float, low: float, mean, std: float = 0.2):
    """The probability flow ODE from one noise level to another."""
    return mean + (state - mean) * math.sqrt((std**2 + low**2) / (std**2 + high**2))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("similarity", [0.25, 1.0])
def test_the_state_at_the_level_is_the_interpolation_of_sample_and_noised_image(shape, similarity):
    network, condition, real = GaussianNetwork([0.4]), torch.ones(shape), image(*shape)
    start = InterpolationStart(real, similarity, sigma=0.7)
    inferer = SamplingInferer(edm(), "heun", 200, seed=5, start=start)
    found = inferer(condition, network)
    sigma = float(edm().sigmas(200)[start.grid_index(edm().sigmas(200), edm())])
    assert sigma == pytest.approx(0.7, rel=0.05)
    x = flow(80.0 * SampleNoise(5, range(shape[0]))(shape, torch.empty(())), 80.0, sigma, 0.4)
    noise = (x - (0.2**2 * x + sigma**2 * 0.4) / (0.2**2 + sigma**2)) / sigma
    mixed = (1 - similarity) * x + similarity * (real + sigma * noise)
    torch.testing.assert_close(found, gaussian_flow(mixed, sigma, 0.4, 0.2), atol=3e-3, rtol=0)


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_without_similarity_it_is_the_plain_sample_to_the_bit(sampler):
    condition, network = torch.ones(2, 1, 4, 4), GaussianNetwork([0.3])
    inferer = SamplingInferer(edm(), sampler, 8)
    plain, evaluations = inferer(condition, network, [3, 1]), inferer.evaluations
    for independent in (False, True):
        start = InterpolationStart(image(2, 1, 4, 4), 0.0, t0=0.4, independent_noise=independent)
        assert torch.equal(inferer(condition, network, [3, 1], start=start), plain)
        assert inferer.evaluations == evaluations


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_an_image_that_is_the_samples_own_estimate_changes_nothing(sampler):
    # What is left of the interpolation is its bookkeeping; multistep samplers begin anew, which costs them accuracy.
    condition, network = torch.ones(2, 1, 4, 4), GaussianNetwork([0.3])
    states = {}

    def keep(step, sigma, x, x0_hat):
        states[step] = x0_hat.clone()

    inferer = SamplingInferer(edm(), sampler, 12, callback=keep)
    plain = inferer(condition, network, [0, 1])
    start = InterpolationStart(states[6], 1.0, sigma=float(edm().sigmas(12)[6]))
    tolerance = 0.05 if sampler in ("dpmpp_2m", "unipc") else 1e-6
    torch.testing.assert_close(inferer(condition, network, [0, 1], start=start), plain, atol=tolerance, rtol=0)
    assert inferer.evaluations == (24 if sampler in ("heun", "ve_pc") else 13)


@pytest.mark.parametrize("sampler", ["ddim", "heun", "dpmpp_2m", "unipc"])
def test_a_multistep_sampler_keeps_its_order_through_the_interpolation(sampler):
    # With estimates from before the jump it would lose it.
    network, condition, real = GaussianNetwork([0.4]), torch.ones(8, 1, 4, 4), image(8, 1, 4, 4)
    sigma = float(edm().sigmas(16)[8])

    def error(num_steps: int) -> float:
        start = InterpolationStart(real, 0.5, sigma=sigma)
        found = SamplingInferer(edm(), sampler, num_steps, start=start, sigmas=_grid(num_steps))(condition, network)
        x = flow(10.0 * SampleNoise(0, range(8))((8, 1, 4, 4), torch.empty(())), 10.0, sigma, 0.4)
        shift = 0.5 * (real - (0.2**2 * x + sigma**2 * 0.4) / (0.2**2 + sigma**2))
        return float((found - gaussian_flow(x + shift, sigma, 0.4, 0.2)).abs().mean())

    def _grid(num_steps: int) -> torch.Tensor:
        half = num_steps // 2
        ramps = torch.linspace(0, 1, half + 1, dtype=torch.float64)
        upper, lower = 10.0 * (sigma / 10.0) ** ramps, sigma * (0.05 / sigma) ** ramps
        return torch.cat([upper, lower[1:], torch.zeros(1, dtype=torch.float64)])

    order = math.log2((error(32) - error(1024)) / (error(64) - error(1024)))
    assert order > (0.8 if sampler == "ddim" else 1.7)


def test_independent_noise_is_as_published():
    network, condition, real = GaussianNetwork([0.4]), torch.ones(3, 1, 4, 4), image(3, 1, 4, 4)
    start = InterpolationStart(real, 0.25, sigma=0.7, independent_noise=True)
    found = SamplingInferer(edm(), "heun", 200, seed=5, start=start)(condition, network)
    sigma = float(edm().sigmas(200)[start.grid_index(edm().sigmas(200), edm())])
    x = flow(80.0 * SampleNoise(5, range(3))((3, 1, 4, 4), torch.empty(())), 80.0, sigma, 0.4)
    own = SampleNoise(mix_seed(5, -1), range(3))((3, 1, 4, 4), torch.empty(()))
    mixed = 0.75 * x + 0.25 * (real + sigma * own)
    torch.testing.assert_close(found, gaussian_flow(mixed, sigma, 0.4, 0.2), atol=3e-3, rtol=0)


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("independent", [False, True])
def test_a_sample_does_not_depend_on_its_batch(sampler, independent):
    network = GaussianNetwork([0.3])
    real, condition = image(4, 1, 4, 4), torch.linspace(-1, 1, 4).reshape(4, 1, 1, 1).expand(4, 1, 4, 4)
    inferer = SamplingInferer(edm(), sampler, 6, seed=1)

    def sample(rows: list[int]) -> torch.Tensor:
        start = InterpolationStart(real[rows], 0.6, t0=0.4, independent_noise=independent)
        return inferer(condition[rows], network, [10 + row for row in rows], start=start)

    together = sample([0, 1, 2, 3])
    assert torch.equal(sample([3, 0]), together[[3, 0]])
    assert torch.equal(sample([2]), together[2:3])


def test_one_image_serves_the_whole_batch():
    network, condition, real = GaussianNetwork([0.3]), torch.ones(3, 1, 4, 4), image(1, 1, 4, 4)
    inferer = SamplingInferer(edm(), num_steps=6)
    one = inferer(condition, network, range(3), start=InterpolationStart(real, 0.5, t0=0.4))
    each = inferer(condition, network, range(3), start=InterpolationStart(real.expand(3, -1, -1, -1), 0.5, t0=0.4))
    assert torch.equal(one, each)


def test_the_more_similar_the_nearer_and_guidance_is_counted():
    network, condition = GaussianNetwork([0.3]), torch.ones(4, 1, 8, 8)
    real = 0.3 + 0.2 * torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(8))
    guidance = MaskGuidance(2.0, torch.zeros(1, 8, 8))
    distances = []
    for similarity in (0.0, 0.25, 0.5, 0.75, 1.0):
        start = InterpolationStart(real, similarity, sigma=0.3)
        found = SamplingInferer(edm(), num_steps=10)(condition, network, range(4), start=start)
        distances.append(float((found - real).abs().mean()))
        guided = SamplingInferer(edm(), num_steps=10, guidance=guidance)
        guided(condition, network, range(4), start=start)
        assert guided.evaluations == (20 if similarity == 0 else 22)
    assert distances == sorted(distances, reverse=True)
    assert distances[4] < 0.7 * distances[0]


@pytest.mark.parametrize("t0", [0.6, 1.0])
def test_constraints_and_callback_see_the_true_state(t0):
    network, condition, real = GaussianNetwork([0.3]), torch.ones(2, 1, 4, 4), image(2, 1, 4, 4)
    kept, seen = torch.full((1, 1, 4, 4), 0.9), []
    region = torch.zeros(1, 1, 4, 4)
    region[..., :2] = 1
    inferer = SamplingInferer(
        edm(),
        num_steps=10,
        constraints=[BlendConstraint(kept, region)],
        callback=lambda step, sigma, x, x0_hat: seen.append((sigma, x.clone(), x0_hat)),
    )
    images = inferer(condition, network, start=InterpolationStart(real, 1.0, t0=t0))
    assert torch.equal(images[..., 2:], kept.expand(2, -1, -1, -1)[..., 2:])
    assert len(seen) == 10
    for sigma, x, x0_hat in seen:  # the network's own answer to the state that is shown
        expected = (0.2**2 * x + sigma**2 * 0.3) / (0.2**2 + sigma**2)
        torch.testing.assert_close(x0_hat, expected, atol=1e-4 * max(1.0, sigma), rtol=0)


def test_the_level_is_the_nearest_of_the_grid():
    sigmas = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.0], dtype=torch.float64)
    for sigma, index in ((100.0, 0), (2.7, 1), (1.5, 1), (1.4, 2), (0.6, 3), (1e-6, 3)):
        assert InterpolationStart(image(1, 1, 2, 2), 0.5, sigma=sigma).grid_index(sigmas, edm()) == index
    flow_model = RectifiedFlow()
    start = InterpolationStart(image(1, 1, 2, 2), 0.5, t0=0.4)
    grid = flow_model.sigmas(10)
    assert float(grid[start.grid_index(grid, flow_model)]) == pytest.approx(0.4 / 0.6, rel=0.01)


def test_churn_is_refused_since_it_is_spread_over_a_whole_run():
    start = InterpolationStart(image(1, 1, 4, 4), 0.5, t0=0.4)
    inferer = SamplingInferer(edm(), "heun", 8, start=start, sampler_options={"churn": 2.0})
    with pytest.raises(ValueError, match="leave churn out"):
        inferer(torch.ones(1, 1, 4, 4), GaussianNetwork([0.3]))


@pytest.mark.parametrize("similarity", [-0.01, 1.01, float("nan")])
def test_a_similarity_out_of_range_is_refused(similarity):
    with pytest.raises(ValueError, match=r"similarity must lie between 0 .* and 1"):
        InterpolationStart(image(1, 1, 4, 4), similarity, t0=0.4)


@pytest.mark.parametrize("levels", [{}, {"t0": 0.4, "sigma": 1.0}, {"t0": 0.0}, {"sigma": -1.0}])
def test_a_level_must_be_given_once(levels):
    with pytest.raises(ValueError, match=r"t0|sigma"):
        InterpolationStart(image(1, 1, 4, 4), 0.5, **levels)


def test_an_image_that_does_not_fit_is_named_whatever_the_similarity():
    for similarity in (0.0, 0.5):
        inferer = SamplingInferer(edm(), start=InterpolationStart(image(2, 1, 4, 4), similarity, t0=0.4))
        with pytest.raises(ValueError, match="image to interpolate with has shape"):
            inferer(torch.ones(3, 1, 4, 4), GaussianNetwork([0.3]))
