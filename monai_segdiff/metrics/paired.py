"""How far each image is from its reference: MAE, PSNR and SSIM of pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.metrics import MAEMetric, PSNRMetric, SSIMMetric

__all__ = ["PairedErrors", "paired_errors"]

_WINDOW = 11  # pixels a side of SSIM's Gaussian window, of standard deviation 1.5, as published by Wang et al. 2004
_SIGMA = 1.5


@dataclass(frozen=True)
class PairedErrors:
    """Figures of N pairs, each image's own; NaN where an image is not finite.

    Args:
        mae: (N,) mean absolute error.
        psnr: (N,) peak signal-to-noise ratio in dB, for a peak of 1; infinite where image and reference are equal.
        ssim: (N,) structural similarity.
    """

    mae: torch.Tensor
    psnr: torch.Tensor
    ssim: torch.Tensor

    def __len__(self) -> int:
        return len(self.mae)


def paired_errors(images: torch.Tensor, references: torch.Tensor) -> PairedErrors:
    """MAE, PSNR and SSIM of every image against its reference, by MONAI's metrics.

    Args:
        images: (N, C, *spatial) in [0, 1], 2 or 3 spatial dimensions of at least 11 pixels each.
        references: same shape and range.

    Returns:
        Figures of each pair, float64.

    Raises:
        ValueError: if the shapes differ, or the images are too small for SSIM's window.
    """
    if images.shape != references.shape:
        raise ValueError(
            f"images and references must have one shape, got {tuple(images.shape)} and {tuple(references.shape)}"
        )
    if images.ndim not in (4, 5) or min(images.shape[2:]) < _WINDOW:
        raise ValueError(
            f"images must be (N, C, *spatial) with sides of at least {_WINDOW} pixels, which SSIM's window needs; got "
            f"shape {tuple(images.shape)}"
        )
    if not len(images):
        return PairedErrors(*(torch.empty(0, dtype=torch.float64) for _ in range(3)))
    images, references = (x.detach().as_subclass(torch.Tensor).cpu().double() for x in (images, references))
    metrics = (MAEMetric(), PSNRMetric(max_val=1.0), SSIMMetric(images.ndim - 2, win_size=_WINDOW, kernel_sigma=_SIGMA))
    finite = torch.isfinite(images).flatten(1).all(1) & torch.isfinite(references).flatten(1).all(1)
    mae, psnr, ssim = (
        torch.where(finite, metric(images, references).double().flatten(), torch.nan) for metric in metrics
    )
    return PairedErrors(mae, psnr, ssim)
