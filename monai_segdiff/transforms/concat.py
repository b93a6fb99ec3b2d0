"""Join an image and its encoded mask into the one tensor that a plain network takes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import ClassVar

import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

from monai_segdiff.transforms.vocabulary import source_of

__all__ = ["ConcatMask", "ConcatMaskD", "ConcatMaskDict", "ConcatMaskd"]


class ConcatMask(Transform):
    """Append the channels of an encoded mask to an image.

    For networks that take one tensor. :class:`~monai_segdiff.networks.MaskConcatUNet` does the same inside.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __call__(self, image: NdarrayOrTensor, condition: NdarrayOrTensor) -> torch.Tensor:
        """Concatenate along the channels.

        Args:
            image: (C, *spatial).
            condition: the encoded mask, (K, *spatial).

        Returns:
            A tensor (C + K, *spatial) of the image's dtype and metadata.

        Raises:
            ValueError: where the spatial shapes differ.
        """
        source = source_of(image)
        picture = convert_to_tensor(image, track_meta=get_track_meta())
        mask = convert_to_tensor(condition, track_meta=False)
        if picture.shape[1:] != mask.shape[1:]:
            raise ValueError(
                f"image{f' {source}' if source else ''} has spatial shape {tuple(picture.shape[1:])}, but its mask has "
                f"{tuple(mask.shape[1:])}: bring both to the same grid first."
            )
        joined = torch.cat([convert_to_tensor(picture, track_meta=False), mask.to(picture)], dim=0)
        return convert_to_dst_type(joined, dst=picture)[0]


class ConcatMaskd(MapTransform):
    """Dictionary-based version of :class:`ConcatMask`: the image takes the mask's channels, the mask stays.

    Args:
        image_key: key of the image, which is replaced.
        mask_key: key of the encoded mask.
        allow_missing_keys: leave the data as they are, rather than raise, where one of the keys is missing.
    """

    backend: ClassVar[list[TransformBackends]] = ConcatMask.backend

    def __init__(self, image_key: str = "image", mask_key: str = "label", allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, (image_key, mask_key), allow_missing_keys)
        self.concat = ConcatMask()

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Append the mask's channels to the image."""
        d = dict(data)
        if len(list(self.key_iterator(d))) == len(self.keys):
            image_key, mask_key = self.keys
            d[image_key] = self.concat(d[image_key], d[mask_key])
        return d


ConcatMaskD = ConcatMaskDict = ConcatMaskd
