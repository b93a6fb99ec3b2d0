from __future__ import annotations

import pytest
import torch

from monai_segdiff.diffusion import karras
from monai_segdiff.inferers import BlendConstraint, RunContext, SamplingInferer, Trajectory

from .oracles import GaussianNetwork, edm


def make_run(shape=(3, 1, 4, 4), num_steps=10, indices=None) -> RunContext:
    indices = range(shape[0]) if indices is None else indices
    return RunContext(shape, karras(num_steps, 0.01, 10.0), torch.device("cpu"), 7, indices, lambda image: image)


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_blend_is_its_formula():
    run, x = make_run(), image(3, 1, 4, 4, seed=1)
    reference, region = image(3, 1, 4, 4, seed=2), torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    blended = BlendConstraint(reference, region).bind(run, run.noise(1))(0, 2.0, x)
    noise = run.noise(1)(run.shape, like=x)
    torch.testing.assert_close(blended, region * x + (1 - region) * (reference + 2.0 * noise))
    assert 0.7 < noise.std() < 1.3


@pytest.mark.parametrize(
    ("window", "active"), [((0.0, 1.0), range(10)), ((0.0, 0.5), range(5)), ((0.3, 0.7), range(3, 7))]
)
def test_the_window_is_a_fraction_of_the_steps(window, active):
    run, x = make_run(), image(3, 1, 4, 4)
    constrain = BlendConstraint(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), window).bind(run, run.noise(1))
    changed = [step for step in range(10) if not torch.equal(constrain(step, float(run.sigmas[step + 1]), x), x)]
    assert changed == list(active)


def test_outside_the_region_the_reference_is_kept_to_the_bit_and_inside_it_is_not():
    reference = image(2, 1, 8, 8)
    region = torch.zeros(1, 1, 8, 8)
    region[..., 2:6, 2:6] = 1
    for sampler in ("dpmpp_2m", "heun", "ddpm"):
        inferer = SamplingInferer(edm(), sampler, 12, constraints=[BlendConstraint(reference, region)])
        images = inferer(torch.ones(2, 1, 8, 8), GaussianNetwork([0.3]))
        kept = region.expand_as(images) == 0
        assert torch.equal(images[kept], reference[kept])
        assert (images[~kept] - reference[~kept]).abs().mean() > 0.1


def test_a_window_that_ends_early_lets_the_sampler_finish():
    reference = torch.full((1, 1, 8, 8), 0.9)
    inferer = SamplingInferer(
        edm(), num_steps=20, constraints=[BlendConstraint(reference, torch.zeros(1, 1, 8, 8), (0.0, 0.4))]
    )
    images = inferer(torch.ones(16, 1, 8, 8), GaussianNetwork([0.3], std=0.1))
    assert abs(float(images.mean()) - 0.3) < 0.05
    assert abs(float(images.std()) - 0.1) < 0.02


def test_a_region_of_ones_leaves_the_samples_as_they_were():
    condition = torch.ones(2, 1, 4, 4)
    free = SamplingInferer(edm(), "ddpm", 10)(condition, GaussianNetwork([0.3]))
    constraint = BlendConstraint(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4))
    held = SamplingInferer(edm(), "ddpm", 10, constraints=[constraint])(condition, GaussianNetwork([0.3]))
    assert torch.equal(free, held)


def test_constrained_samples_do_not_depend_on_the_batch():
    constraint = BlendConstraint(image(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.5), (0.0, 0.8))
    inferer = SamplingInferer(edm(), "ddpm", 10, constraints=[constraint])
    condition = torch.ones(5, 1, 4, 4)
    together = inferer(condition, GaussianNetwork([0.3]), range(5))
    alone = inferer(condition[:1], GaussianNetwork([0.3]), [3])
    assert torch.equal(together[3:4], alone)


@pytest.mark.parametrize("window", [(0.5, 0.5), (0.6, 0.4), (-0.1, 1.0), (0.0, 1.2)])
def test_bad_windows_are_refused(window):
    with pytest.raises(ValueError, match="window"):
        BlendConstraint(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), window)


def test_regions_outside_zero_and_one_are_refused():
    with pytest.raises(ValueError, match="region"):
        BlendConstraint(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 1.1))


def test_what_does_not_fit_the_run_is_refused():
    run = make_run()
    reference, region = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="reference has shape"):
        BlendConstraint(torch.zeros(1, 1, 5, 4), region).bind(run, run.noise(1))
    for shape in ((1, 1, 4, 5), (2, 1, 4, 4), (4, 4)):
        with pytest.raises(ValueError, match="region has shape"):
            BlendConstraint(reference, torch.zeros(shape)).bind(run, run.noise(1))
    with pytest.raises(ValueError, match="no step"):
        BlendConstraint(reference, region, (0.0, 0.01)).bind(run, run.noise(1))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8, 1.0])
def test_the_restored_level_is_that_of_the_step(share):
    """The state is pure noise of level sigma, and so is the reference's: so has to be what comes out."""
    sigma, run = 2.0, make_run((4, 1, 64, 64))
    x = sigma * run.noise(0)(run.shape, like=torch.empty(()))
    reference, region = torch.zeros(1, 1, 64, 64), torch.full((1, 1, 64, 64), share)
    published, restored = (
        BlendConstraint(reference, region, restore_level=restore).bind(run, run.noise(1))(0, sigma, x)
        for restore in (False, True)
    )
    # 16384 draws: the standard deviation is known to 0.6%.
    assert float(published.std()) == pytest.approx(sigma * (share**2 + (1 - share) ** 2) ** 0.5, rel=0.03)
    assert float(restored.std()) == pytest.approx(sigma, rel=0.03)
    if share in (0.0, 1.0):
        assert torch.equal(restored, published)
        assert torch.equal(restored, x) == (share == 1.0)


def test_the_restoring_noise_is_its_own_and_ends_with_the_noise():
    run, x = make_run(), image(3, 1, 4, 4, seed=1)
    region = torch.full((1, 1, 4, 4), 0.5)
    reference = image(1, 1, 4, 4, seed=2)
    constrain = BlendConstraint(reference, region, restore_level=True).bind(run, run.noise(1))
    source = run.noise(1)
    for sigma in (2.0, 1.0):
        first, second = source(run.shape, like=x), source(run.shape, like=x)
        expected = 0.5 * x + 0.5 * (reference + sigma * first) + sigma * 0.5**0.5 * second
        torch.testing.assert_close(constrain(0, sigma, x), expected)
    torch.testing.assert_close(constrain(9, 0.0, x), 0.5 * x + 0.5 * reference)


def test_a_trajectory_cannot_have_its_level_restored():
    trajectory = Trajectory(torch.tensor([1.0, 0.0]), [torch.zeros(1, 1, 4, 4)] * 2)
    with pytest.raises(ValueError, match="restore_level needs noise that is drawn anew"):
        BlendConstraint(trajectory, torch.zeros(1, 1, 4, 4), restore_level=True)


def test_restored_samples_do_not_depend_on_the_batch():
    region = image(4, 1, 4, 4).abs()
    inferer = SamplingInferer(edm(), "ddpm", 10)
    condition, reference = torch.ones(4, 1, 4, 4), image(4, 1, 4, 4, seed=2)

    def sample(rows: list[int]) -> torch.Tensor:
        hold = BlendConstraint(reference[rows], region[rows], restore_level=True)
        return inferer(condition[rows], GaussianNetwork([0.3]), rows, constraints=[hold])

    together = sample([0, 1, 2, 3])
    for row in range(4):
        assert torch.equal(sample([row])[0], together[row])
