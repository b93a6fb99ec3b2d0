"""The outline of the body in a radiograph: everything above a threshold."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import ClassVar

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

__all__ = ["SegmentContour", "SegmentContourD", "SegmentContourDict", "SegmentContourd"]


class SegmentContour(Transform):
    """Segment what lies inside the body's contour: one value where an image is above a threshold, 0 elsewhere.

    The segmentation "contour" of arXiv 2404.03541: threshold 0.1 on a projection normalized to [0, 1], value 0.5
    inside. Adding what :class:`~monai_segdiff.transforms.ProjectBone` gives makes bone 1.

    Args:
        threshold: in the image's unit; what equals it is outside.
        value: what the inside becomes.

    Raises:
        ValueError: if an argument is not finite.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(self, threshold: float = 0.1, value: float = 0.5) -> None:
        if not (math.isfinite(threshold) and math.isfinite(value)):
            raise ValueError(f"threshold and value must be finite, got {threshold} and {value}.")
        self.threshold = float(threshold)
        self.value = float(value)

    def __call__(self, image: NdarrayOrTensor) -> torch.Tensor:
        """Segment one image, or a set of views.

        Args:
            image: (C, *spatial), every channel segmented by itself.

        Returns:
            A float32 tensor of the same shape, with the image's metadata where metadata is tracked.
        """
        picture = convert_to_tensor(image, track_meta=get_track_meta())
        inside = convert_to_tensor(picture, track_meta=False) > self.threshold
        return convert_to_dst_type(inside.float() * self.value, dst=picture, dtype=torch.float32)[0]


class SegmentContourd(MapTransform):
    """Dictionary-based version of :class:`SegmentContour`: replaces the image by its segmentation.

    Args:
        keys: keys of the images.
        threshold: in the images' unit; what equals it is outside.
        value: what the inside becomes.
        allow_missing_keys: do not raise where a key is missing.
    """

    backend: ClassVar[list[TransformBackends]] = SegmentContour.backend

    def __init__(
        self, keys: KeysCollection, threshold: float = 0.1, value: float = 0.5, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.segment = SegmentContour(threshold, value)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Segment every image."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.segment(d[key])
        return d


SegmentContourD = SegmentContourDict = SegmentContourd
