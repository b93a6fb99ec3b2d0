"""Times and grids of noise levels that each parameterization calls its own."""

from __future__ import annotations

import pytest
import torch

from monai_segdiff.diffusion import EDM, EpsilonVP, RectifiedFlow, ScoreVE, VelocityVP

ALL = [EDM, EpsilonVP, VelocityVP, ScoreVE, RectifiedFlow]
ABAR = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)


@pytest.mark.parametrize("kind", ALL)
def test_time_runs_from_sigma_min_to_sigma_max(kind):
    parameterization = kind()
    levels = parameterization.sigma(torch.linspace(0, 1, 101))
    assert levels.dtype == torch.float64
    assert levels[0] == parameterization.sigma_min
    assert levels[-1] == parameterization.sigma_max
    assert (levels.diff() >= 0).all()
    assert parameterization.sigma(0.4) == pytest.approx(float(levels[40]), rel=1e-5)
    with pytest.raises(ValueError, match="times"):
        parameterization.sigma(1.1)


def test_known_points_of_time():
    assert float(ScoreVE().sigma(0.4)) == pytest.approx(0.439, abs=5e-4)  # the knee paper's t0
    assert float(RectifiedFlow().sigma(0.5)) == 1
    assert float(EpsilonVP().sigma(1.0)) == pytest.approx(157.407, abs=1e-3)
    chain = ((1 - ABAR) / ABAR).sqrt()
    torch.testing.assert_close(EpsilonVP().sigma(torch.arange(1000).double() / 999), chain, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("num_steps", [1, 7, 20, 250])
def test_own_grid(kind, num_steps):
    parameterization = kind()
    levels = parameterization.sigmas(num_steps)
    assert levels.dtype == torch.float64
    assert levels.shape == (num_steps + 1,)
    assert levels[0] == parameterization.sigma_max
    assert levels[-1] == 0
    assert (levels.diff() < 0).all()


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("num_steps", [1, 7, 20])
@pytest.mark.parametrize("start", [0.3456, 2.0, torch.tensor(11.0)])
def test_grid_from_a_start(kind, num_steps, start):
    levels = kind().sigmas(num_steps, start=start)
    assert levels.shape == (num_steps + 1,)
    assert levels[0] == float(start)
    assert levels[-1] == 0
    assert (levels.diff() < 0).all()


@pytest.mark.parametrize("kind", ALL)
def test_start_outside_of_the_range_is_refused(kind):
    parameterization = kind()
    for start in (parameterization.sigma_max * 1.01, parameterization.sigma_min, -1.0, float("nan")):
        with pytest.raises(ValueError, match=kind.__name__):
            parameterization.sigmas(10, start=start)
    with pytest.raises(ValueError, match="num_steps"):
        parameterization.sigmas(0)


def test_vp_grid_is_trailing_and_made_of_the_chain():
    chain = ((1 - ABAR) / ABAR).sqrt()
    levels = EpsilonVP().sigmas(4)
    torch.testing.assert_close(levels[:-1], chain[[999, 749, 499, 249]], rtol=1e-12, atol=0)
    nearest = [999, 856, 713, 570, 428, 285, 142]  # 1000 / 7 is not an integer
    torch.testing.assert_close(EpsilonVP().sigmas(7)[:-1], chain[nearest], rtol=1e-12, atol=0)
    torch.testing.assert_close(EpsilonVP().sigmas(1000)[:-1], chain.flip(0), rtol=1e-12, atol=0)
    below = EpsilonVP().sigmas(10, start=float(chain[499]) * 1.001)[1:-1]
    assert all((chain - level).abs().min() < 1e-12 for level in below)
    with pytest.raises(ValueError, match="1000 levels"):
        EpsilonVP().sigmas(1001)
    with pytest.raises(ValueError, match="steps"):
        EpsilonVP().sigmas(20, start=float(chain[9]))


def test_flow_grid_is_even_in_t():
    levels = RectifiedFlow().sigmas(5)
    torch.testing.assert_close(
        levels / (1 + levels), 0.999 * torch.linspace(1, 0, 6, dtype=torch.float64), rtol=1e-10, atol=0
    )
