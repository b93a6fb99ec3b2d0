"""Shares of images with exact intervals, and the score from which on a finding counts as seen."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from scipy import stats

from monai_segdiff.metrics.bootstrap import Estimate, group_index

__all__ = ["exact_rate", "youden_threshold"]

_LEVEL = 0.05


def exact_rate(flags: torch.Tensor, groups: Sequence[Hashable] | None = None) -> Estimate:
    """Share of the images for which something holds, with an exact 95% interval.

    The interval is that of Clopper and Pearson (Biometrika 26, 1934), which unlike the bootstrap's says something where
    all images agree. Where a group has several images, these count for fewer: for the effective number of Korn and
    Graubard (Survey Methodology 24, 1998), or, where all images agree, for one each group.

    Args:
        flags: (N,) bool.
        groups: group of each image (patient, mask); default: every image for itself.

    Returns:
        The share; without a value if there is no image, without an interval if all of several images are of one group.
    """
    n = len(flags)
    if n == 0:
        return Estimate.missing("there is no such image")
    if groups is None:
        # The same limits as below to 12 digits; files of reports hold more, and those are binomtest's.
        count = int(flags.sum())
        interval = stats.binomtest(count, n).proportion_ci()
        return Estimate(count / n, float(interval.low), float(interval.high), n, n)
    values = flags.double()
    rate = float(values.mean())
    index = group_index(groups, n)
    number = int(index.max()) + 1
    if number == 1 and n > 1:
        return Estimate(rate, None, None, n, number)
    size = float(n) if number == n else _effective_number(values, index, number)
    hits = rate * size
    low = float(stats.beta.ppf(_LEVEL / 2, hits, size - hits + 1)) if rate > 0 else 0.0
    high = float(stats.beta.ppf(1 - _LEVEL / 2, hits + 1, size - hits)) if rate < 1 else 1.0
    return Estimate(rate, low, high, n, number)


def _effective_number(values: torch.Tensor, index: torch.Tensor, number: int) -> float:
    """How many independent images would leave the rate as uncertain as these groups do."""
    n, rate = len(values), float(values.mean())
    if rate in (0.0, 1.0):
        return float(number)
    residuals = torch.zeros(number, dtype=torch.float64).index_add_(0, index, values - rate)
    variance = number / (number - 1) * float(residuals.square().sum()) / n**2
    if variance == 0:
        return float(n)
    freedom = (stats.t.ppf(1 - _LEVEL / 2, n - 1) / stats.t.ppf(1 - _LEVEL / 2, number - 1)) ** 2
    return min(float(n), rate * (1 - rate) / variance * float(freedom))


def youden_threshold(scores: torch.Tensor, positive: torch.Tensor) -> float:
    """The score above which images count as positive such that sensitivity plus specificity is highest.

    Youden's index (Cancer 3, 1950). The threshold lies halfway between two neighboring scores; of equally good places
    the widest gap is taken.

    Args:
        scores: (N,).
        positive: (N,) bool, which of them are.

    Raises:
        ValueError: if none or all are positive.
    """
    if len(scores) == 0 or not positive.any() or positive.all():
        raise ValueError("a threshold needs positive and negative images")
    values, inverse = torch.unique(scores.double(), return_inverse=True)
    if len(values) == 1:
        return float(values)
    held = torch.zeros(len(values), 2, dtype=torch.float64)
    held.index_put_((inverse, positive.long()), torch.ones((), dtype=torch.float64), accumulate=True)
    below = (held / held.sum(0)).cumsum(0)[:-1]  # shares of negatives and positives up to each gap
    index = below[:, 0] - below[:, 1]
    gaps = values.diff()
    best = torch.where(index >= index.max() - 1e-12, gaps, -torch.inf).argmax()
    return float(values[best] + gaps[best] / 2)
