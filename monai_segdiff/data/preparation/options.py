"""Options of preparing a data set, checked before any work: in range, and with an effect."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from monai_segdiff.data.cases import Case
from monai_segdiff.data.load import is_flat
from monai_segdiff.data.preparation.crop import CROPS, OUTSIDES
from monai_segdiff.transforms.intensities import IntensityRange

__all__ = ["check_slicing", "checked_body_threshold", "checked_crop", "checked_range", "checked_share", "per_axis"]

_LARGEST_SIZE = 4096
_MOST_VOXELS = 2**28
_SPACINGS = (1e-3, 1e3)  # mm
_MOST_MARGIN = 1e3  # mm


def per_axis(
    size: int | Sequence[int], spacing: float | Sequence[float] | None, spatial_dims: int
) -> tuple[list[int], list[float] | None]:
    """Size and voxel size of what is made, one number per axis.

    Args:
        size: voxels, one number or one per axis.
        spacing: mm, the same; or None.
        spatial_dims: 2 or 3.

    Raises:
        ValueError: if there are others than one or one per axis, or they are out of range.
    """
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims (--spatial-dims) must be 2 or 3, got {spatial_dims}")
    sizes = _numbers(size, spatial_dims, "size (--size)", operator.index)
    if not all(1 <= n <= _LARGEST_SIZE for n in sizes) or math.prod(sizes) > _MOST_VOXELS:
        raise ValueError(
            f"size (--size) must be from 1 to {_LARGEST_SIZE} per axis and at most {_MOST_VOXELS} voxels in all, got "
            f"{' '.join(map(str, sizes))}"
        )
    if spacing is None:
        return sizes, None
    spacings = _numbers(spacing, spatial_dims, "spacing (--spacing)", float)
    if not all(_SPACINGS[0] <= s <= _SPACINGS[1] for s in spacings):
        raise ValueError(
            f"spacing (--spacing) must be from {_SPACINGS[0]:g} to {_SPACINGS[1]:g} mm, got "
            f"{' '.join(f'{s:g}' for s in spacings)}"
        )
    # Whole numbers stay such, as settings that they are compared with have them.
    return sizes, list(spacing) if isinstance(spacing, Sequence) else [spacing] * spatial_dims


def checked_range(
    intensity_range: IntensityRange | None, percentiles: tuple[float, float] | None
) -> IntensityRange | None:
    """The intensity range, as it is given or as scaling by percentiles makes it.

    Args:
        intensity_range: lowest and highest intensity, or those of each channel; or None.
        percentiles: of each image, or None.

    Raises:
        ValueError: if both are given, one is no pair of numbers that go up, or percentiles are none.
    """
    if percentiles is not None:
        low, high = _pair(percentiles, "percentiles (--percentiles)")
        if not 0 <= low < high <= 100:
            raise ValueError(
                f"percentiles (--percentiles) must be LOW < HIGH, both in 0..100, got {low:g} and {high:g}"
            )
        if intensity_range is not None:
            raise ValueError(
                "percentiles (--percentiles) scale images to 0..1, so intensity_range cannot be given "
                "(--intensity-range); leave one of them out"
            )
        return 0.0, 1.0
    if intensity_range is None:
        return None
    several = isinstance(intensity_range, Sequence) and intensity_range and isinstance(intensity_range[0], Sequence)
    for pair in intensity_range if several else [intensity_range]:
        low, high = _pair(pair, "intensity_range (--intensity-range)")
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"intensity_range (--intensity-range) must be LOW < HIGH, got {low:g} and {high:g}: give the lower "
                "intensity first"
            )
    return intensity_range


def checked_share(min_foreground: float) -> float:
    """The least share of labeled pixels.

    Raises:
        ValueError: if it is not within [0, 1].
    """
    if not 0 <= min_foreground <= 1:
        raise ValueError(f"min_foreground (--min-foreground) must be a share from 0 to 1, got {min_foreground:g}")
    return min_foreground


def checked_body_threshold(threshold: float | None) -> float | None:
    """The intensity above which the body is, or None.

    Raises:
        ValueError: if it is NaN or infinite.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise ValueError(f"body_threshold (--body-threshold) must be a number, such as -300 HU, got {threshold:g}")
    return threshold


def checked_crop(crop: str, margin: float, outside: str | None) -> bool:
    """Whether pixels outside the field of view get a class of their own.

    Args:
        crop: what the grid lies around.
        margin: room around it in mm.
        outside: what these pixels are; None for what suits the crop.

    Raises:
        ValueError: if one is none of those that there are, out of range, or has no effect.
    """
    if crop not in CROPS:
        raise ValueError(f"crop (--crop) must be one of {', '.join(CROPS)}, got {crop!r}")
    if outside is not None and outside not in OUTSIDES:
        raise ValueError(f"outside (--outside) must be one of {', '.join(OUTSIDES)}, got {outside!r}")
    if not 0 <= margin <= _MOST_MARGIN:
        raise ValueError(f"margin (--margin) must be from 0 to {_MOST_MARGIN:g} mm, got {margin:g}")
    if margin and crop == "none":
        raise ValueError("margin (--margin) is room around what is cropped to, and nothing is (--crop); leave it out")
    return outside == "class" or (outside is None and crop != "none")


def check_slicing(
    axis: int | None, min_foreground: float | None, spatial_dims: int, cases: Sequence[Case] = (), sliced: bool = True
) -> None:
    """Refuse options that say how volumes are sliced where none is.

    Args:
        axis: axis to slice along, None where none is asked for.
        min_foreground: share below which a slice is left out, None where none is asked for.
        spatial_dims: 2 or 3.
        cases: what is prepared, where it is known.
        sliced: False where the first case has turned out not to be a volume.

    Raises:
        ValueError: if the axis is none, or an option has no effect; names it.
    """
    if axis is not None and axis not in (0, 1, 2):
        raise ValueError(f"axis (--axis) must be 0 (sagittal), 1 (coronal) or 2 (axial), got {axis}")
    given = [
        option
        for option, value in (("axis (--axis)", axis), ("min_foreground (--min-foreground)", min_foreground))
        if value is not None
    ]
    if not given:
        return
    why = None
    if spatial_dims == 3:
        why = "volumes are made (--spatial-dims 3)"
    elif not sliced or (cases and all(case.image is not None and is_flat(case.image) for case in cases)):
        why = f"{cases[0].image} is no volume"
    if why is not None:
        raise ValueError(f"{' and '.join(given)} say how volumes are sliced, and {why}; leave them out")


def _numbers(value: Any, spatial_dims: int, what: str, kind: Callable[[Any], Any]) -> list[Any]:
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * spatial_dims
    try:
        numbers = [kind(number) for number in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != spatial_dims:
        raise ValueError(f"{what} must be one positive number, or {spatial_dims} of them, got {value}")
    return numbers


def _pair(values: Any, what: str) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in values)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be two numbers, got {values}") from None
    return low, high
