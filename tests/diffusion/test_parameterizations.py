from __future__ import annotations

import copy
import json

import pytest
import torch

from monai_segdiff.diffusion import EDM, SAMPLERS, EpsilonVP, RectifiedFlow, SampleNoise, ScoreVE, VelocityVP

from .oracle import draw, posterior_mean, score

ALL = [EDM, EpsilonVP, VelocityVP, ScoreVE, RectifiedFlow]
BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
ABAR = (1 - BETAS).cumprod(0)


def column(values: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, 1, 1)


# Exact networks, each written from its paper's definition of what the network answers.


def edm_network(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    sigma, data = (4 * timesteps).exp(), 0.5
    total = column((sigma**2 + data**2).sqrt())
    noisy = x * total
    return (posterior_mean(noisy, sigma) - data**2 / total**2 * noisy) * total / (column(sigma) * data)


def epsilon_network(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    abar = column(ABAR[timesteps.long()]).to(x.dtype)
    return -(1 - abar).sqrt() * score(x, abar.sqrt(), (1 - abar).sqrt())


def velocity_network(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    abar = column(ABAR[timesteps.long()]).to(x.dtype)
    epsilon = epsilon_network(x, timesteps)
    return abar.sqrt() * epsilon - (1 - abar).sqrt() * (x - (1 - abar).sqrt() * epsilon) / abar.sqrt()


def score_network(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    sigma = column(timesteps.exp())
    return sigma * score(x, torch.ones_like(sigma), sigma)


def flow_network(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    t = column(timesteps / 1000)
    noise = -t * score(x, 1 - t, t)
    return noise - (x - t * noise) / (1 - t)


EXACT = {
    EDM: edm_network,
    EpsilonVP: epsilon_network,
    VelocityVP: velocity_network,
    ScoreVE: score_network,
    RectifiedFlow: flow_network,
}

# The published weight of the squared error of x0 at a noise level.
WEIGHT = {
    EDM: lambda sigma: (sigma**2 + 0.5**2) / (sigma * 0.5) ** 2,  # arXiv 2206.00364, Table 1
    EpsilonVP: lambda sigma: 1 / sigma**2,  # signal-to-noise ratio, arXiv 2202.00512, Section 4
    VelocityVP: lambda sigma: 1 + 1 / sigma**2,  # "SNR + 1", there
    ScoreVE: lambda sigma: sigma**2 / sigma**4,  # sigma^2 |score error|^2, score = (x0 - x) / sigma^2
    RectifiedFlow: lambda sigma: ((1 + sigma) / sigma) ** 2,  # velocity = (x_t - x0) / t
}


def batch(n: int = 6, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return draw((n, 2, 5), generator).to(dtype), torch.randn(n, 2, 5, generator=generator, dtype=torch.float64).to(
        dtype
    )


def levels_over_the_range(parameterization) -> torch.Tensor:
    """Noise levels on which every exact network is defined: those of the VP chain for VP, else spread evenly."""
    if isinstance(parameterization, EpsilonVP | VelocityVP):
        return ((1 - ABAR) / ABAR).sqrt()[[0, 1, 37, 400, 800, 999]]
    return parameterization.sigma(torch.linspace(0.02, 1, 6, dtype=torch.float64))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-4)])
def test_exact_network_gives_the_posterior_mean(kind, dtype, tolerance):
    parameterization = kind()
    sigma = levels_over_the_range(parameterization)
    x0, noise = batch(len(sigma))
    x = x0 + column(sigma) * noise
    x0_hat = parameterization.denoiser(EXACT[kind])(x.to(dtype), sigma)
    assert x0_hat.dtype == dtype
    torch.testing.assert_close(x0_hat.double(), posterior_mean(x, sigma), rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", ALL)
def test_plain_squared_error_is_the_published_weighted_objective_term_by_term(kind):
    parameterization = kind()
    x0, noise = batch()
    level = parameterization.draw_levels(6, torch.Generator().manual_seed(1))
    _, _, target = parameterization.training_pair(x0, noise, level)
    answer = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2), dtype=x0.dtype)
    sigma = parameterization.level_sigma(level)
    x0_hat = parameterization.denoiser(lambda x, t: answer)(x0 + column(sigma) * noise, sigma)
    published = column(WEIGHT[kind](sigma)) * (x0_hat - x0) ** 2
    torch.testing.assert_close((answer - target) ** 2, published, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", ALL)
def test_answering_the_target_denoises_perfectly_in_float32(kind):
    parameterization = kind()
    x0, noise = batch(256, torch.float32)
    level = parameterization.draw_levels(256, torch.Generator().manual_seed(1))
    _, _, target = parameterization.training_pair(x0, noise, level)
    sigma = parameterization.level_sigma(level)
    x = x0 + column(sigma).float() * noise
    error = (parameterization.denoiser(lambda *_: target)(x, sigma) - x0).abs().amax((1, 2))
    assert (error <= 1e-6 * (1 + 5 * sigma)).all()  # no more than the rounding of x itself


@pytest.mark.parametrize("kind", ALL)
def test_training_input_and_timesteps_are_those_of_sampling(kind):
    parameterization = kind()
    x0, noise = batch()
    level = parameterization.draw_levels(6, torch.Generator().manual_seed(1))
    network_input, timesteps, _ = parameterization.training_pair(x0, noise, level)
    seen = {}

    def network(x, t, condition):
        seen.update(x=x, t=t, condition=condition)
        return x

    sigma = parameterization.level_sigma(level)
    condition = torch.ones(6, 1, 5)
    parameterization.denoiser(network, condition)(x0 + column(sigma) * noise, sigma)
    torch.testing.assert_close(seen["x"], network_input, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(seen["t"], timesteps, rtol=1e-12, atol=1e-12)
    assert seen["condition"] is condition


def test_training_pairs_are_the_published_ones():
    x0, noise = batch()
    level = torch.tensor([0, 1, 10, 500, 998, 999])
    abar = column(ABAR[level])
    noisy = abar.sqrt() * x0 + (1 - abar).sqrt() * noise
    for kind, target in ((EpsilonVP, noise), (VelocityVP, abar.sqrt() * noise - (1 - abar).sqrt() * x0)):
        pair = kind().training_pair(x0, noise, level)
        for got, expected in zip(pair, (noisy, level.double(), target), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    sigma = torch.tensor([0.01, 0.1, 0.5, 1.0, 10.0, 80.0], dtype=torch.float64)
    noisy, total = x0 + column(sigma) * noise, column(sigma**2 + 0.25)
    edm = (noisy / total.sqrt(), sigma.log() / 4, (x0 - 0.25 / total * noisy) * total.sqrt() / (0.5 * column(sigma)))
    for got, expected in zip(EDM().training_pair(x0, noise, sigma), edm, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    for got, expected in zip(ScoreVE().training_pair(x0, noise, sigma), (noisy, sigma.log(), -noise), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    t = torch.tensor([0.001, 0.1, 0.4, 0.5, 0.9, 0.999], dtype=torch.float64)
    flow = ((1 - column(t)) * x0 + column(t) * noise, 1000 * t, noise - x0)
    for got, expected in zip(RectifiedFlow().training_pair(x0, noise, t), flow, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_levels_are_drawn_from_the_published_distributions():
    n = 100_000
    generator = torch.Generator().manual_seed(0)
    logs = EDM(p_mean=-1.0, p_std=0.7).draw_levels(n, generator).log()
    assert abs(logs.mean() + 1.0) < 0.01
    assert abs(logs.std() - 0.7) < 0.01
    uniform = {
        "ve": ScoreVE().draw_levels(n, generator).div(0.01).log() / torch.tensor(12800.0).log(),
        "vp": (EpsilonVP().draw_levels(n, generator).double() + 0.5) / 1000,
        "flow": RectifiedFlow().draw_levels(n, generator) / 0.999,
    }
    for draws in uniform.values():
        assert (draws > 0).all()
        assert (draws <= 1).all()
        counts = torch.histc(draws.double(), 10, 0, 1)
        assert ((counts / n - 0.1).abs() < 0.005).all()


@pytest.mark.parametrize("kind", ALL)
def test_levels_follow_their_generator(kind):
    first, again = (kind().draw_levels(5, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (5,)


def test_vp_timesteps_are_integers_on_the_chain_and_interpolated_between():
    seen = []
    denoise = EpsilonVP().denoiser(lambda x, t: (seen.append(t), x)[1])
    chain = EpsilonVP().sigmas(1000).flip(0)[1:]
    for dtype in (torch.float32, torch.float64):  # a level that went through float32 still finds its index
        denoise(torch.zeros(1000, 1, 1), chain.to(dtype))
        assert torch.equal(seen[-1], torch.arange(1000.0))
    middle = (chain[1:] * chain[:-1]).sqrt()
    denoise(torch.zeros(999, 1, 1, dtype=torch.float64), middle)
    torch.testing.assert_close(seen[-1], torch.arange(999.0).double() + 0.5)
    denoise(torch.zeros(2, 1, 1), torch.tensor([1e-4, 1e4]))
    assert seen[-1].tolist() == [0, 999]


@pytest.mark.parametrize("kind", ALL)
def test_half_precision_calls_leave_the_schedule_as_it_was(kind):
    parameterization = kind()
    untouched = copy.deepcopy(parameterization)
    x0, noise = batch(4, torch.bfloat16)
    network_input, timesteps, target = parameterization.training_pair(x0, noise, parameterization.draw_levels(4))
    assert {network_input.dtype, timesteps.dtype, target.dtype} == {torch.float32}
    denoise = parameterization.denoiser(lambda x, t: x.bfloat16())
    assert denoise(x0, torch.full((4,), 0.5, dtype=torch.bfloat16)).dtype == torch.bfloat16
    sigmas = parameterization.sigmas(10)
    assert SAMPLERS["dpmpp_2m"](denoise, x0 * sigmas[0], sigmas).dtype == torch.float32
    for given in (sigmas, parameterization.sigma(torch.linspace(0, 1, 5))):
        given.zero_()
    if isinstance(parameterization, EpsilonVP | VelocityVP):
        parameterization.alphas_cumprod.zero_()
        assert torch.equal(parameterization.alphas_cumprod, untouched.alphas_cumprod)
    times = torch.linspace(0, 1, 50, dtype=torch.float64)
    assert torch.equal(parameterization.sigma(times), untouched.sigma(times))
    assert torch.equal(parameterization.sigmas(10), untouched.sigmas(10))
    for got, expected in zip(parameterization.scalings(times + 0.1), untouched.scalings(times + 0.1), strict=True):
        assert torch.equal(got, expected)


def test_caller_keeps_no_hold_on_the_betas():
    betas = BETAS.clone()
    parameterization = EpsilonVP(betas)
    betas.zero_()
    torch.testing.assert_close(parameterization.alphas_cumprod, ABAR, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ALL)
def test_network_in_half_precision_does_not_lower_the_precision_of_the_state(kind):
    x = torch.full((2, 1, 3), 1 / 3)
    x0_hat = kind().denoiser(lambda x, t: torch.zeros_like(x, dtype=torch.float16))(x, torch.tensor(0.05))
    expected = kind().scalings(torch.tensor([0.05], dtype=torch.float64)).c_skip / 3
    assert x0_hat.dtype == torch.float32
    torch.testing.assert_close(x0_hat.double(), expected.expand(2, 1, 3), rtol=2e-7, atol=0)


@pytest.mark.parametrize("kind", ALL)
def test_exact_network_generates_the_data_on_its_own_grid(kind):
    parameterization = kind()
    sigmas = parameterization.sigmas(200)
    x = float(sigmas[0]) * SampleNoise(0, range(40))((40, 2, 50), torch.zeros((), dtype=torch.float64))
    # VP's exact network knows the chain's own levels only, which is all that this solver visits.
    samples = SAMPLERS["dpmpp_2m"](parameterization.denoiser(EXACT[kind]), x, sigmas)
    assert (samples < -0.05).double().mean().item() == pytest.approx(0.3, abs=0.02)
    assert samples[samples > -0.05].mean().item() == pytest.approx(0.5, abs=0.01)


def test_shapes_that_do_not_fit_are_refused():
    x0, noise = batch()
    with pytest.raises(ValueError, match="noise of shape"):
        EDM().training_pair(x0, noise[:, :1], torch.ones(6))
    with pytest.raises(ValueError, match="6 images"):
        EDM().training_pair(x0, noise, torch.ones(5))
    with pytest.raises(ValueError, match="network answered"):
        EDM().denoiser(lambda x, t: x[:, :1])(x0, torch.ones(6))
    with pytest.raises(TypeError, match="floating point"):
        EDM().training_pair(x0.long(), noise, torch.ones(6))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EDM(sigma_data=0.0), "sigma_data"),
        (lambda: EDM(sigma_min=1.0, sigma_max=0.5), "sigma_min"),
        (lambda: ScoreVE(sigma_min=0.0), "sigma_min"),
        (lambda: RectifiedFlow(t_max=1.0), "t_max"),
        (lambda: EpsilonVP([0.1, 1.0]), "betas"),
        (lambda: VelocityVP([0.1]), "betas"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", ALL)
def test_sampling_in_inference_mode_leaves_training_possible(kind):
    parameterization = kind()
    layer = torch.nn.Conv1d(2, 2, 1)
    with torch.inference_mode():
        sigmas = parameterization.sigmas(3)
        denoise = parameterization.denoiser(lambda x, t: layer(x) * t.reshape(-1, 1, 1))
        SAMPLERS["ddim"](denoise, torch.ones(4, 2, 5), sigmas)
    x0, noise = batch(4, torch.float32)
    network_input, timesteps, target = parameterization.training_pair(x0, noise, parameterization.draw_levels(4))
    ((layer(network_input) * timesteps.reshape(-1, 1, 1) - target) ** 2).mean().backward()
    assert layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "made",
    [EDM(sigma_data=0.3), EpsilonVP(), VelocityVP([0.1, 0.2]), ScoreVE(sigma_max=50.0), RectifiedFlow(t_max=0.99)],
)
def test_config_makes_the_same_parameterization_again(made):
    config = json.loads(json.dumps(made.config()))
    assert config.pop("_target_") == f"monai_segdiff.diffusion.{type(made).__name__}"
    again = type(made)(**config)
    assert again.config() == made.config()
    assert torch.equal(again.sigmas(2), made.sigmas(2))
