"""Which generated images failed: noise, blur, values that are not finite, or anatomy not where the mask says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from skimage.restoration import estimate_sigma

__all__ = ["REASONS", "FailedSampleDetector", "channel_detail", "channel_noise", "detail_share", "noise_level"]

REASONS = ("not finite", "noise", "blurred", "off mask")

_NOISE_FACTOR = 1.5
_DETAIL_FACTOR = 1 / 3
_DICE_FACTOR = 0.5
_ADVANTAGE_FACTOR = 1.5
_LEAST_ADVANTAGE = 0.02  # of Dice; nearly the same mask, a few pixels apart, stays below


def noise_level(images: torch.Tensor) -> torch.Tensor:
    """Standard deviation of the noise in each image, from its finest wavelet coefficients (scikit-image).

    Args:
        images: (N, C, *spatial), any range.

    Returns:
        (N,) float64 in the images' unit, the mean over channels; 0 for a constant image, NaN for one not finite.
    """
    levels = []
    for image in images.detach().cpu().numpy():
        if not np.isfinite(image).all():
            levels.append(np.nan)
            continue
        # The median over no coefficient at all, which a constant channel leaves, is no noise.
        channels = [estimate_sigma(channel) if np.ptp(channel) > 0 else 0.0 for channel in image.astype(np.float64)]
        levels.append(float(np.mean(channels)))
    return torch.tensor(levels, dtype=torch.float64)


def detail_share(images: torch.Tensor) -> torch.Tensor:
    """Share of each image's spectral power, its mean left out, above a quarter of the sampling rate (half of Nyquist).

    A Hann window keeps the jump between opposite borders, which is no detail and does not blur, out of the spectrum.

    Args:
        images: (N, C, *spatial), any range.

    Returns:
        (N,) float64 in [0, 1], over all channels; 0 for a constant image, NaN for one that is not finite.
    """
    images = images.detach().cpu().double()
    spatial = images.shape[2:]
    axes = tuple(range(2, images.ndim))
    window = torch.ones(spatial, dtype=torch.float64)
    radius = torch.zeros(spatial, dtype=torch.float64)
    for axis, size in enumerate(spatial):
        shape = [size if i == axis else 1 for i in range(len(spatial))]
        window = window * torch.hann_window(size, periodic=True, dtype=torch.float64).reshape(shape)
        radius = radius + torch.fft.fftfreq(size, dtype=torch.float64).square().reshape(shape)
    mean = (images * window).sum(axes, keepdim=True) / window.sum()
    power = torch.fft.fftn((images - mean) * window, dim=axes).abs().square()
    total = power.sum(dim=(1, *axes))
    high = (power * (radius >= 0.25**2)).sum(dim=(1, *axes))
    # Rounding leaves a constant image some 1e-32 of power.
    share = torch.where(total > 1e-20, high / total.clamp_min(1e-20), torch.zeros_like(total))
    return torch.where(torch.isfinite(images).flatten(1).all(1), share, torch.full_like(share, torch.nan))


def channel_noise(images: torch.Tensor) -> torch.Tensor:
    """`noise_level` of each channel, so that one that is noise is not hidden by others that are sound.

    Args:
        images: (N, C, *spatial), any range.

    Returns:
        (N,) of images with one channel, (N, C) of those with several.
    """
    return _of_channels(noise_level, images)


def channel_detail(images: torch.Tensor) -> torch.Tensor:
    """`detail_share` of each channel, so that one that is blurred is not hidden by others that are sharp.

    Args:
        images: (N, C, *spatial), any range.

    Returns:
        (N,) of images with one channel, (N, C) of those with several.
    """
    return _of_channels(detail_share, images)


def _of_channels(measure: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    if images.shape[1] == 1:
        return measure(images)
    return torch.stack([measure(images[:, k : k + 1]) for k in range(images.shape[1])], dim=1)


@dataclass(frozen=True)
class FailedSampleDetector:
    """Finds failed samples by limits taken from held-out real images.

    Each of several channels is held to limits of its own, and a sample fails where one of its channels does.

    Args:
        noise_limit: a sample with a higher noise level is noise; in the images' unit; one number, or one for each
            channel.
        detail_limit: a sample with a smaller share of fine detail is blurred; the same.
        dice_limit: a sample with a lower foreground Dice is off its mask; None leaves that out.
        advantage_limit: a sample that another patient's mask fits better by more Dice is off its mask, too; None leaves
            that out.
    """

    noise_limit: float | tuple[float, ...]
    detail_limit: float | tuple[float, ...]
    dice_limit: float | None = None
    advantage_limit: float | None = None

    @classmethod
    def fit(
        cls,
        noise: torch.Tensor,
        detail: torch.Tensor,
        ceiling: float | None = None,
        advantage: torch.Tensor | None = None,
    ) -> FailedSampleDetector:
        """Take the limits from held-out real images.

        1.5 times the 99th percentile of their noise, a third of the 1st percentile of their fine detail, half of the
        segmenter's mean Dice on them, 1.5 times the 99th percentile of other masks' advantage on them, but at least
        0.02: where the segmenter reads well no other mask has any. Constant real images, which have no detail at all,
        are left out: with them a limit of 0 would let every blurred sample pass.

        Args:
            noise: (N,) or (N, C) `channel_noise` of the real images.
            detail: the same of their `channel_detail`.
            ceiling: mean foreground Dice of the segmenter on them, in [0, 1].
            advantage: (N,) their `other_mask_advantage`; NaN where it is not known.

        Raises:
            ValueError: if there is no finite real image, or all are constant.
        """
        if noise.ndim == 2:
            each = [cls.fit(*pair, ceiling, advantage) for pair in zip(noise.T, detail.T, strict=True)]
            noise_limits = tuple(float(one.noise_limit) for one in each)  # type: ignore[arg-type]
            detail_limits = tuple(float(one.detail_limit) for one in each)  # type: ignore[arg-type]
            return replace(each[0], noise_limit=noise_limits, detail_limit=detail_limits)
        finite = torch.isfinite(noise) & torch.isfinite(detail)
        if not finite.any():
            raise ValueError("the limits of failed samples need at least one real image with finite values")
        varied = finite & (detail > 0)
        if not varied.any():
            raise ValueError(
                "the limits of failed samples need real images that are not constant, and all held-out ones are: check "
                "their files and the intensity_range in dataset.json"
            )
        noise, detail = noise[varied], detail[varied]
        return cls(
            noise_limit=_NOISE_FACTOR * float(torch.quantile(noise, 0.99)),
            detail_limit=_DETAIL_FACTOR * float(torch.quantile(detail, 0.01)),
            dice_limit=None if ceiling is None else _DICE_FACTOR * ceiling,
            advantage_limit=None if advantage is None else _advantage_limit(advantage),
        )

    @classmethod
    def from_images(
        cls, real: torch.Tensor, ceiling: float | None = None, advantage: torch.Tensor | None = None
    ) -> FailedSampleDetector:
        """`fit` on the real images themselves, (N, C, *spatial)."""
        return cls.fit(channel_noise(real), channel_detail(real), ceiling, advantage)

    def reasons(
        self,
        noise: torch.Tensor,
        detail: torch.Tensor,
        dice: torch.Tensor | None = None,
        advantage: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Which samples failed for which reason.

        Args:
            noise: (N,) or (N, C) `channel_noise` of the samples; NaN marks one that is not finite.
            detail: the same of their `channel_detail`.
            dice: (N,) their foreground Dice; NaN (an empty mask) is not held against a sample.
            advantage: (N,) their `other_mask_advantage`; NaN is not held against a sample either.

        Returns:
            Reason ("not finite", "noise", "blurred", "off mask") to (N,) bool; a sample may have several.
        """
        not_finite = _in_any_channel(~(torch.isfinite(noise) & torch.isfinite(detail)))
        off_mask = torch.zeros_like(not_finite)
        if dice is not None and self.dice_limit is not None:
            off_mask = dice.cpu() < self.dice_limit
        if advantage is not None and self.advantage_limit is not None:
            off_mask = off_mask | (advantage.cpu() > self.advantage_limit)
        noisy = _in_any_channel(noise > torch.tensor(self.noise_limit, dtype=noise.dtype))
        blurred = _in_any_channel(detail < torch.tensor(self.detail_limit, dtype=detail.dtype))
        found = (not_finite, noisy, blurred, off_mask)
        return dict(zip(REASONS, found, strict=True))

    def __call__(
        self, images: torch.Tensor, dice: torch.Tensor | None = None, advantage: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Which samples failed, for any reason.

        Args:
            images: (N, C, *spatial) in the real images' unit.
            dice: (N,) their foreground Dice.
            advantage: (N,) their `other_mask_advantage`.

        Returns:
            (N,) bool.
        """
        found = self.reasons(channel_noise(images), channel_detail(images), dice, advantage)
        return torch.stack(list(found.values())).any(0)


def _in_any_channel(flags: torch.Tensor) -> torch.Tensor:
    return flags.any(1) if flags.ndim == 2 else flags


def _advantage_limit(advantage: torch.Tensor) -> float:
    advantage = advantage[torch.isfinite(advantage)]
    usual = float(torch.quantile(advantage, 0.99)) if len(advantage) else 0.0
    return max(_LEAST_ADVANTAGE, _ADVANTAGE_FACTOR * usual)
