"""UniPC: a multistep predictor whose every step is corrected by the evaluation that follows it."""

from __future__ import annotations

import math

import torch

from monai_segdiff.diffusion.denoiser import Denoiser
from monai_segdiff.diffusion.samplers.contract import Callback, Constrain, Noise, SolverLoop

__all__ = ["unipc"]


def unipc(
    denoiser: Denoiser,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    *,
    noise: Noise | None = None,
    constrain: Constrain | None = None,
    callback: Callback | None = None,
    order: int = 2,
) -> torch.Tensor:
    """Solve the probability flow ODE in lambda = -ln(sigma) with a predictor and a corrector of one form.

    Each step predicts the next state from the last `order` estimates (UniP); the estimate made there then improves that
    state (UniC) at no further evaluation. Deterministic: `noise` is not used. The first steps have lower order, as
    estimates come in, and the step to 0 is of first order. N steps cost N evaluations.

    A constraint acts on the predicted state, so the denoiser only ever sees states that obey it; the corrector then
    adds the difference that it makes, which does not undo the constraint.

    Args:
        denoiser, x, sigmas, noise, constrain, callback: see `monai_segdiff.diffusion.samplers.contract`.
        order: order of the predictor, at least 1; the corrector's is one higher.

    Returns:
        x0, in the shape of x, float32 or float64.

    Raises:
        ValueError: the grid does not end in 0, or the order is below 1.

    Source: Zhao et al. 2023 (arXiv 2302.04867), Algorithms 1 and 2 with data prediction, divided by alpha.
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    run = SolverLoop(denoiser, x, sigmas, constrain, callback)
    x = run.start
    history: list[tuple[float, torch.Tensor]] = []  # (lambda, estimate), newest first
    predicted: torch.Tensor | None = None  # what the last predictor added beyond first order
    for step, sigma, sigma_next in run.steps():
        x0_hat = run.begin_step(step, sigma, x)
        here = -math.log(sigma)
        if predicted is not None:
            corrected = _higher_order(history, here, x0_hat)
            x = x + (corrected - predicted)
        history = [(here, x0_hat), *history][:order]
        if sigma_next == 0:
            x = x0_hat  # the step is infinitely long in lambda, and only the estimate remains
        else:
            predicted = _higher_order(history, -math.log(sigma_next), None)
            x = (sigma_next / sigma) * x + (1 - sigma_next / sigma) * x0_hat + predicted
        x = run.end_step(step, sigma_next, x)
    return x


def _higher_order(
    history: list[tuple[float, torch.Tensor]], there: float, x0_there: torch.Tensor | None
) -> torch.Tensor:
    """What a step to lambda = `there` adds to its first-order part.

    The exact step adds the integral of exp(lambda - there) (D(lambda) - D(here)). D is replaced by the polynomial
    through the estimates of the history and, in the corrector, the estimate at the end of the step.
    """
    here, x0_here = history[0]
    length = there - here
    points = [((at - here) / length, x0) for at, x0 in history[1:]]  # (r_m, estimate)
    if x0_there is not None:
        points.append((1.0, x0_there))
    total = torch.zeros_like(x0_here)
    for weight, (_, x0) in zip(_weights([at for at, _ in points], length), points, strict=True):
        total = total + weight * (x0 - x0_here)
    return total


def _weights(at: list[float], length: float) -> list[float]:
    """Weight of each estimate's difference, by its place r in the step; a_m B(h) / r_m in the paper.

    The weights give the integral of length exp(length (r - 1)) r^k over r in [0, 1] exactly for k = 1..len(at), which
    is R_p(h) a_p B(h) = phi_p(h), where B(h) cancels. A single point has the paper's a_1 = 1/2 with B(h) = exp(h) - 1
    instead: as good to its order, and steadier where steps are long.
    """
    if not at:
        return []
    if len(at) == 1:
        return [-0.5 * math.expm1(-length) / at[0]]
    moments = [-math.expm1(-length)]
    for power in range(1, len(at) + 1):
        moments.append(1 - power / length * moments[-1])  # by parts
    points = torch.tensor(at, dtype=torch.float64)
    system = torch.stack([points**power for power in range(1, len(at) + 1)])
    return torch.linalg.solve(system, torch.tensor(moments[1:], dtype=torch.float64)).tolist()
