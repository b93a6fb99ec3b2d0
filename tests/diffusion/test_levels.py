from __future__ import annotations

import pytest
import torch

from monai_segdiff.diffusion import geometric, karras, tuned_levels


@pytest.mark.parametrize("grid", [karras, geometric])
@pytest.mark.parametrize("num_steps", [1, 2, 18, 1000])
def test_grid_descends_from_sigma_max_through_sigma_min_to_zero(grid, num_steps):
    levels = grid(num_steps, 0.002, 80.0)
    assert levels.dtype == torch.float64
    assert levels.shape == (num_steps + 1,)
    assert levels[0] == 80.0
    assert levels[-1] == 0
    assert num_steps == 1 or levels[-2] == 0.002
    assert (levels.diff() < 0).all()


def test_karras_levels_are_even_in_the_seventh_root():
    roots = karras(10, 0.01, 50.0)[:-1] ** (1 / 7)
    torch.testing.assert_close(roots.diff(), roots.diff().mean().expand(9), rtol=1e-10, atol=0)


def test_karras_with_rho_one_is_even():
    torch.testing.assert_close(karras(5, 1.0, 9.0, rho=1.0), torch.tensor([9.0, 7, 5, 3, 1, 0], dtype=torch.float64))


def test_geometric_levels_have_one_ratio():
    torch.testing.assert_close(geometric(4, 1.0, 8.0), torch.tensor([8.0, 4, 2, 1, 0], dtype=torch.float64))


@pytest.mark.parametrize("grid", [karras, geometric])
@pytest.mark.parametrize(
    ("num_steps", "sigma_min", "sigma_max"),
    [(0, 0.1, 1.0), (5, 0.0, 1.0), (5, 1.0, 1.0), (5, 2.0, 1.0), (5, -1.0, 1.0), (5, 0.1, float("inf"))],
)
def test_impossible_grids_are_refused(grid, num_steps, sigma_min, sigma_max):
    with pytest.raises(ValueError, match=r"num_steps|sigma_min"):
        grid(num_steps, sigma_min, sigma_max)


def test_karras_refuses_a_rho_that_is_not_positive():
    with pytest.raises(ValueError, match="rho"):
        karras(5, 0.1, 1.0, rho=0.0)


LEVELS = [[80.0], [80.0, 0.8], [80, 1.5, 0.2]]


def test_tuned_weights_say_their_levels_and_others_have_none():
    assert tuned_levels([], 20, "heun", 3.0) is None
    assert [tuned_levels(LEVELS, steps) for steps in (1, 2, 3)] == [[80, 0], [80, 0.8, 0], [80, 1.5, 0.2, 0]]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((4,), "at most 3 steps, and num_steps is 4"),
        ((3, "heun"), "the sampler consistency, and sampler is heun"),
        ((3, "consistency", 1.5), "guidance built in, and guidance_weight is 1.5"),
    ],
)
def test_what_tuned_weights_do_not_serve_names_the_remedy(asked, message):
    with pytest.raises(ValueError, match=f"{message}: leave it out, or take the weights from before the tuning"):
        tuned_levels(LEVELS, *asked)
