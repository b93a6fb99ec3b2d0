"""Are generated images copies of training images: how near they come, held to how near unseen real images come."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch

from monai_segdiff.metrics.bootstrap import Estimate, bootstrap_counts, group_index, percentile_interval

__all__ = ["MINIMUM_MEMORIZATION", "MEMORIZATION_QUANTILE", "memorized_share", "nearest_distances"]

MEMORIZATION_QUANTILE = 0.05
MINIMUM_MEMORIZATION = 20  # held-out images; of fewer, no 5% quantile can be taken
_CHUNK = 2**22  # distances at once


def nearest_distances(queries: torch.Tensor, references: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance of each query to its nearest reference, and which that is.

    Args:
        queries: (N, D) features or pixels.
        references: (M, D), at least one.

    Returns:
        Euclidean distances (N,), float64, and indices (N,), int64.

    Raises:
        ValueError: if widths differ, or there is no reference.
    """
    if queries.ndim != 2 or references.ndim != 2 or queries.shape[1] != references.shape[1] or not len(references):
        raise ValueError(
            f"queries (N, D) and references (M, D) must have one width, got {tuple(queries.shape)} and "
            f"{tuple(references.shape)}"
        )
    references = references.double()
    squares = references.square().sum(1)
    rows = max(_CHUNK // len(references), 1)
    distances, indices = [], []
    for part in map(torch.Tensor.double, queries.split(rows)):
        index = (squares - 2 * part @ references.T).argmin(1)
        # Taken again from the difference: the difference of large squares would not tell a copy from a near one.
        distances.append((part - references[index]).square().sum(1).sqrt())
        indices.append(index)
    if not distances:
        return torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.int64)
    return torch.cat(distances), torch.cat(indices)


def memorized_share(
    synthetic: torch.Tensor,
    held_out: torch.Tensor,
    synthetic_groups: Sequence[Hashable] | None = None,
    held_out_groups: Sequence[Hashable] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Share of synthetic images nearer to the training set than real images that were never seen, beyond what is due.

    The share of synthetic distances below the 5% quantile of the held-out ones, minus 5%: 0 where generated images are
    drawn from the population of the real ones, up to 0.95 where all are copies, down to -0.05 where none comes as near
    as unseen real images do. Both are distances to the same training images. The quantile is taken at the position
    0.05 (n + 1) (Weibull), for which a further draw from the population lies below it with a chance of 5%, whatever n;
    the usual one would let 8% of them pass for memorized where n = 27.

    Resampled are patients, held-out ones too, so that the interval shows that the threshold itself is uncertain. A
    patient who has both real and synthetic images (of that patient's masks) is drawn with both.

    Args:
        synthetic: (N,) distances of synthetic images to their nearest training images.
        held_out: (M,) those of real images that were not trained on.
        synthetic_groups: patient of the mask of each synthetic image.
        held_out_groups: patient of each held-out image.
        draws: number of resamples.
        seed: of the resampling.

    Returns:
        The share, in [-0.05, 0.95]; without a value with fewer than `MINIMUM_MEMORIZATION` held-out images, or where
        these are copies of training images. n counts the smaller side.

    Raises:
        ValueError: if distances are not finite, or groups do not fit.
    """
    if not (torch.isfinite(synthetic).all() and torch.isfinite(held_out).all()):
        raise ValueError("distances are not finite: leave images with NaN or infinite pixels out")
    n = min(len(synthetic), len(held_out))
    if len(held_out) < MINIMUM_MEMORIZATION or not len(synthetic):
        return Estimate.missing(
            f"the memorized share needs at least {MINIMUM_MEMORIZATION} held-out real images and one synthetic, got "
            f"{len(held_out)} and {len(synthetic)}",
            n,
        )
    made, real = synthetic.double(), held_out.double()
    threshold = float(np.quantile(real.numpy(), MEMORIZATION_QUANTILE, method="weibull"))
    if threshold == 0:
        return Estimate.missing(
            "of the held-out real images one in twenty or more equals a training image: take copies out of the real "
            "data set",
            n,
        )
    value = float((made < threshold).double().mean()) - MEMORIZATION_QUANTILE
    made_units = _named(synthetic_groups, len(made), "synthetic")
    real_units = _named(held_out_groups, len(real), "held out")
    index = group_index([*made_units, *real_units], len(made) + len(real))
    made_index, real_index = index[: len(made)], index[len(made) :]
    groups = min(len(made_index.unique()), len(real_index.unique()))
    if groups < 2:
        return Estimate(value, None, None, n, groups)
    ordered, order = made.sort()
    resampled = []
    for counts in _stratified_counts(made_index, real_index, draws, seed).split(max(_CHUNK // len(index), 1)):
        thresholds = _weighted_quantiles(real, counts[:, real_index])
        below = torch.nn.functional.pad(counts[:, made_index[order]].cumsum(1), (1, 0))
        near = below.gather(1, torch.searchsorted(ordered, thresholds)[:, None])[:, 0]
        resampled.append(near / below[:, -1] - MEMORIZATION_QUANTILE)
    return Estimate(value, *percentile_interval(torch.cat(resampled)), n, groups)


def _named(groups: Sequence[Hashable] | None, n: int, kind: str) -> list[Hashable]:
    """Groups of one kind; without groups every item is one of its own."""
    return [(kind, i) for i in range(n)] if groups is None else list(groups)


def _stratified_counts(made: torch.Tensor, real: torch.Tensor, draws: int, seed: int) -> torch.Tensor:
    """Resamples (draws, G) of groups: those with images of both kinds, and those of one, each among themselves."""
    number = int(torch.cat([made, real]).max()) + 1
    kind = torch.zeros(number, dtype=torch.int64)
    kind[made.unique()] += 1
    kind[real.unique()] += 2
    counts = torch.zeros(draws, number, dtype=torch.float64)
    for value in (1, 2, 3):
        members = (kind == value).nonzero().flatten()
        if len(members):
            counts[:, members] = bootstrap_counts(len(members), draws, seed + value)
    return counts


def _weighted_quantiles(values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Quantile of each resample, (draws,): as `numpy.quantile(..., method="weibull")` of the values so repeated."""
    ordered, order = values.sort()
    ends = counts[:, order].cumsum(1)
    total = ends[:, -1:]
    position = MEMORIZATION_QUANTILE * (total + 1)
    low, high = position.floor().clamp_min(1), (position.floor() + 1).clamp_min(1)
    # The k-th of the repeated values is the first whose end reaches k.
    last = len(values) - 1
    first, second = (ordered[torch.searchsorted(ends, k.minimum(total)).clamp_max(last)] for k in (low, high))
    share = torch.where(position < 1, torch.zeros_like(position), position - position.floor())
    return (first + share * (second - first))[:, 0]
