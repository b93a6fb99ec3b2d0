"""Bootstrap over patients or masks: every figure with its 95% interval."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Estimate", "bootstrap_counts", "bootstrap_mean", "group_index", "percentile_interval"]


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95% interval, and what it was computed from.

    Args:
        value: the figure, or None where it cannot be computed.
        low: lower end of the interval, or None where there is nothing to resample.
        high: upper end.
        n: number of images, or "synthetic + real" numbers joined by the caller.
        groups: number of independent units (patients, masks) that were resampled.
        reason: why there is no value.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    groups: int
    reason: str | None = None

    @classmethod
    def missing(cls, reason: str, n: int = 0, groups: int = 0) -> Estimate:
        """An estimate that says why it has no value."""
        return cls(None, None, None, n, groups, reason)


def group_index(groups: Sequence[Hashable] | None, n: int) -> torch.Tensor:
    """Number the groups that n items belong to; without groups each item is its own.

    Returns:
        (n,) int64, values 0..G-1 in order of first appearance.

    Raises:
        ValueError: if there is not one group per item.
    """
    if groups is None:
        return torch.arange(n)
    if len(groups) != n:
        raise ValueError(f"groups must name one group per item: {len(groups)} groups for {n} items")
    numbers: dict[Hashable, int] = {}
    return torch.tensor([numbers.setdefault(group, len(numbers)) for group in groups], dtype=torch.int64)


def bootstrap_counts(n: int, draws: int, seed: int = 0) -> torch.Tensor:
    """How often each of n units is drawn in each of `draws` resamples of size n.

    Returns:
        (draws, n) float64; every row sums to n.
    """
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.multinomial(n, np.full(n, 1.0 / n), size=draws)).double()


def percentile_interval(resampled: torch.Tensor) -> tuple[float, float]:
    """2.5th and 97.5th percentile of the finite values among resampled figures, shape (draws,)."""
    finite = resampled[torch.isfinite(resampled)]
    low, high = torch.quantile(finite, torch.tensor([0.025, 0.975], dtype=finite.dtype)).tolist()
    return low, high


def bootstrap_mean(
    values: torch.Tensor, groups: Sequence[Hashable] | None = None, draws: int = 1000, seed: int = 0
) -> Estimate:
    """Mean of the values that are not NaN, with a percentile interval from resampling whole groups.

    Args:
        values: (N,); NaN marks an item that has no such value (a class absent from its mask).
        groups: group of each item (patient, mask); default: every item for itself.
        draws: number of resamples.
        seed: of the resampling.

    Returns:
        The mean; its interval is None with fewer than two groups.
    """
    present = torch.isfinite(values)
    index = group_index(groups, len(values))[present]
    kept = values[present].double()
    if not len(kept):
        return Estimate.missing("no image has a value")
    index = torch.unique(index, return_inverse=True)[1]
    number = int(index.max()) + 1
    mean = float(kept.mean())
    if number < 2:
        return Estimate(mean, None, None, len(kept), number)
    sums = torch.zeros(number, dtype=torch.float64).index_add_(0, index, kept)
    sizes = torch.bincount(index, minlength=number).double()
    counts = bootstrap_counts(number, draws, seed)
    low, high = percentile_interval((counts @ sums) / (counts @ sizes))
    return Estimate(mean, low, high, len(kept), number)
