"""What single sections of the report measure on every image, beside what all need."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d

from monai_segdiff.data.load import is_raster, spacing_of
from monai_segdiff.evaluation.measure.inputs import Inputs
from monai_segdiff.evaluation.measure.measure import Batch, PerImageMeasure
from monai_segdiff.evaluation.pairs import Pair
from monai_segdiff.metrics import RADIOMIC_FEATURES, hausdorff_per_class, radiomic_features

__all__ = ["hausdorff_measure", "length_unit", "pixels", "pooled_shape", "radiomic_measure"]

_SIDE = {2: 64, 3: 16}  # of the images whose pixels are compared: 16 kB for each


def length_unit(inputs: Inputs) -> str:
    """ "mm" where files of both data sets say how large a pixel is, else "pixels".

    Picture formats do not say. A pixel of exactly 1 mm along every axis counts as unknown: tools write it by default.
    """
    cases = [*inputs.held_out, *inputs.generated]
    if any(case.image is None or is_raster(case.image) for case in cases):
        return "pixels"
    firsts = inputs.real_reader(inputs.held_out[0]), inputs.synthetic_reader(inputs.generated[0])
    unknown = any(all(math.isclose(size, 1.0, rel_tol=1e-6) for size in _spacing(pair)) for pair in firsts)
    return "pixels" if unknown else "mm"


def hausdorff_measure(num_classes: int, unit: str) -> PerImageMeasure:
    """95% Hausdorff distance of the segmenter's reading to the mask, (B, C), in mm or pixels."""

    def extra(batch: Batch) -> torch.Tensor:
        assert batch.readings is not None
        spacing = [_spacing(pair) for pair in batch.pairs] if unit == "mm" else None
        return hausdorff_per_class(batch.readings, batch.masks, num_classes, spacing)

    return extra


def pooled_shape(spatial_shape: Sequence[int]) -> tuple[int, ...]:
    """Size at which pixels are compared: the image's own, but at most 64 pixels a side, 16 in a volume."""
    return tuple(min(size, _SIDE[len(spatial_shape)]) for size in spatial_shape)


def pixels(batch: Batch) -> torch.Tensor:
    """Pixels of each image, (B, D), such that the distance of two is their root mean square difference.

    In shares of the intensity range; rows of NaN where an image is not finite.
    """
    images = (batch.images.float() + 1) / 2
    shape = pooled_shape(images.shape[2:])
    if shape != tuple(images.shape[2:]):
        images = (adaptive_avg_pool2d if len(shape) == 2 else adaptive_avg_pool3d)(images, shape)
    flat = images.flatten(1)
    return torch.where(batch.finite[:, None], flat / math.sqrt(flat.shape[1]), torch.nan)


def radiomic_measure(batch: Batch) -> torch.Tensor:
    """Radiomic features of each image, (B, F); rows of NaN where an image is not finite."""
    found = torch.full((len(batch.images), len(RADIOMIC_FEATURES)), torch.nan, dtype=torch.float64)
    found[batch.finite] = radiomic_features(batch.images[batch.finite])
    return found


def _spacing(pair: Pair) -> list[float]:
    dims = pair.image.ndim - 1
    return [float(size) for size in spacing_of(pair.affine.numpy(), dims)]
