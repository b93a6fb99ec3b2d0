"""N4 bias field correction of MRI, by ITK."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.filters import threshold_triangle
from torch.nn.functional import interpolate

__all__ = ["correct_bias_field"]

_VOXEL_MM = 8.0  # the field is far smoother than that
_MIN_VOXELS = 4  # per axis, where the image has as many: ITK's spline needs more than one
_LEVELS = 3  # each halves the distance between the control points of the field's spline
_ITERATIONS = 50  # at most, of each level


def correct_bias_field(image: NDArray[np.generic], spacing: Sequence[float]) -> NDArray[np.float32]:
    """Divide an MR image by the smooth field with which coils shade it.

    The field is found by ITK's N4 filter on voxels of about 8 mm, in what lies above the triangle threshold (Zack et
    al. 1977), and interpolated back to the image's grid.

    Args:
        image: (X, Y) or (X, Y, Z), any intensities; negative ones count as 0.
        spacing: voxel size in mm per axis.

    Returns:
        The corrected image, float32, of the same shape. Its mean above the triangle threshold is as before.

    Raises:
        ImportError: if ITK is not installed; names the extra.
        ValueError: if the image is constant, negative intensities counted as 0.

    Source:
        Tustison et al. 2010, N4ITK: Improved N3 Bias Correction, doi:10.1109/TMI.2010.2046908.
    """
    itk = _import_itk()
    pixels = np.maximum(np.asarray(image, dtype=np.float32), 0)
    if not pixels.max() > pixels.min():
        raise ValueError("the image is constant where it is not negative: there is no bias field to correct")
    if pixels.ndim == 3 and 1 in pixels.shape:  # a slice, stored as a volume
        flat = pixels.shape.index(1)
        in_plane = [s for axis, s in enumerate(spacing) if axis != flat]
        return np.expand_dims(correct_bias_field(pixels.squeeze(flat), in_plane), flat)
    shape = [
        max(min(n, _MIN_VOXELS), round(n * s / max(s, _VOXEL_MM))) for n, s in zip(pixels.shape, spacing, strict=True)
    ]
    small = _resize(pixels, shape, "area")
    # N4 works on logarithms, and the field is read off as a quotient: air must be above 0 for both.
    small = np.maximum(small, np.float32(1e-3) * small.max())
    # A low threshold: Otsu's would leave out the dark side of a shaded image, and the field would not be found there.
    foreground = small > threshold_triangle(small)
    field = _field(itk, small, foreground, [n * s / k for n, s, k in zip(pixels.shape, spacing, shape, strict=True)])
    corrected = pixels / np.exp(_resize(np.log(field), pixels.shape, "linear"))
    tissue = pixels > threshold_triangle(pixels)
    return np.asarray(corrected * (pixels[tissue].mean() / corrected[tissue].mean()), dtype=np.float32)


def _field(
    itk: ModuleType, image: NDArray[np.float32], foreground: NDArray[np.bool_], spacing: Sequence[float]
) -> NDArray[np.float32]:
    """The multiplicative field of an image, of its shape."""
    # ITK counts axes from the last one of an array.
    inputs = [itk.image_from_array(np.ascontiguousarray(x)) for x in (image, foreground.astype(np.uint8))]
    for item in inputs:
        item.SetSpacing([float(s) for s in reversed(spacing)])
    kind = type(inputs[0])
    n4 = itk.N4BiasFieldCorrectionImageFilter[kind, type(inputs[1]), kind].New(Input=inputs[0], MaskImage=inputs[1])
    n4.SetNumberOfFittingLevels(_LEVELS)
    n4.SetMaximumNumberOfIterations([_ITERATIONS] * _LEVELS)
    n4.Update()
    return np.asarray(image / itk.array_from_image(n4.GetOutput()), dtype=np.float32)


def _resize(image: NDArray[np.float32], shape: Sequence[int], mode: str) -> NDArray[np.float32]:
    """Resample to another number of voxels over the same field of view; "area" or "linear"."""
    kind = mode if mode == "area" else {2: "bilinear", 3: "trilinear"}[image.ndim]
    return np.asarray(interpolate(torch.as_tensor(image)[None, None], size=tuple(shape), mode=kind)[0, 0])


def _import_itk() -> ModuleType:
    needed = "N4 bias field correction needs ITK's filters: pip install 'monai-segdiff[n4]'"
    try:
        import itk
    except ImportError as error:
        raise ImportError(needed) from error
    if not hasattr(itk, "N4BiasFieldCorrectionImageFilter"):  # ITK comes in parts
        raise ImportError(needed)
    return itk
