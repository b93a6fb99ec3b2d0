"""The contract that every sampler keeps."""

from __future__ import annotations

import pytest
import torch

from monai_segdiff.diffusion import SAMPLERS, CountingDenoiser, SampleNoise, geometric, karras

from .oracle import posterior_mean

NAMES = list(SAMPLERS)
STOCHASTIC = ["consistency", "ddpm", "ve_pc"]
TWO_EVALUATIONS = ["heun", "ve_pc"]
SIGMAS = karras(12, 0.01, 20.0)
SHAPE = (1, 5, 7)


def run(name, indices=(0, 1, 2), denoiser=posterior_mean, sigmas=SIGMAS, dtype=torch.float64, **keywords):
    noise = SampleNoise(5, indices)
    x = float(sigmas[0]) * noise((len(indices), *SHAPE), torch.zeros((), dtype=dtype))
    return SAMPLERS[name](denoiser, x, sigmas, noise=noise, **keywords)


def test_registry_names():
    assert sorted(SAMPLERS) == ["consistency", "ddim", "ddpm", "dpmpp_2m", "heun", "unipc", "ve_pc"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 12])
def test_evaluations(name, steps):
    counting = CountingDenoiser(posterior_mean)
    run(name, denoiser=counting, sigmas=karras(steps, 0.01, 20.0))
    assert counting.evaluations == (2 * steps - 1 if name in TWO_EVALUATIONS else steps)


def test_published_ve_pc_costs_999_evaluations():
    counting = CountingDenoiser(lambda x, sigma: torch.zeros_like(x))
    run("ve_pc", denoiser=counting, sigmas=geometric(500, 0.01, 128.0))
    assert counting.evaluations == 999


@pytest.mark.parametrize("name", NAMES)
def test_data_of_one_point_are_reached_exactly(name):
    point = torch.linspace(-1, 1, 35, dtype=torch.float64).reshape(SHAPE)
    samples = run(name, denoiser=lambda x, sigma: point.expand_as(x))
    assert torch.equal(samples, point.expand(3, *SHAPE))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 12])
def test_last_step_ends_at_the_last_estimate(name, steps):
    estimates = []
    result = run(
        name, sigmas=karras(steps, 0.01, 20.0), callback=lambda step, sigma, x, x0_hat: estimates.append(x0_hat)
    )
    assert torch.equal(result, estimates[-1])


@pytest.mark.parametrize("name", NAMES)
def test_constrain_is_called_after_every_step_with_the_level_reached(name):
    calls = []

    def constrain(step, sigma_next, x):
        calls.append((step, sigma_next))
        return x

    assert torch.equal(run(name, constrain=constrain), run(name))
    assert calls == list(enumerate(SIGMAS[1:].tolist()))


@pytest.mark.parametrize("name", NAMES)
def test_constraint_holds_wherever_the_denoiser_looks_and_in_the_result(name):
    known = torch.zeros(SHAPE, dtype=torch.bool)
    known[:, :2] = True

    def constrain(step, sigma_next, x):
        return torch.where(known, 0.25 + sigma_next, x)

    held = []

    def look(step, sigma, x, x0_hat):
        held.append(step == 0 or bool((x[..., known[0]] == 0.25 + sigma).all()))

    result = run(name, constrain=constrain, callback=look)
    # unipc shows the state that the denoiser saw; all others the state they start from, which is the same
    assert all(held)
    assert (result[..., known[0]] == 0.25).all()
    assert torch.isfinite(result).all()
    assert result[..., ~known[0]].std() > 0.3


@pytest.mark.parametrize("name", NAMES)
def test_callback_sees_every_step_and_cannot_change_the_run(name):
    seen = []

    def meddle(step, sigma, x, x0_hat):
        seen.append((step, sigma))
        torch.testing.assert_close(x0_hat, posterior_mean(x, torch.full((3,), sigma)))
        x.zero_()
        x0_hat.zero_()

    assert torch.equal(run(name, callback=meddle), run(name))
    assert seen == list(enumerate(SIGMAS[:-1].tolist()))


@pytest.mark.parametrize("name", NAMES)
def test_input_is_left_as_it_was(name):
    x = SampleNoise(0, [0])((1, *SHAPE), torch.zeros(())) * 20
    before = x.clone()
    SAMPLERS[name](posterior_mean, x, SIGMAS, noise=SampleNoise(1, [0]))
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sample_is_the_same_to_the_bit_in_any_batch(name, dtype):
    batch = run(name, indices=(8, 3, 5), dtype=dtype)
    for row, index in zip(batch, (8, 3, 5), strict=True):
        assert torch.equal(row, run(name, indices=(index,), dtype=dtype)[0])


def test_published_batch_norm_couples_the_samples():
    alone = run("ve_pc", indices=(8,), norm="batch")
    assert torch.equal(alone, run("ve_pc", indices=(8,), norm="sample"))  # a batch of one is its own mean
    assert not torch.equal(run("ve_pc", indices=(8, 3), norm="batch")[:1], alone)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_state_is_float32_or_float64_whatever_the_network_answers(name, given, kept):
    dtypes = set()

    def half_network(x, sigma):
        dtypes.add((x.dtype, sigma.dtype))
        return posterior_mean(x, sigma).to(torch.bfloat16)

    assert run(name, denoiser=half_network, dtype=given).dtype == kept
    assert dtypes == {(kept, torch.float64)}


@pytest.mark.parametrize("name", NAMES)
def test_float32_run_follows_the_float64_run(name):
    assert (run(name, dtype=torch.float32) - run(name)).abs().max() < 1e-4


@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_samplers_refuse_to_run_without_noise(name):
    with pytest.raises(ValueError, match=f"{name} draws noise"):
        SAMPLERS[name](posterior_mean, torch.zeros(1, 1), SIGMAS)


@pytest.mark.parametrize(("name", "options"), [("heun", {"churn": 5.0}), ("ddim", {"eta": 0.5})])
def test_stochastic_options_need_noise(name, options):
    with pytest.raises(ValueError, match=f"{name} with .* draws noise"):
        SAMPLERS[name](posterior_mean, torch.zeros(1, 1), SIGMAS, **options)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in STOCHASTIC])
def test_deterministic_samplers_draw_nothing(name):
    def refuse(shape, like):
        raise AssertionError("noise was drawn")

    SAMPLERS[name](posterior_mean, torch.ones(2, 1), SIGMAS, noise=refuse)


def test_ddim_with_full_eta_is_ddpm():
    assert torch.equal(run("ddim", eta=1.0), run("ddpm"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sigmas", [[1.0, 0.5], [0.0], [1.0, 1.0, 0.0], [0.5, 1.0, 0.0], [float("nan"), 0.0]])
def test_grids_that_do_not_descend_to_zero_are_refused(name, sigmas):
    with pytest.raises(ValueError, match="descend strictly and end in 0"):
        SAMPLERS[name](posterior_mean, torch.zeros(1, 1), sigmas, noise=SampleNoise(0, [0]))


@pytest.mark.parametrize("name", NAMES)
def test_integer_images_are_refused(name):
    with pytest.raises(TypeError, match="floating point"):
        SAMPLERS[name](posterior_mean, torch.zeros(1, 1, dtype=torch.long), SIGMAS, noise=SampleNoise(0, [0]))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ddim", {"eta": 1.5}, "eta"),
        ("heun", {"churn": -1.0}, "churn"),
        ("unipc", {"order": 0}, "order"),
        ("ve_pc", {"snr": 0.0}, "snr"),
        ("ve_pc", {"norm": "pixel"}, "norm"),
    ],
)
def test_impossible_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        run(name, **options)


def test_langevin_step_without_a_score_stays_where_it_is():
    result = run("ve_pc", denoiser=lambda x, sigma: x)
    assert torch.isfinite(result).all()
