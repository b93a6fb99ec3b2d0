"""Intensities as the 16-bit numbers that a DICOM image stores, and back."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scaling", "choose_scaling"]

_LARGEST = 65535
_LEVELS = 32767  # for fractions; leaves readers that take numbers as signed ones unharmed
_AIR = -1024.0


@dataclass(frozen=True)
class Scaling:
    """What stored numbers mean: intensity = slope * stored + intercept.

    Args:
        slope_text: the slope as the file has it, 16 characters at most.
        intercept_text: the intercept as the file has it.
        low: the lowest intensity.
        high: the highest intensity.
    """

    slope_text: str
    intercept_text: str
    low: float
    high: float

    @property
    def slope(self) -> float:
        """Intensity from one stored number to the next."""
        return float(self.slope_text)

    @property
    def intercept(self) -> float:
        """Intensity that is stored as 0."""
        return float(self.intercept_text)

    @property
    def stored_max(self) -> int:
        """The highest stored number."""
        return round((self.high - self.intercept) / self.slope)

    def store(self, values: NDArray[np.floating]) -> NDArray[np.uint16]:
        """Intensities as stored numbers; half a slope off at most."""
        stored = np.round((np.asarray(values, dtype=np.float64) - self.intercept) / self.slope)
        return stored.clip(0, _LARGEST).astype(np.uint16)


def choose_scaling(values: NDArray[np.floating], modality: str) -> Scaling:
    """Find numbers for intensities: HU as they are, whole numbers as they are, fractions in 32767 steps.

    Args:
        values: the intensities of a whole series.
        modality: "CT", "MR", "CR" or "DX".

    Raises:
        ValueError: if values are not finite, or are no HU where CT is to be written.
    """
    if not np.isfinite(values).all():
        raise ValueError("the image holds NaN or infinite values, which DICOM cannot store; repair it")
    low, high = float(values.min()), float(values.max())
    if modality == "CT" and 0 < high - low <= 2:
        raise ValueError(
            f"values from {low:g} to {high:g} are no HU, as CT needs them; rescale the image, or write another modality"
        )
    whole = modality == "CT" or bool((values == np.round(values)).all())
    lowest = min(_AIR if modality == "CT" else 0.0, float(np.floor(low)))
    if whole and high - lowest <= _LARGEST - 1:
        return Scaling("1", f"{lowest:.0f}", low, high)
    # Rounded inwards, so that what is read back does not leave the image's range.
    intercept = _nine_digits(low, ROUND_CEILING)
    step = (high - float(intercept)) / _LEVELS if high > float(intercept) else 1e-9
    return Scaling(_nine_digits(step, ROUND_FLOOR), intercept, low, high)


def _nine_digits(value: float, rounding: str) -> str:
    return f"{float(Context(prec=9, rounding=rounding).create_decimal_from_float(value)):.9g}"
