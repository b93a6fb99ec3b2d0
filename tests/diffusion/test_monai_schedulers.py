"""Models trained with MONAI's schedulers, adopted; and MONAI's own sampling beside ours."""

from __future__ import annotations

import pytest
import torch
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler, RFlowScheduler

from monai_segdiff.diffusion import EpsilonVP, VelocityVP, ddim, ddpm, karras

from .oracle import RandomDraws, mode_std_error, posterior_mean, std_error


def epsilon(x: torch.Tensor, abar: torch.Tensor) -> torch.Tensor:
    """The exact noise prediction for x = sqrt(abar) x0 + sqrt(1 - abar) noise."""
    sigma = ((1 - abar) / abar).sqrt()
    return (x - abar.sqrt() * posterior_mean(x / abar.sqrt(), sigma)) / (1 - abar).sqrt()


@pytest.mark.parametrize("schedule", ["linear_beta", "scaled_linear_beta", "sigmoid_beta", "cosine"])
def test_adopted_schedule_is_the_schedulers(schedule):
    scheduler = DDIMScheduler(num_train_timesteps=1000, schedule=schedule)
    adopted = EpsilonVP.from_monai_scheduler(scheduler)
    assert adopted.num_timesteps == 1000
    torch.testing.assert_close(adopted.alphas_cumprod, scheduler.alphas_cumprod.double(), rtol=1e-3, atol=1e-7)


def test_default_betas_are_monais_default():
    torch.testing.assert_close(
        EpsilonVP().alphas_cumprod, EpsilonVP.from_monai_scheduler(DDPMScheduler()).alphas_cumprod, rtol=1e-5, atol=0
    )


def test_half_precision_call_that_spoils_the_scheduler_does_not_reach_the_adopted_schedule():
    scheduler = DDPMScheduler()
    clean = EpsilonVP.from_monai_scheduler(scheduler).alphas_cumprod
    half = torch.zeros(1, 1, 2, 2, dtype=torch.bfloat16)
    scheduler.add_noise(half, half, torch.tensor([5]))
    assert scheduler.alphas_cumprod.dtype == torch.bfloat16
    assert torch.equal(EpsilonVP.from_monai_scheduler(scheduler).alphas_cumprod, clean)


@pytest.mark.parametrize(("kind", "prediction"), [(EpsilonVP, "epsilon"), (VelocityVP, "v_prediction")])
def test_training_pairs_equal_monais(kind, prediction):
    scheduler = DDPMScheduler(prediction_type=prediction)
    x0, noise = torch.randn(2, 4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    level = torch.tensor([0, 10, 500, 999])
    target = noise if prediction == "epsilon" else scheduler.get_velocity(x0, noise, level)
    pair = kind.from_monai_scheduler(scheduler).training_pair(x0, noise, level)
    torch.testing.assert_close(pair[0], scheduler.add_noise(x0, noise, level), rtol=0, atol=1e-4)
    torch.testing.assert_close(pair[1], level.float())
    torch.testing.assert_close(pair[2], target, rtol=0, atol=1e-4)


def test_ddim_equals_monais_where_monai_visits_every_level():
    scheduler = DDIMScheduler(num_train_timesteps=100, clip_sample=False)
    adopted = EpsilonVP.from_monai_scheduler(scheduler)
    start = torch.randn(64, 1, generator=torch.Generator().manual_seed(0))
    x = start
    for t in scheduler.timesteps:
        abar = scheduler.alphas_cumprod[t]
        x, _ = scheduler.step(epsilon(x, abar), int(t), x)
    network = adopted.denoiser(lambda x, t: epsilon(x, adopted.alphas_cumprod[int(t[0])].to(x.dtype)))
    sigmas = adopted.sigmas(100)
    scale = (1 + adopted.sigma_max**2) ** 0.5
    torch.testing.assert_close(ddim(network, start * scale, sigmas), x, rtol=0, atol=1e-3)


def test_ddpm_equals_monais_on_the_full_chain_with_the_same_noise():
    scheduler = DDPMScheduler(num_train_timesteps=100, clip_sample=False)
    adopted = EpsilonVP.from_monai_scheduler(scheduler)
    start = torch.randn(64, 1, generator=torch.Generator().manual_seed(0))
    x, generator = start, torch.Generator().manual_seed(1)
    for t in scheduler.timesteps:
        abar = scheduler.alphas_cumprod[t]
        x, _ = scheduler.step(epsilon(x, abar), int(t), x, generator=generator)
    network = adopted.denoiser(lambda x, t: epsilon(x, adopted.alphas_cumprod[int(t[0])].to(x.dtype)))
    scale = (1 + adopted.sigma_max**2) ** 0.5
    ours = ddpm(network, start * scale, adopted.sigmas(100), noise=RandomDraws(1))
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-3)


def test_monais_ddpm_with_fewer_steps_is_off_where_ours_is_not():
    scheduler = DDPMScheduler(num_train_timesteps=1000, clip_sample=False)
    scheduler.set_timesteps(250)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 1, generator=generator)
    for t in scheduler.timesteps:
        x, _ = scheduler.step(epsilon(x, scheduler.alphas_cumprod[t]), int(t), x, generator=generator)
    start = 80 * torch.randn(20_000, 1, generator=generator, dtype=torch.float64)
    ours = ddpm(posterior_mean, start, karras(250, 0.002, 80), noise=RandomDraws(0))
    assert mode_std_error(x) > 1.0
    assert std_error(x) > 0.25
    assert abs(mode_std_error(ours)) < 0.03
    assert abs(std_error(ours)) < 0.03


@pytest.mark.parametrize(
    ("kind", "prediction", "remedy"),
    [
        (EpsilonVP, "v_prediction", "use VelocityVP.from_monai_scheduler"),
        (VelocityVP, "epsilon", "use EpsilonVP.from_monai_scheduler"),
        (EpsilonVP, "sample", "no parameterization"),
    ],
)
def test_wrong_prediction_type_is_refused_with_the_remedy(kind, prediction, remedy):
    with pytest.raises(ValueError, match=remedy):
        kind.from_monai_scheduler(DDPMScheduler(prediction_type=prediction))


def test_scheduler_without_betas_is_refused():
    with pytest.raises(TypeError, match="RFlowScheduler has no betas"):
        EpsilonVP.from_monai_scheduler(RFlowScheduler())
