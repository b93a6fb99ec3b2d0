"""Tuning for few evaluations, on Gaussian data, of which everything is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from monai_segdiff.diffusion import EDM, SampleNoise, consistency
from monai_segdiff.engines import ConsistencyPrepareBatch
from monai_segdiff.inferers import MaskGuidance

MEAN, STD = 0.3, 0.5


class Linear(nn.Module):
    """F(x, t) = a(t) x + b(t) + c(t) condition, with a, b and c from a small network: all that Gaussian data need."""

    def __init__(self) -> None:
        super().__init__()
        self.coefficients = nn.Sequential(nn.Linear(1, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 3))

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        a, b, c = self.coefficients(timesteps.float()[:, None])[:, :, None, None, None].unbind(1)
        return a * x + b + c * condition


def images(n: int, push: float = 0.0) -> dict[str, torch.Tensor]:
    """Values around MEAN + push * condition, where the condition is +1 or, for a fifth of them, 0: nothing said."""
    condition = (torch.rand(n, 1, 1, 1) < 0.8).float().expand(n, 1, 4, 4)
    return {"image": MEAN + push * condition + STD * torch.randn(n, 1, 4, 4), "label": condition}


def train(network: nn.Module, prepare_batch, steps: int, push: float = 0.0, before=None) -> None:
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        if before is not None:
            before(step / steps)
        x, target, (timesteps,), keywords = prepare_batch(images(256, push))
        loss = (network(x, timesteps, **keywords) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def tuned(push: float = 0.0, steps: int = 3000, **options) -> tuple[EDM, Linear, Linear]:
    torch.manual_seed(0)
    edm, teacher = EDM(sigma_data=STD), Linear()
    progress = {"now": 0.0}
    plain = ConsistencyPrepareBatch(edm, teacher, lambda: 0.0)
    plain.draw_levels = lambda n, device=None: (draw_high(edm, n), torch.zeros(n, dtype=torch.float64))  # type: ignore[method-assign]
    train(teacher, plain, 600, push)
    network = Linear()
    network.load_state_dict(teacher.state_dict())
    prepare_batch = ConsistencyPrepareBatch(edm, network, lambda: progress["now"], teacher, **options)
    train(network, prepare_batch, steps, push, before=lambda part: progress.update(now=part))
    return edm, teacher, network


def draw_high(edm: EDM, n: int) -> torch.Tensor:
    return (-0.9 + 1.8 * torch.randn(n, dtype=torch.float64)).exp().clamp(edm.sigma_min, edm.sigma_max)


def sample(edm: EDM, network: nn.Module, levels: list[float], n: int = 4096) -> torch.Tensor:
    noise = SampleNoise(1, range(n))
    x = levels[0] * noise((n, 1, 4, 4), torch.zeros(()))
    with torch.no_grad():
        return consistency(edm.denoiser(network, torch.ones(n, 1, 4, 4)), x, torch.tensor([*levels, 0.0]), noise=noise)


@pytest.fixture(scope="module")
def gaussian():
    return tuned()


def gain(t: float, lowest: float = 0.002) -> float:
    """Slope of what tuning ends at in its last stage, f(x) = MEAN + gain (x - MEAN), in closed form.

    E[x_r - MEAN | x_t] = (std^2 + r t) / (std^2 + t^2) (x_t - MEAN) for one noise on both levels; f is 1 at level 0.
    """
    factor = 1.0
    while t > 0:
        r = max(0.0, t * (1 - (1 + 8 / (1 + math.exp(t))) / 16))
        r = 0.0 if r < lowest else r
        factor *= (STD**2 + r * t) / (STD**2 + t**2)
        t = r
    return factor


@pytest.mark.slow
def test_plain_denoiser_answers_with_the_mean_and_the_tuned_one_with_samples(gaussian) -> None:
    edm, teacher, network = gaussian
    assert sample(edm, teacher, [80.0]).std() < 0.1 * STD
    one_step = gain(80.0) * math.hypot(STD, 80.0)
    assert 0.8 * STD < one_step < STD  # steps of finite length lose a little of the spread
    assert sample(edm, network, [80.0]).std() == pytest.approx(one_step, rel=0.08)
    for levels in ([80.0], [80.0, 0.8], [80.0, 1.5, 0.2]):
        samples = sample(edm, network, levels)
        assert samples.mean() == pytest.approx(MEAN, abs=0.05)
        assert samples.std() == pytest.approx(STD, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.2, 1.0, 5.0])
def test_tuned_network_is_what_the_schedule_leads_to(gaussian, sigma) -> None:
    edm, _, network = gaussian
    x = MEAN + torch.linspace(-2, 2, 9).reshape(9, 1, 1, 1).expand(9, 1, 4, 4) * math.hypot(STD, sigma)
    with torch.no_grad():
        found = edm.denoiser(network, torch.ones(9, 1, 4, 4))(x, torch.full((9,), sigma, dtype=torch.float64))
    assert (found - MEAN - gain(sigma) * (x - MEAN)).abs().max() < 0.1
    # Beside the consistency function itself, MEAN + std / sqrt(std^2 + sigma^2) (x - MEAN): arXiv 2303.01469.
    assert gain(sigma) == pytest.approx(STD / math.hypot(STD, sigma), rel=0.15)


@pytest.mark.slow
def test_guidance_is_built_in() -> None:
    # The condition moves the mean by 0.4. At guidance w the mean moves by about 0.4 w at high levels.
    null = torch.zeros(1, 4, 4)
    edm, _, plain = tuned(0.4, 900)
    _, _, guided = tuned(0.4, 900, guidance=MaskGuidance(2.0, null))
    at_one, at_two = (float(sample(edm, network, [80.0, 0.8]).mean()) for network in (plain, guided))
    assert at_one == pytest.approx(MEAN + 0.4, abs=0.06)
    assert at_two > at_one + 0.15


def test_at_level_zero_the_target_is_that_of_plain_training() -> None:
    edm, network = EDM(), Linear()
    prepare_batch = ConsistencyPrepareBatch(edm, network, lambda: 0.0)
    t = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    prepare_batch.draw_levels = lambda n, device=None: (t, torch.zeros_like(t))  # type: ignore[method-assign]
    batch = images(3)
    torch.manual_seed(4)
    x, target, (timesteps,), _ = prepare_batch(batch)
    torch.manual_seed(4)
    expected = edm.training_pair(batch["image"], torch.randn_like(batch["image"]), t)
    for found, wanted in zip((x, timesteps, target), expected, strict=True):
        assert torch.equal(found, wanted)


def test_levels_come_closer_from_stage_to_stage() -> None:
    torch.manual_seed(0)
    progress = {"now": 0.0}
    prepare_batch = ConsistencyPrepareBatch(EDM(), Linear(), lambda: progress["now"])
    shares = []
    for now in (0.0, 0.3, 0.6, 1.0):
        progress["now"] = now
        t, r = prepare_batch.draw_levels(20_000)
        assert bool(((r >= 0) & (r < t)).all())
        high = t > 20  # where sigmoid(-t) is 0: r / t = 1 - 2^-(k + 1)
        shares.append(float((r[high] / t[high]).mean()))
    assert shares == pytest.approx([0.5, 0.75, 0.875, 0.9375], abs=1e-6)


def test_no_gradient_goes_through_the_target() -> None:
    network = Linear()
    prepare_batch = ConsistencyPrepareBatch(EDM(), network, lambda: 1.0)
    _, target, _, _ = prepare_batch(images(8))
    assert not target.requires_grad


def test_impossible_arguments() -> None:
    with pytest.raises(ValueError, match="teacher"):
        ConsistencyPrepareBatch(EDM(), Linear(), lambda: 0.0, guidance=MaskGuidance(2.0, torch.zeros(1, 4, 4)))
    with pytest.raises(ValueError, match="stages"):
        ConsistencyPrepareBatch(EDM(), Linear(), lambda: 0.0, stages=0)
