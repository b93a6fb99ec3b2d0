"""Trainings that differ in their seed alone: mean and interval over them, and which of several methods is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.common import Cell
from monai_segdiff.metrics import Estimate

__all__ = ["Criterion", "beats", "difference", "over_seeds", "ranking", "value_of"]


@dataclass(frozen=True)
class Criterion:
    """A figure that methods are held to.

    Args:
        key: of the figure.
        higher_is_better: whether more of it is better.
    """

    key: str
    higher_is_better: bool


def over_seeds(values: Sequence[float | None]) -> Estimate:
    """Mean over trainings with its 95% t interval.

    Args:
        values: one for each training; None where it could not be computed.

    Returns:
        The mean; its interval is None with fewer than two values.
    """
    found = [value for value in values if value is not None and math.isfinite(value)]
    if not found:
        return Estimate.missing("no training has a value")
    mean, n = float(np.mean(found)), len(found)
    if n < 2:
        return Estimate(mean, None, None, n, n)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(found, ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n, n)


def difference(first: Sequence[float | None], second: Sequence[float | None]) -> Estimate:
    """Mean of the first minus mean of the second with its 95% interval, after Welch.

    Args:
        first: one value for each training.
        second: the same of another method; trainings of two methods have nothing in common but the data.

    Returns:
        The difference; its interval is None where either side has fewer than two values.
    """
    sides = [[value for value in side if value is not None and math.isfinite(value)] for side in (first, second)]
    n = min(map(len, sides))
    if n == 0:
        return Estimate.missing("no training has a value")
    value = float(np.mean(sides[0]) - np.mean(sides[1]))
    if n < 2:
        return Estimate(value, None, None, n, n)
    if not any(np.ptp(side) for side in sides):
        return Estimate(value, value, value, n, n)
    interval = stats.ttest_ind(*sides, equal_var=False).confidence_interval(0.95)
    return Estimate(value, float(interval.low), float(interval.high), n, n)


def beats(
    first: Mapping[str, Sequence[float | None]],
    second: Mapping[str, Sequence[float | None]],
    criteria: Sequence[Criterion],
) -> bool:
    """Whether a method is better than another by the first criterion that tells them apart.

    A criterion tells nothing where the interval of the difference holds 0, or where there is none.

    Args:
        first: values over trainings by criterion.
        second: those of the other.
        criteria: the most important first.
    """
    for criterion in criteria:
        found = difference(first[criterion.key], second[criterion.key])
        if found.low is None or found.high is None or found.low <= 0 <= found.high:
            continue
        return (found.low > 0) == criterion.higher_is_better
    return False


def ranking(
    methods: Mapping[str, Mapping[str, Sequence[float | None]]], criteria: Sequence[Criterion]
) -> dict[str, list[str]]:
    """Which methods each one is beaten by; nobody beats the best ones, and a rank is one more than those who do.

    Args:
        methods: values over trainings by criterion, by method.
        criteria: the most important first.
    """
    return {
        name: [other for other in methods if other != name and beats(methods[other], methods[name], criteria)]
        for name in methods
    }


def value_of(cell: Cell) -> float | None:
    """The number in a table's cell, without its interval.

    Args:
        cell: an estimate or a number.
    """
    found = cell.value if isinstance(cell, Estimate) else cell
    assert found is None or isinstance(found, (int, float))
    return found
