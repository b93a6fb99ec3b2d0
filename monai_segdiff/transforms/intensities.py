"""From a network's range to the intensities that a model's card declares, which no image leaves."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, ScaleIntensityRange
from monai.utils import TransformBackends

__all__ = ["ScaleToRange", "ScaleToRangeD", "ScaleToRangeDict", "ScaleToRanged", "clamp_to_range"]


def clamp_to_range(images: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Bring intensities into a range, as the images' own type and any wider one sees it.

    The float32 that is nearest to 0.1 lies above it, the one nearest to 0.7 below. Bounds that the type cannot hold
    become the next numbers inside, so that a file read as float64 does not leave the range either. NaN stays NaN.

    Args:
        images: float32 or float64, of any shape.
        low: the lowest intensity.
        high: the highest intensity.

    Raises:
        ValueError: if the range is empty.
    """
    if not low <= high:
        raise ValueError(f"the intensity range {low} to {high} is empty: give the lower intensity first")
    bounds = torch.tensor([low, high], dtype=torch.float64).to(images.dtype)
    inwards = torch.tensor([torch.inf, -torch.inf], dtype=images.dtype)
    outside = torch.tensor([bounds[0].item() < low, bounds[1].item() > high])
    bounds = torch.where(outside, torch.nextafter(bounds, inwards), bounds)
    return images.clamp(*bounds.tolist())


class ScaleToRange(ScaleIntensityRange):
    """MONAI's linear map from one range to another, whose result never leaves the second by a rounding.

    An infinite value becomes NaN: clipped it would look sound, and whoever writes the image would not refuse it.

    Args:
        a_min: what becomes ``b_min``: the low end of the network's range.
        a_max: what becomes ``b_max``.
        b_min: the lowest intensity that the model's card declares; what lies below is clipped.
        b_max: the highest one.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(self, a_min: float, a_max: float, b_min: float, b_max: float) -> None:
        super().__init__(a_min, a_max, b_min, b_max, clip=True, dtype=np.float32)

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """Scale an image.

        Args:
            img: of any shape, in the network's range.

        Returns:
            The image in the declared range, float32.
        """
        scaled = clamp_to_range(super().__call__(img), self.b_min, self.b_max)
        return torch.where(torch.isfinite(torch.as_tensor(img, device=scaled.device)), scaled, torch.nan)


class ScaleToRanged(MapTransform):
    """Dictionary form of :class:`ScaleToRange`.

    Args:
        keys: keys of the images.
        a_min: as in :class:`ScaleToRange`.
        a_max: as in :class:`ScaleToRange`.
        b_min: as in :class:`ScaleToRange`.
        b_max: as in :class:`ScaleToRange`.
        allow_missing_keys: whether missing keys are passed over.
    """

    backend = ScaleToRange.backend

    def __init__(
        self,
        keys: KeysCollection,
        a_min: float,
        a_max: float,
        b_min: float,
        b_max: float,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.scaler = ScaleToRange(a_min, a_max, b_min, b_max)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale the images of an item.

        Args:
            data: the item.

        Returns:
            The item with images in the declared range.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.scaler(d[key])
        return d


ScaleToRangeD = ScaleToRangeDict = ScaleToRanged
