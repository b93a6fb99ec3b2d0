from __future__ import annotations

import math

import pytest
import torch

from monai_segdiff.diffusion import EpsilonVP, RectifiedFlow, ScoreVE, VelocityVP, invert, karras
from monai_segdiff.inferers import BlendConstraint, ImageStart, MaskGuidance, SamplingInferer, Trajectory

from .oracles import GaussianNetwork, edm
from .test_sampling import ExactNetwork


def data(condition: torch.Tensor, std: float = 0.2) -> torch.Tensor:
    """Images as `GaussianNetwork([0.4], std)` knows them."""
    draws = torch.randn(condition.shape, generator=torch.Generator().manual_seed(3))
    return 0.4 * condition + std * draws


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 1, 4, 3, 5)])
def test_the_states_are_those_of_the_flow(shape):
    condition = torch.ones(shape)
    images = data(condition)
    trajectory = SamplingInferer(edm(), num_steps=100).invert(images, condition, GaussianNetwork([0.4]), t0=0.6)
    assert torch.equal(trajectory.sigmas, edm().sigmas(100, start=edm().sigma(0.6)))
    for sigma, state in zip(trajectory.sigmas.tolist(), trajectory.states, strict=True):
        exact = 0.4 + (images - 0.4) * math.sqrt(0.2**2 + sigma**2) / 0.2
        torch.testing.assert_close(state, exact, atol=1e-3 * math.sqrt(1 + (sigma / 0.2) ** 2), rtol=0)
    assert torch.equal(trajectory.states[-1], images)


@pytest.mark.parametrize("sampler", ["ddim", "heun", "dpmpp_2m", "unipc"])
@pytest.mark.parametrize("method", ["ddim", "heun"])
def test_there_and_back_under_the_same_mask_gives_the_image(sampler, method):
    condition = torch.linspace(-1, 1, 4).reshape(4, 1, 1, 1).expand(4, 1, 8, 8).contiguous()
    images, network = data(condition), GaussianNetwork([0.4])
    inferer = SamplingInferer(edm(), sampler, 60)
    trajectory = inferer.invert(images, condition, network, t0=0.7, method=method)
    assert inferer.evaluations == (119 if method == "heun" else 60)
    back = inferer(condition, network, start=trajectory)
    first_order = (method == "ddim") + (sampler == "ddim")
    assert float((back - images).abs().mean()) < (0.01, 0.05, 0.05)[first_order]


def test_heun_inverts_to_second_order_and_ddim_to_first():
    condition, network = torch.ones(4, 1, 8, 8, dtype=torch.float32), GaussianNetwork([0.4]).double()
    images = data(condition).double()
    denoiser = edm().denoiser(network.requires_grad_(False), condition.double())
    exact = 0.4 + (images - 0.4) * math.sqrt(0.2**2 + 9.0) / 0.2

    def error(steps: int, method: str) -> float:
        return float((invert(denoiser, images, karras(steps, 1e-4, 3.0), method)[0] - exact).abs().mean())

    assert math.log2(error(40, "heun") / error(80, "heun")) > 1.8
    assert 0.8 < math.log2(error(40, "ddim") / error(80, "ddim")) < 1.3


@pytest.mark.parametrize("parameterization", [EpsilonVP(), VelocityVP(), ScoreVE(), RectifiedFlow(), edm()])
def test_every_parameterization_inverts_on_its_own_grid(parameterization):
    condition = torch.full((2, 1, 8, 8), 0.3)
    images = 0.3 + 0.2 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    network = ExactNetwork(parameterization, 60)
    inferer = SamplingInferer(parameterization, "heun", 60)
    back = inferer(condition, network, start=inferer.invert(images, condition, network, t0=1.0))
    assert float((back - images).abs().mean()) < 0.03


def test_an_unconditional_network_has_its_trajectories_too():
    images, inferer = data(torch.zeros(2, 1, 4, 4)), SamplingInferer(edm(), "heun", 40)
    trajectory = inferer.invert(images, None, GaussianNetwork([0.4]), sigma=1.0)
    back = inferer(None, GaussianNetwork([0.4]), start=trajectory)
    torch.testing.assert_close(back, images, atol=0.02, rtol=0)


def test_guidance_takes_no_part_and_nothing_is_drawn():
    condition, network = torch.ones(2, 1, 4, 4), GaussianNetwork([0.4])
    images = data(condition)
    plain = SamplingInferer(edm(), num_steps=6, seed=1).invert(images, condition, network, sigma=1.0)
    guided = SamplingInferer(edm(), num_steps=6, seed=2, guidance=MaskGuidance(3.0, torch.zeros(1, 4, 4)))
    other = guided.invert(images, condition, network, sigma=1.0)
    assert all(torch.equal(one, two) for one, two in zip(plain.states, other.states, strict=True))
    alone = guided.invert(images[1:], condition[1:], network, sigma=1.0)
    assert torch.equal(alone.states[0], plain.states[0][1:])


def test_a_run_held_to_a_trajectory_has_its_states_outside_the_region():
    condition, network = torch.ones(2, 1, 4, 4), GaussianNetwork([0.4])
    images, seen = data(condition), {}
    inferer = SamplingInferer(edm(), num_steps=8, callback=lambda step, sigma, x, x0: seen.__setitem__(sigma, x))
    trajectory = inferer.invert(images, condition, network, t0=0.6)
    region = torch.zeros(1, 1, 4, 4)
    region[..., :2] = 1
    edited = inferer(-condition, network, start=trajectory, constraints=[BlendConstraint(trajectory, region)])
    assert torch.equal(edited[..., 2:], images[..., 2:])
    assert float((edited - images)[..., :2].mean()) < -0.3
    assert len(seen) == 8
    for sigma, state in zip(trajectory.sigmas.tolist(), trajectory.states[:-1], strict=False):
        assert torch.equal(seen[sigma][..., 2:], state[..., 2:])


class Field(torch.nn.Module):
    """The network of images that are a correlated Gaussian field around the condition: a Wiener filter."""

    out_channels = 1

    def __init__(self, size: int) -> None:
        super().__init__()
        points = torch.cartesian_prod(torch.arange(size), torch.arange(size)).double()
        covariance = 0.25**2 * torch.exp(-torch.cdist(points, points) / 3)
        self.variances, self.modes = torch.linalg.eigh(covariance)

    def draw(self, mean: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(mean.flatten(1).shape, generator=torch.Generator().manual_seed(1)).double()
        return mean + ((noise * self.variances.sqrt()) @ self.modes.T).reshape(mean.shape).float()

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        sigma = float((4 * timesteps[0].double()).exp())
        total = sigma**2 + 0.25
        noisy, mean = x.flatten(1).double() * total**0.5, condition.flatten(1).double()
        filtered = ((noisy - mean) @ self.modes * self.variances / (self.variances + sigma**2)) @ self.modes.T + mean
        raw = (filtered - noisy * 0.25 / total) / (sigma * 0.5 / total**0.5)
        return raw.reshape(x.shape).to(x.dtype)


def test_a_trajectory_leaves_less_of_a_seam_than_fresh_noise():
    field = Field(16)
    mean = torch.full((48, 1, 16, 16), -0.4)
    moved = mean.clone()
    mean[..., 5:10, 4:8], moved[..., 5:10, 6:10] = 0.4, 0.4
    images = field.draw(mean)
    region = torch.zeros(1, 1, 16, 16)
    region[..., 3:12, 2:12] = 1
    inferer = SamplingInferer(edm(), "heun", 30)
    trajectory = inferer.invert(images, mean, field, sigma=3.0)
    held = inferer(moved, field, start=trajectory, constraints=[BlendConstraint(trajectory, region)])
    fresh = inferer(moved, field, start=ImageStart(images, sigma=3.0), constraints=[BlendConstraint(images, region)])

    def seam(result: torch.Tensor) -> float:
        """Mean step across the region's edge, over that of real images there."""
        across = (result[..., 3:12, 12] - result[..., 3:12, 11]).abs().mean()
        real = field.draw(moved)
        return float(across / (real[..., 3:12, 12] - real[..., 3:12, 11]).abs().mean())

    assert seam(held) < 1.08
    assert seam(held) < seam(fresh) - 0.03


def test_what_does_not_fit_is_named():
    condition, network = torch.ones(2, 1, 4, 4), GaussianNetwork([0.4])
    inferer = SamplingInferer(edm(), num_steps=6)
    with pytest.raises(ValueError, match="exactly one of t0 and sigma"):
        inferer.invert(condition, condition, network)
    with pytest.raises(ValueError, match="image to invert has shape"):
        inferer.invert(torch.zeros(2, 1, 5, 4), condition, network, t0=0.5)
    with pytest.raises(ValueError, match="method"):
        inferer.invert(condition, condition, network, t0=0.5, method="euler")
    trajectory = inferer.invert(condition, condition, network, t0=0.5)
    other = SamplingInferer(edm(), num_steps=7)
    region = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"no state at noise level .* number of steps"):
        other(condition, network, start=trajectory, constraints=[BlendConstraint(trajectory, region)])
    with pytest.raises(ValueError, match="trajectory is one of states"):
        inferer(condition[:1], network, start=trajectory)
    with pytest.raises(ValueError, match="a state at each level"):
        Trajectory(trajectory.sigmas, trajectory.states[:-1])
