"""The limits of failed samples, in words."""

from __future__ import annotations

from collections.abc import Sequence

from monai_segdiff.metrics import FailedSampleDetector

__all__ = ["limits_text"]


def limits_text(detector: FailedSampleDetector, channels: Sequence[str] = ()) -> str:
    """The limits of noise and fine detail, of each channel where there are several.

    Args:
        detector: that has them.
        channels: names of the images' channels.
    """
    noise, detail = detector.noise_limit, detector.detail_limit
    if isinstance(noise, tuple) and isinstance(detail, tuple):
        named = list(zip(channels, noise, detail, strict=True))
        levels = ", ".join(f"{name} {level:.4f}" for name, level, _ in named)
        shares = ", ".join(f"{name} {share:.2%}" for name, _, share in named)
        return f"noise {levels} (images span 2), fine detail {shares}"
    return f"noise {noise:.4f} (images span 2), fine detail {detail:.2%}"
