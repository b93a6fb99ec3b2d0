"""How alike images are to one another: multi-scale structural similarity of pairs, and pairs to measure it on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from monai.metrics import compute_ms_ssim

from monai_segdiff.metrics.bootstrap import Estimate, bootstrap_counts, group_index, percentile_interval

__all__ = ["SimilarityScales", "bootstrap_pairs", "draw_pairs", "ms_ssim"]

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_KERNEL = 11
_ATTEMPTS = 50  # draws for each pair that is wanted


@dataclass(frozen=True)
class SimilarityScales:
    """Scales and kernel of MS-SSIM that fit an image size.

    Args:
        weights: of the scales, from the finest; they add up to 1.
        kernel: pixels a side of the Gaussian window.
    """

    weights: tuple[float, ...]
    kernel: int

    @classmethod
    def for_size(cls, spatial_shape: Sequence[int]) -> SimilarityScales:
        """As many of the five published scales as fit the shortest side with the published kernel of 11 pixels.

        Five need 176 pixels. Where not even one fits, the kernel is the largest odd number of pixels that does. MONAI's
        own check supposes that sides shrink by (scales - 1) squared, while they shrink by 2^(scales - 1); both hold.

        Args:
            spatial_shape: pixels along each axis.

        Raises:
            ValueError: if a side has fewer than 3 pixels.
        """
        side = min(spatial_shape)
        if side < 3:
            raise ValueError(f"MS-SSIM needs at least 3 pixels a side, got {tuple(spatial_shape)}")
        kernel = min(_KERNEL, side - 1 + side % 2)
        scales = max(s for s in range(1, len(_WEIGHTS) + 1) if side // max((s - 1) ** 2, 2 ** (s - 1)) >= kernel)
        kept = _WEIGHTS[:scales]
        return cls(tuple(weight / sum(kept) for weight in kept), kernel)

    def __str__(self) -> str:
        scales = len(self.weights)
        return f"{scales} of {len(_WEIGHTS)} scales, a window of {self.kernel} pixels"


def ms_ssim(first: torch.Tensor, second: torch.Tensor, scales: SimilarityScales | None = None) -> torch.Tensor:
    """Multi-scale structural similarity of pairs of images (Wang et al. 2003), by MONAI.

    Args:
        first: (N, 1, *spatial) in [0, 1], 2 or 3 spatial dimensions.
        second: same shape.
        scales: that fit the images; default: as `SimilarityScales.for_size` has it.

    Returns:
        (N,) float64 in [0, 1]; 1 for equal images.

    Raises:
        ValueError: if shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"both images of a pair must have one shape, got {tuple(first.shape)}, {tuple(second.shape)}")
    scales = SimilarityScales.for_size(first.shape[2:]) if scales is None else scales
    found = compute_ms_ssim(
        first.float(),
        second.float(),
        spatial_dims=first.ndim - 2,
        data_range=1.0,
        kernel_size=scales.kernel,
        weights=scales.weights,
    )
    return found.flatten().double()


def draw_pairs(
    same: Sequence[Hashable], other: Sequence[Hashable] | None, number: int, seed: int = 0
) -> list[tuple[int, int]]:
    """Draw different pairs of items, those of one group or those of two.

    Args:
        same: group of each item. Without `other`, both items of a pair are of one such group.
        other: group of each item by which the items of a pair differ, beside `same`.
        number: at most so many pairs.
        seed: of the draw.

    Returns:
        Pairs of indices, each once; fewer where there are not as many.
    """
    generator = torch.Generator().manual_seed(seed)
    if other is None:
        members: dict[Hashable, list[int]] = {}
        for index, name in enumerate(same):
            members.setdefault(name, []).append(index)
        groups = [group for group in members.values() if len(group) > 1]
    else:
        groups = [list(range(len(same)))]
    if not any(len(group) > 1 for group in groups):
        return []
    found: dict[tuple[int, int], None] = {}
    for _ in range(number * _ATTEMPTS):
        group = groups[int(torch.randint(len(groups), (), generator=generator))]
        i, j = sorted(group[k] for k in torch.randint(len(group), (2,), generator=generator).tolist())
        if i != j and (other is None or (same[i] != same[j] and other[i] != other[j])):
            found[i, j] = None
        if len(found) == number:
            break
    return list(found)


def bootstrap_pairs(
    values: torch.Tensor,
    first: Sequence[Hashable],
    second: Sequence[Hashable],
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Mean over pairs, with a percentile interval from resampling the groups that the pairs' items belong to.

    A pair of two groups counts as often as both are drawn, one times the other; a pair within a group as often as this
    is drawn.

    Args:
        values: (N,) figure of each pair.
        first: group (patient) of each pair's first item.
        second: group of its second item.
        draws: number of resamples.
        seed: of the resampling.

    Returns:
        The mean; its interval is None with fewer than two groups. n counts pairs.
    """
    if not len(values):
        return Estimate.missing("there is no such pair of images")
    index = group_index([*first, *second], 2 * len(values))
    a, b = index[: len(values)], index[len(values) :]
    number, mean = int(index.max()) + 1, float(values.double().mean())
    if number < 2:
        return Estimate(mean, None, None, len(values), number)
    counts = bootstrap_counts(number, draws, seed)
    weights = torch.where(a == b, counts[:, a], counts[:, a] * counts[:, b])
    # A resample of few groups may hold no pair at all; it gives NaN, which the interval leaves out.
    resampled = (weights @ values.double()) / weights.sum(1)
    return Estimate(mean, *percentile_interval(resampled), len(values), number)
