from __future__ import annotations

import pytest
import torch

from monai_segdiff.diffusion import karras
from monai_segdiff.inferers import BlendConstraint, RunContext, SamplingInferer

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
