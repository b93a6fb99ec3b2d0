"""How fast solvers of the probability flow ODE approach its solution."""

from __future__ import annotations

import math

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


# Measured at 80 -> 160 -> 320: ddim 1.00, heun 2.05, dpmpp_2m 2.07, unipc 3.1 (its corrector is one order higher)
@pytest.mark.parametrize(
    ("name", "options", "low", "high"),
    [
        ("ddim", {}, 0.9, 1.1),
        ("heun", {}, 1.8, 2.3),
        ("dpmpp_2m", {}, 1.8, 2.3),
        ("unipc", {"order": 1}, 1.8, 2.3),
        ("unipc", {}, 2.7, 3.4),
    ],
)
def test_order(name, options, low, high, reference):
    errors = [error(name, steps, reference, **options) for steps in (80, 160, 320)]
    orders = [math.log2(coarse / fine) for coarse, fine in zip(errors, errors[1:], strict=False)]
    assert all(low < order < high for order in orders)


def test_references_agree(reference):
    # the fine solution itself, checked by a solver of another family
    assert error("unipc", 2000, reference, order=3) < 2e-8
