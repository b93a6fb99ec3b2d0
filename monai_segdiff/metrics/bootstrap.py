"""Bootstrap over patients or masks: every figure with its 95% interval."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

__all__ = [
    "Estimate",
    "bootstrap_counts",
    "bootstrap_mean",
    "bootstrap_ratio",
    "bootstrap_repeats",
    "group_index",
    "percentile_interval",
]


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95% interval, and what it was computed from.

    Args:
        value: the figure, or None where it cannot be computed.
        low: lower end of the interval, or None where there is nothing to resample.
        high: upper end.
        n: number of images; of the smaller side, where two sets are compared.
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

    def or_missing(self, reason: str, n: int = 0) -> Estimate:
        """The same; where it has no value, one that gives another reason."""
        return self if self.value is not None else Estimate.missing(reason, n)


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
    n = int(torch.isfinite(values).sum())
    if n == 0:
        return Estimate.missing("no image has a value")
    resampled, number = _resampled_means(values, groups, draws, seed)
    mean = float(values[torch.isfinite(values)].double().mean())
    if number < 2:
        return Estimate(mean, None, None, n, number)
    return Estimate(mean, *percentile_interval(resampled), n, number)


def bootstrap_ratio(
    values: torch.Tensor,
    reference: torch.Tensor,
    groups: Sequence[Hashable] | None = None,
    reference_groups: Sequence[Hashable] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Mean of `values` over mean of `reference`, both resampled, each by its own groups.

    Args:
        values: (N,); NaN is left out.
        reference: (M,); NaN is left out.
        groups: group of each value.
        reference_groups: group of each reference value.
        draws: number of resamples.
        seed: of the resampling.

    Returns:
        The ratio; without a value if either side has none or the reference's mean is 0.
    """
    above, below = (bootstrap_mean(v, g, 1, seed) for v, g in ((values, groups), (reference, reference_groups)))
    if above.value is None or not below.value:
        return Estimate.missing("nothing to relate it to", above.n, above.groups)
    ratio, number = above.value / below.value, min(above.groups, below.groups)
    if number < 2:
        return Estimate(ratio, None, None, above.n, number)
    numerator = _resampled_means(values, groups, draws, seed)[0]
    denominator = _resampled_means(reference, reference_groups, draws, seed + 1)[0]
    return Estimate(ratio, *percentile_interval(numerator / denominator), above.n, number)


def bootstrap_repeats(
    values: torch.Tensor, groups: Sequence[Hashable] | None = None, draws: int = 1000, seed: int = 0
) -> Estimate:
    """Mean over items and repeats (trainings with other seeds), with an interval from resampling both.

    Args:
        values: (repeats, N); NaN, in all repeats alike, marks an item that has no such value.
        groups: group of each item (patient); default: every item for itself.
        draws: number of resamples.
        seed: of the resampling.

    Returns:
        The mean; its interval is None with fewer than two groups. n counts items.
    """
    present = torch.isfinite(values).all(0)
    if not present.any():
        return Estimate.missing("no image has a value")
    kept = values[:, present].double()
    index = torch.unique(group_index(groups, values.shape[1])[present], return_inverse=True)[1]
    sizes = torch.bincount(index).double()
    n, number = int(present.sum()), len(sizes)
    if number < 2:
        return Estimate(float(kept.mean()), None, None, n, number)
    sums = torch.zeros(len(kept), number, dtype=torch.float64).index_add_(1, index, kept)
    counts = bootstrap_counts(number, draws, seed)
    repeats = bootstrap_counts(len(kept), draws, seed + 1) / len(kept)
    resampled = ((repeats @ sums) * counts).sum(1) / (counts @ sizes)
    return Estimate(float(kept.mean()), *percentile_interval(resampled), n, number)


def _resampled_means(
    values: torch.Tensor, groups: Sequence[Hashable] | None, draws: int, seed: int
) -> tuple[torch.Tensor, int]:
    """Means of resamples, (draws,), and the number of groups that hold a value."""
    present = torch.isfinite(values)
    kept = values[present].double()
    index = torch.unique(group_index(groups, len(values))[present], return_inverse=True)[1]
    sizes = torch.bincount(index).double()
    sums = torch.zeros_like(sizes).index_add_(0, index, kept)
    counts = bootstrap_counts(len(sizes), draws, seed)
    return (counts @ sums) / (counts @ sizes), len(sizes)
