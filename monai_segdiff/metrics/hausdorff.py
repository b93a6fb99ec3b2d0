"""How far the outline that a segmenter reads lies from the mask's: the 95% Hausdorff distance."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from monai.metrics.utils import get_mask_edges, get_surface_distance

__all__ = ["hausdorff_per_class"]


def hausdorff_per_class(
    prediction: torch.Tensor,
    mask: torch.Tensor,
    num_classes: int,
    spacing: Sequence[Sequence[float]] | None = None,
) -> torch.Tensor:
    """95% Hausdorff distance of every class of every sample, by MONAI; NaN where the mask has none of that class.

    A class that the mask has and the prediction lacks counts as the image's diagonal, the largest distance there can
    be: left out, it would be a reward for finding nothing.

    Args:
        prediction: (N, 1, *spatial), class indices 0 (background) to num_classes.
        mask: same shape, the label map that the image was generated from.
        num_classes: number of classes C without background.
        spacing: size of a pixel along each axis, for each sample; default: 1, so that distances are in pixels.

    Returns:
        (N, C) float32, at least 0, in the unit of the spacing, or NaN.

    Raises:
        ValueError: if shapes or numbers differ.
    """
    if prediction.shape != mask.shape:
        raise ValueError(
            f"prediction and mask must have one shape, got {tuple(prediction.shape)} and {tuple(mask.shape)}"
        )
    shape = tuple(mask.shape[2:])
    sizes = [[1.0] * len(shape)] * len(mask) if spacing is None else [[float(s) for s in row] for row in spacing]
    if len(sizes) != len(mask) or any(len(row) != len(shape) for row in sizes):
        raise ValueError(f"spacing must have one row of {len(shape)} numbers for each of the {len(mask)} samples")
    distance = torch.full((len(mask), num_classes), torch.nan)
    for sample, (read, wanted) in enumerate(zip(prediction[:, 0].cpu(), mask[:, 0].cpu(), strict=True)):
        present, found = (set(x.unique().tolist()) for x in (wanted, read))
        for index in present & set(range(1, num_classes + 1)):
            if index in found:
                distance[sample, index - 1] = _hausdorff(read == index, wanted == index, sizes[sample])
            else:
                sides = ((n - 1) * size for n, size in zip(shape, sizes[sample], strict=True))
                distance[sample, index - 1] = math.hypot(*sides)
    return distance


def _hausdorff(prediction: torch.Tensor, mask: torch.Tensor, spacing: Sequence[float]) -> float:
    """As MONAI's `compute_hausdorff_distance(percentile=95)`, without its cropping, which takes most of the time."""
    with warnings.catch_warnings():  # of an argument that MONAI is about to drop
        warnings.simplefilter("ignore", FutureWarning)
        edges = get_mask_edges(prediction, mask, crop=False, always_return_as_numpy=False)
    directed = (get_surface_distance(*pair, spacing=spacing) for pair in (edges, edges[::-1]))
    return max(float(torch.quantile(torch.as_tensor(distances).float(), 0.95)) for distances in directed)
