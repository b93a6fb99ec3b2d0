"""Radiomic features of whole images: first order, and gray-level co-occurrence by scikit-image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kurtosis, skew
from skimage.feature import graycomatrix, graycoprops

__all__ = ["RADIOMIC_FEATURES", "radiomic_features"]

_LEVELS = 32  # gray levels of the histogram and of co-occurrence, over the whole range
_ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
_TEXTURE = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation")
_PERCENTILES = (10, 25, 50, 75, 90)
_SLICES = 16  # of a volume, along its last axis; co-occurrence is a matter of planes

RADIOMIC_FEATURES = (
    "mean",
    "standard deviation",
    "skewness",
    "kurtosis",
    "mean absolute deviation",
    "entropy",
    "uniformity",
    *(f"percentile {p}" for p in _PERCENTILES),
    *(f"co-occurrence {name}" for name in _TEXTURE),
)
"""What `radiomic_features` holds, in order."""


def radiomic_features(images: torch.Tensor) -> torch.Tensor:
    """Radiomic features of each image, for a Fréchet distance in the manner of FRD (arXiv 2412.01496).

    The published FRD takes its features from PyRadiomics, on filtered images too, so figures cannot be compared with
    it. Co-occurrence is that of neighboring pixels, averaged over four directions, and over slices of a volume.

    Args:
        images: (N, C, *spatial) in [-1, 1], finite, 2 or 3 spatial dimensions; channels are averaged.

    Returns:
        (N, len(RADIOMIC_FEATURES)) float64, finite; skewness, kurtosis and correlation of a constant image are 0.

    Raises:
        ValueError: if images are not finite.
    """
    if not torch.isfinite(images).all():
        raise ValueError("radiomic features need finite images: leave those with NaN or infinite pixels out")
    rows = [_features(image.mean(0).double().cpu().numpy()) for image in images.detach()]
    return torch.tensor(np.array(rows).reshape(len(rows), len(RADIOMIC_FEATURES)), dtype=torch.float64)


def _features(image: NDArray[np.float64]) -> list[float]:
    values = image.ravel()
    gray = np.clip((image + 1) / 2 * _LEVELS, 0, _LEVELS - 1).astype(np.uint8)
    histogram = np.bincount(gray.ravel(), minlength=_LEVELS) / gray.size
    present = histogram[histogram > 0]
    constant = values.std() < 1e-9
    first = [
        values.mean(),
        values.std(),
        0.0 if constant else float(skew(values)),
        0.0 if constant else float(kurtosis(values)),
        np.abs(values - values.mean()).mean(),
        -(present * np.log2(present)).sum(),
        (histogram**2).sum(),
        *np.percentile(values, _PERCENTILES),
    ]
    planes = [gray] if gray.ndim == 2 else [gray[..., k] for k in _slices(gray.shape[-1])]
    return [*map(float, first), *np.mean([_texture(plane) for plane in planes], axis=0).tolist()]


def _texture(plane: NDArray[np.uint8]) -> list[float]:
    if np.ptp(plane) == 0:  # scikit-image calls the correlation of a constant plane 1
        return [0.0, 0.0, 1.0, 1.0, 0.0]
    counts = graycomatrix(plane, [1], _ANGLES, levels=_LEVELS, symmetric=True, normed=True)
    return [float(graycoprops(counts, name).mean()) for name in _TEXTURE]


def _slices(depth: int) -> list[int]:
    number = min(depth, _SLICES)
    return [i * depth // number for i in range(number)]
