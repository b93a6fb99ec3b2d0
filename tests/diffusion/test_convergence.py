"""How fast solvers of the probability flow ODE approach its solution."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from monai_segdiff.diffusion import SAMPLERS, heun, karras

from .oracle import posterior_mean, quantiles

STARTS = 80 * quantiles(500)


def error(name: str, steps: int, reference: torch.Tensor, **options) -> float:
    """Median over starts: starts at the watershed between the modes converge late and would hide the order."""
    samples = SAMPLERS[name](posterior_mean, STARTS, karras(steps, 0.002, 80.0), **options)
    return (samples - reference).abs().median().item()


@pytest.fixture(scope="module")
def reference() -> torch.Tensor:
    return heun(posterior_mean, STARTS, karras(10_000, 0.002, 80.0))


# Measured at 80 -> 160 -> 320: ddim 1.00, heun 2.05, dpmpp_2m 2.07, unipc 3.1, at order 1 and 3 2.0 and 3.8: the
# corrector is one order higher than the predictor.
@pytest.mark.parametrize(
    ("name", "options", "low", "high"),
    [
        ("ddim", {}, 0.9, 1.1),
        ("heun", {}, 1.8, 2.3),
        ("dpmpp_2m", {}, 1.8, 2.3),
        ("unipc", {"order": 1}, 1.8, 2.3),
        ("unipc", {}, 2.7, 3.4),
        ("unipc", {"order": 3}, 3.4, 4.2),
    ],
)
def test_order(name, options, low, high, reference):
    errors = [error(name, steps, reference, **options) for steps in (80, 160, 320)]
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert all(low < order < high for order in orders)


def test_references_agree(reference):
    # The finest errors above are 1e-6; another solver has to agree with the reference well below that.
    assert error("unipc", 3000, reference) < 1e-7


def test_dpmpp_2m_extrapolates_by_the_ratio_of_its_steps():
    # Steps of 0.5 and 1 in ln(sigma), so r = 1/2 and the second step uses 2 D_1 - D_0 (Algorithm 2 by hand).
    answers = iter(torch.tensor([[3.0], [5.0], [7.0]], dtype=torch.float64))
    seen = []
    sigmas = torch.tensor([math.exp(1.5), math.exp(1.0), 1.0, 0.0], dtype=torch.float64)
    SAMPLERS["dpmpp_2m"](
        lambda x, sigma: next(answers)[None],
        torch.ones(1, 1, dtype=torch.float64),
        sigmas,
        callback=lambda step, sigma, x, x0_hat: seen.append(x.item()),
    )
    first = math.exp(-0.5) * 1 + (1 - math.exp(-0.5)) * 3
    assert seen == pytest.approx([1, first, math.exp(-1) * first + (1 - math.exp(-1)) * (2 * 5 - 3)], rel=1e-12)


def test_unipc_integrates_a_quadratic_exactly_on_an_uneven_grid():
    # With l = -ln(sigma) the ODE is dx/dl = D - x, and for D = l^2 its solutions are l^2 - 2 l + 2 + constant * sigma.
    # Once the history is full, a solver whose predictor is of order 3 stays on one of them.
    places = torch.tensor([0, 0.7, 1.0, 1.9, 2.2, 3.5, 3.6, 4.4], dtype=torch.float64)
    constants = []

    def look(step, sigma, x, x0_hat):
        place = -math.log(sigma)
        constants.append((x.item() - (place**2 - 2 * place + 2)) / sigma)

    SAMPLERS["unipc"](
        lambda x, sigma: (sigma.log() ** 2)[:, None],
        torch.ones(1, 1, dtype=torch.float64),
        torch.cat([(-places).exp(), torch.zeros(1)]),
        callback=look,
        order=3,
    )
    assert abs(constants[2] - constants[0]) > 1e-3  # the first steps are of lower order
    assert constants[3:] == pytest.approx([constants[3]] * 5, rel=1e-10)
