"""Between a network's range and the intensities that a model's card declares, which no generated image leaves."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, ScaleIntensityRange
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

__all__ = [
    "IntensityRange",
    "ScaleFromRange",
    "ScaleFromRangeD",
    "ScaleFromRangeDict",
    "ScaleFromRanged",
    "ScaleToRange",
    "ScaleToRangeD",
    "ScaleToRangeDict",
    "ScaleToRanged",
    "channel_ranges",
    "clamp_channels",
    "clamp_to_range",
    "range_ends",
    "scale_channels",
]

IntensityRange: TypeAlias = tuple[float, float] | tuple[tuple[float, float], ...]
"""Lowest and highest intensity of an image, or those of each channel."""


def channel_ranges(intensity_range: Sequence[Any], channels: int = 1) -> list[tuple[float, float]]:
    """Lowest and highest intensity of each channel.

    Args:
        intensity_range: one pair, which holds for all channels, or a pair for each.
        channels: how many there are.

    Raises:
        ValueError: if there are pairs for another number of channels.
    """
    if not isinstance(intensity_range[0], Sequence):
        low, high = intensity_range
        return [(float(low), float(high))] * channels
    if len(intensity_range) != channels:
        raise ValueError(
            f"intensity_range has {len(intensity_range)} pairs, and there are {channels} channels: give one pair, or "
            "one for each channel"
        )
    return [(float(low), float(high)) for low, high in intensity_range]


def scale_channels(images: torch.Tensor, intensity_range: Sequence[Any]) -> torch.Tensor:
    """Map the range of each channel to [-1, 1]; nothing is clipped.

    Args:
        images: (B, C, *spatial).
        intensity_range: one pair, or a pair for each channel.
    """
    pairs = channel_ranges(intensity_range, images.shape[1])
    return torch.stack([(images[:, k] - low) * (2.0 / (high - low)) - 1.0 for k, (low, high) in enumerate(pairs)], 1)


def range_ends(intensity_range: Sequence[Any]) -> tuple[Any, Any]:
    """The lower and the upper ends of a range, for ``a_min`` and ``a_max`` of a transform that scales intensities.

    Args:
        intensity_range: one pair, or a pair for each channel.

    Returns:
        Two numbers, or two tuples of one number for each channel.
    """
    if not isinstance(intensity_range[0], Sequence):
        return intensity_range[0], intensity_range[1]
    low, high = zip(*intensity_range, strict=True)
    return low, high


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


def clamp_channels(images: torch.Tensor, intensity_range: Sequence[Any]) -> torch.Tensor:
    """Bring the intensities of each channel into its range, as :func:`clamp_to_range` does.

    Args:
        images: (B, C, *spatial), float32 or float64.
        intensity_range: one pair, or a pair for each channel.

    Raises:
        ValueError: if a range is empty, or there are pairs for another number of channels.
    """
    pairs = channel_ranges(intensity_range, images.shape[1])
    if len(set(pairs)) == 1:
        return clamp_to_range(images, *pairs[0])
    return torch.cat([clamp_to_range(images[:, k : k + 1], *pair) for k, pair in enumerate(pairs)], dim=1)


class ScaleFromRange(ScaleIntensityRange):
    """MONAI's linear map from one range to another, which each channel can have of its own; what leaves it is clipped.

    Args:
        a_min: what becomes ``b_min``: one number, or one for each channel.
        a_max: what becomes ``b_max``: the same.
        b_min: the low end of the network's range.
        b_max: the high end.
        clip: whether what lies outside is clipped.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(
        self,
        a_min: float | Sequence[float],
        a_max: float | Sequence[float],
        b_min: float,
        b_max: float,
        clip: bool = True,
    ) -> None:
        super().__init__(a_min, a_max, b_min, b_max, clip=clip, dtype=np.float32)
        self.of_channel = [
            ScaleIntensityRange(low, high, b_min, b_max, clip=clip, dtype=np.float32)
            for low, high in _pairs(a_min, a_max)
        ]

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Scale an image.

        Args:
            img: (C, *spatial); of any shape where there is one range.

        Returns:
            The image, float32.

        Raises:
            ValueError: if there is a range for each of another number of channels.
        """
        if not self.of_channel:
            return super().__call__(img)
        return _each(self.of_channel, img)


class ScaleFromRanged(MapTransform):
    """Dictionary form of :class:`ScaleFromRange`.

    Args:
        keys: keys of the images.
        a_min: as in :class:`ScaleFromRange`.
        a_max: as in :class:`ScaleFromRange`.
        b_min: as in :class:`ScaleFromRange`.
        b_max: as in :class:`ScaleFromRange`.
        clip: as in :class:`ScaleFromRange`.
        allow_missing_keys: whether missing keys are passed over.
    """

    backend = ScaleFromRange.backend

    def __init__(
        self,
        keys: KeysCollection,
        a_min: float | Sequence[float],
        a_max: float | Sequence[float],
        b_min: float,
        b_max: float,
        clip: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.scaler = ScaleFromRange(a_min, a_max, b_min, b_max, clip)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale the images of an item.

        Args:
            data: the item.

        Returns:
            The item with images in the network's range.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.scaler(d[key])
        return d


class ScaleToRange(ScaleIntensityRange):
    """MONAI's linear map from one range to another, whose result never leaves the second by a rounding.

    An infinite value becomes NaN: clipped it would look sound, and whoever writes the image would not refuse it.

    Args:
        a_min: what becomes ``b_min``: the low end of the network's range.
        a_max: what becomes ``b_max``.
        b_min: the lowest intensity that the model's card declares; what lies below is clipped. One number, or one for
            each channel.
        b_max: the highest one, or ones.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(
        self, a_min: float, a_max: float, b_min: float | Sequence[float], b_max: float | Sequence[float]
    ) -> None:
        super().__init__(a_min, a_max, b_min, b_max, clip=True, dtype=np.float32)
        self.of_channel = [ScaleToRange(a_min, a_max, low, high) for low, high in _pairs(b_min, b_max)]

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """Scale an image.

        Args:
            img: (C, *spatial), in the network's range; of any shape where there is one range.

        Returns:
            The image in the declared range, float32.

        Raises:
            ValueError: if there is a range for each of another number of channels.
        """
        if self.of_channel:
            return torch.as_tensor(_each(self.of_channel, img))
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
        b_min: float | Sequence[float],
        b_max: float | Sequence[float],
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


def _pairs(low: float | Sequence[float], high: float | Sequence[float]) -> list[tuple[float, float]]:
    """A pair for each channel; none where one pair holds for all."""
    if isinstance(low, Sequence) and isinstance(high, Sequence):
        return list(zip(low, high, strict=True))
    return []


def _each(scalers: Sequence[ScaleIntensityRange], img: NdarrayOrTensor) -> NdarrayOrTensor:
    """Every channel by its own range."""
    if len(img) != len(scalers):
        raise ValueError(f"an image of {len(scalers)} channels is expected, each with its range, got {len(img)}")
    layers = [convert_to_tensor(scale(layer), track_meta=False) for scale, layer in zip(scalers, img, strict=True)]
    return convert_to_dst_type(torch.stack(layers), img, dtype=torch.float32)[0]


ScaleFromRangeD = ScaleFromRangeDict = ScaleFromRanged
ScaleToRangeD = ScaleToRangeDict = ScaleToRanged
