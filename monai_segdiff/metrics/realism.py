"""Distances between populations of images in a feature space: FID and KID, with intervals."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Sequence

import torch
from monai.metrics import FIDMetric
from torchmetrics.image.kid import poly_kernel

from monai_segdiff.metrics.bootstrap import Estimate, bootstrap_counts, group_index, percentile_interval

__all__ = ["MINIMUM_FID", "MINIMUM_KID", "frechet_distance", "kid", "kid_difference"]

MINIMUM_FID = 10  # images on either side; below that a covariance says nothing
MINIMUM_KID = 4
_KERNEL_ENTRIES = 2**22  # of the kernel at once

_Groups = Sequence[Hashable] | None


def frechet_distance(
    real: torch.Tensor,
    synthetic: torch.Tensor,
    real_groups: _Groups = None,
    synthetic_groups: _Groups = None,
    draws: int = 200,
    seed: int = 0,
) -> Estimate:
    """Fréchet distance between Gaussians fitted to both sets of features (Heusel et al. 2017, arXiv 1706.08500).

    The value is MONAI's. It is biased upwards by roughly (number of features)/N, and so is every resample, once more;
    the interval is therefore the resamples' spread around their own mean, moved to the value. It shows how far the
    value depends on which images were drawn, not that bias.

    Args:
        real: (N, D) features.
        synthetic: (M, D) features.
        real_groups: patient of each real image; resampled as a whole.
        synthetic_groups: mask or patient of each synthetic image.
        draws: number of resamples.
        seed: of the resampling.

    Returns:
        Distance, at least 0; without a value if either side has fewer than `MINIMUM_FID` images. n counts the smaller
        side.

    Raises:
        ValueError: if the features are not of shapes (N, D) and (M, D), or not finite.
    """
    real, synthetic = _features(real, synthetic)
    short = _too_few("FID", MINIMUM_FID, real, synthetic)
    if short is not None:
        return short
    with warnings.catch_warnings():  # of covariances without full rank, as where images are fewer than features
        warnings.simplefilter("ignore")
        value = float(FIDMetric()(synthetic, real))
    if not math.isfinite(value):
        return Estimate.missing("FID's covariances are degenerate: images are too few or too alike", len(real))
    value = max(value, 0.0)
    x_index, y_index = group_index(real_groups, len(real)), group_index(synthetic_groups, len(synthetic))
    groups = min(int(x_index.max()), int(y_index.max())) + 1
    n = min(len(real), len(synthetic))
    if groups < 2:
        return Estimate(value, None, None, n, groups)
    x_counts = bootstrap_counts(int(x_index.max()) + 1, draws, seed)[:, x_index]
    y_counts = bootstrap_counts(int(y_index.max()) + 1, draws, seed + 1)[:, y_index]
    resampled = torch.stack([_frechet(real, x, synthetic, y) for x, y in zip(x_counts, y_counts, strict=True)])
    low, high = percentile_interval(resampled - resampled.mean() + value)
    return Estimate(value, max(low, 0.0), high, n, groups)


def kid(
    real: torch.Tensor,
    synthetic: torch.Tensor,
    real_groups: _Groups = None,
    synthetic_groups: _Groups = None,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Kernel distance (Binkowski et al. 2018, arXiv 1801.01401): squared MMD with the kernel (x.y / D + 1)^3.

    Unbiased (Gretton et al. 2012, eq. 3) for any sizes, so it may be slightly negative, and is near 0 for two draws
    from one population however few. The kernel is torchmetrics'; its estimator wants both sides of one size, hence
    ours.

    Args:
        real: (N, D) features.
        synthetic: (M, D) features.
        real_groups: patient of each real image; resampled as a whole.
        synthetic_groups: mask or patient of each synthetic image.
        draws: number of resamples.
        seed: of the resampling.

    Returns:
        Squared distance; without a value if either side has fewer than `MINIMUM_KID` images. n counts the smaller side.

    Raises:
        ValueError: if the features are not of shapes (N, D) and (M, D), or not finite.
    """
    real, synthetic = _features(real, synthetic)
    short = _too_few("KID", MINIMUM_KID, real, synthetic)
    if short is not None:
        return short
    x, y = _Sums(real, real_groups), _Sums(synthetic, synthetic_groups)
    cross = x.with_other(y)

    def value(x_counts: torch.Tensor, y_counts: torch.Tensor) -> torch.Tensor:
        return x.within(x_counts) + y.within(y_counts) - 2 * x.between(y, cross, x_counts, y_counts)

    return _estimate(value, x, y, draws, seed)


def kid_difference(
    real: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    real_groups: _Groups = None,
    groups: _Groups = None,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """KID(real, a) - KID(real, b) of two paired sets, with an interval that keeps the pairs together.

    Sample i of a and of b come from one mask and one start, so their errors go together and largely cancel; what real
    images contribute alone cancels altogether. Negative where a is nearer to the real images.

    Args:
        real: (N, D) features.
        a: (M, D) features of the first set.
        b: (M, D) features of the second set, pair by pair.
        real_groups: patient of each real image.
        groups: mask or patient of each pair.
        draws: number of resamples.
        seed: of the resampling.

    Returns:
        The difference; without a value if a side has fewer than `MINIMUM_KID` images.

    Raises:
        ValueError: if a and b differ in shape, or features are not finite.
    """
    if a.shape != b.shape:
        raise ValueError(f"paired features must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    real, a = _features(real, a)
    real, b = _features(real, b)
    short = _too_few("KID", MINIMUM_KID, real, a)
    if short is not None:
        return short
    x, first, second = _Sums(real, real_groups), _Sums(a, groups), _Sums(b, groups)
    cross_first, cross_second = x.with_other(first), x.with_other(second)

    def value(x_counts: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        apart = x.between(first, cross_first, x_counts, counts) - x.between(second, cross_second, x_counts, counts)
        return first.within(counts) - second.within(counts) - 2 * apart

    return _estimate(value, x, first, draws, seed)


class _Sums:
    """Kernel sums over groups, from which the mean of any resample of groups follows by small matrix products."""

    def __init__(self, features: torch.Tensor, groups: _Groups) -> None:
        self.features = features
        self.index = group_index(groups, len(features))
        self.groups = int(self.index.max()) + 1
        self.sizes = torch.bincount(self.index).double()
        self.once = torch.ones(1, self.groups, dtype=torch.float64)
        self.sums = self.with_other(self)
        itself = (features.square().mean(1) + 1) ** 3  # the kernel's diagonal
        self.traces = itself.new_zeros(self.groups).index_add_(0, self.index, itself)

    def with_other(self, other: _Sums) -> torch.Tensor:
        """Kernel sums over the pairs of a group here and one there, (groups, other.groups).

        The kernel of all images, which may be more than memory holds, is made some rows at a time.
        """
        sums = self.features.new_zeros(self.groups, other.groups)
        rows = max(_KERNEL_ENTRIES // len(other.features), 1)
        for part, index in zip(self.features.split(rows), self.index.split(rows), strict=True):
            kernel = poly_kernel(part, other.features)
            over_there = kernel.new_zeros(other.groups, len(part)).index_add_(0, other.index, kernel.T)
            sums.index_add_(0, index, over_there.T)
        return sums

    def within(self, counts: torch.Tensor) -> torch.Tensor:
        """Mean kernel over pairs of different images, per resample; counts (draws, groups).

        A group drawn twice is paired with itself neither as an image with itself nor across its copies: such pairs are
        no draws of two independent images and would bias every resample upwards.
        """
        blocks = self.sums.diagonal()
        total = ((counts @ self.sums) * counts).sum(1) - counts**2 @ blocks + counts @ (blocks - self.traces)
        pairs = (counts @ self.sizes) ** 2 - counts**2 @ self.sizes**2 + counts @ (self.sizes**2 - self.sizes)
        return total / pairs

    def between(
        self, other: _Sums, cross: torch.Tensor, counts: torch.Tensor, other_counts: torch.Tensor
    ) -> torch.Tensor:
        """Mean kernel over pairs of one image of each set, per resample."""
        total = ((counts @ cross) * other_counts).sum(1)
        return total / ((counts @ self.sizes) * (other_counts @ other.sizes))


def _estimate(
    value: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], x: _Sums, y: _Sums, draws: int, seed: int
) -> Estimate:
    """A figure of the counts of both sides' groups, which are resampled each for itself."""
    point = float(value(x.once, y.once))
    n, groups = min(len(x.features), len(y.features)), min(x.groups, y.groups)
    if groups < 2:
        return Estimate(point, None, None, n, groups)
    resampled = value(bootstrap_counts(x.groups, draws, seed), bootstrap_counts(y.groups, draws, seed + 1))
    return Estimate(point, *percentile_interval(resampled), n, groups)


def _frechet(x: torch.Tensor, x_counts: torch.Tensor, y: torch.Tensor, y_counts: torch.Tensor) -> torch.Tensor:
    """Fréchet distance of weighted samples; tr (S1 S2)^(1/2) from the eigenvalues of S1^(1/2) S2 S1^(1/2)."""
    (mean_x, cov_x), (mean_y, cov_y) = _moments(x, x_counts), _moments(y, y_counts)
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    overlap = torch.linalg.eigvalsh(root @ cov_y @ root).clamp_min(0).sqrt().sum()
    return (mean_x - mean_y).square().sum() + cov_x.trace() + cov_y.trace() - 2 * overlap


def _moments(x: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = counts @ x / counts.sum()
    centered = x - mean
    return mean, (centered * counts[:, None]).T @ centered / (counts.sum() - 1)


def _features(real: torch.Tensor, synthetic: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if real.ndim != 2 or synthetic.ndim != 2 or real.shape[1] != synthetic.shape[1]:
        raise ValueError(
            f"features must be (N, D) and (M, D), got {tuple(real.shape)} (real) and {tuple(synthetic.shape)} "
            "(synthetic)"
        )
    for name, features in (("real", real), ("synthetic", synthetic)):
        if not torch.isfinite(features).all():
            raise ValueError(f"{name} features are not finite: leave images with NaN or infinite pixels out")
    return real.detach().double().cpu(), synthetic.detach().double().cpu()


def _too_few(name: str, minimum: int, real: torch.Tensor, synthetic: torch.Tensor) -> Estimate | None:
    n = min(len(real), len(synthetic))
    if n >= minimum:
        return None
    return Estimate.missing(
        f"{name} needs at least {minimum} images on either side, got {len(real)} real and {len(synthetic)} synthetic", n
    )
