"""Samplers with the exact denoiser: what they get wrong is their own error.

An error is the relative one of the standard deviation of all samples pooled; "in the modes" is that of the standard
deviation within the two modes.
"""

from __future__ import annotations

import pytest
import torch

from monai_segdiff.diffusion import SAMPLERS, ddpm, geometric, heun, karras, ve_pc

from .oracle import RandomDraws, mode_std_error, posterior_mean, quantiles, std_error, weight_error


# Measured: ddim 50 -3.4%, 100 -1.7%, 200 -0.8%; heun 18 +3.6%, 36 +0.7%; dpmpp_2m 20 +3.7%, 40 +0.7%;
# unipc 20 +1.7%, 40 +0.1%; order 3 at 20 -2.6%.
@pytest.mark.parametrize(
    ("name", "steps", "bar", "options"),
    [
        ("ddim", 50, 0.04, {}),
        ("ddim", 100, 0.02, {}),
        ("ddim", 200, 0.01, {}),
        ("heun", 18, 0.05, {}),
        ("heun", 36, 0.01, {}),
        ("dpmpp_2m", 20, 0.05, {}),
        ("dpmpp_2m", 40, 0.01, {}),
        ("unipc", 20, 0.05, {}),
        ("unipc", 40, 0.005, {}),
        ("unipc", 20, 0.05, {"order": 3}),
    ],
)
def test_deterministic_samplers(name, steps, bar, options):
    samples = SAMPLERS[name](posterior_mean, 80 * quantiles(20_000), karras(steps, 0.002, 80.0), **options)
    assert abs(std_error(samples)) < bar
    assert abs(weight_error(samples)) < 0.02


# Measured: 100 -2.8% (-4.6% in the modes), 250 -1.0% (-2.2%).
@pytest.mark.parametrize(("steps", "bar", "mode_bar"), [(100, 0.04, 0.08), (250, 0.03, 0.03)])
def test_ddpm(steps, bar, mode_bar):
    draws = RandomDraws(0)
    start = 80 * draws((200_000, 1), torch.zeros((), dtype=torch.float64))
    samples = ddpm(posterior_mean, start, karras(steps, 0.002, 80.0), noise=draws)
    assert abs(std_error(samples)) < bar
    assert abs(mode_std_error(samples)) < mode_bar
    assert abs(weight_error(samples)) < 0.02


# Measured in the modes, at snr 0.16 and 0.4: +1.5% and +8.9% per sample, +0.8% and +8.2% with the published mean over
# the batch. A Langevin step at the published ratio of 0.4 is too long to keep the distribution: that is the method's.
@pytest.mark.parametrize("norm", ["sample", "batch"])
@pytest.mark.parametrize(("snr", "low", "high"), [(0.16, 0.0, 0.03), (0.4, 0.06, 0.11)])
def test_ve_pc(norm, snr, low, high):
    draws = RandomDraws(0)
    start = 128 * draws((128, 256), torch.zeros((), dtype=torch.float64))
    samples = ve_pc(posterior_mean, start, geometric(500, 0.01, 128.0), noise=draws, snr=snr, norm=norm)
    assert low < mode_std_error(samples) < high
    assert abs(std_error(samples)) < 0.03
    assert abs(weight_error(samples)) < 0.02


@pytest.mark.parametrize("churn", [5.0, 40.0])
def test_churn_keeps_the_distribution(churn):
    draws = RandomDraws(0)
    start = 80 * draws((50_000, 1), torch.zeros((), dtype=torch.float64))
    samples = heun(posterior_mean, start, karras(64, 0.002, 80.0), noise=draws, churn=churn)
    assert abs(std_error(samples)) < 0.01
    assert abs(weight_error(samples)) < 0.02


def test_churn_acts_within_its_range_only():
    seen = []
    heun(
        posterior_mean,
        torch.ones(4, 1, dtype=torch.float64),
        torch.tensor([10.0, 5.0, 1.0, 0.1, 0.0]),
        noise=RandomDraws(0),
        churn=0.4,
        churn_min=1.0,
        churn_max=5.0,
        callback=lambda step, sigma, x, x0_hat: seen.append(sigma),
    )
    assert seen == pytest.approx([10.0, 5.5, 1.1, 0.1])


def test_one_ancestral_step_draws_from_the_posterior_of_its_two_levels():
    # For data at one point, every state of the chain has to be that point plus noise of exactly its level.
    states = []
    draws = RandomDraws(0)
    start = 0.3 + 10 * draws((100_000, 1), torch.zeros((), dtype=torch.float64))
    ddpm(
        lambda x, sigma: torch.full_like(x, 0.3),
        start,
        torch.tensor([10.0, 3.0, 2.9, 0.1, 0.0]),
        noise=draws,
        callback=lambda step, sigma, x, x0_hat: states.append((sigma, x.mean().item(), x.std().item())),
    )
    for sigma, mean, std in states:
        assert mean == pytest.approx(0.3, abs=0.01 * sigma)
        assert std == pytest.approx(sigma, rel=0.01)
