"""Show a network the encoded mask, or at random the image itself."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import TransformBackends, convert_to_tensor

from monai_segdiff.transforms.vocabulary import source_of

__all__ = ["RandMaskOrImage", "RandMaskOrImageD", "RandMaskOrImageDict", "RandMaskOrImaged"]


class RandMaskOrImage(RandomizableTransform):
    """Randomly put the image in the place of its encoded mask.

    A network that maps a mask to an image, in which the image itself is the input in half of the samples, keeps a
    decoder that knows real images: so XReal trains its anatomy controller (arXiv 2403.09240).

    Args:
        prob: share of samples, 0..1, in which the image is shown.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(self, prob: float = 0.5) -> None:
        RandomizableTransform.__init__(self, prob)

    def __call__(self, mask: NdarrayOrTensor, image: NdarrayOrTensor, randomize: bool = True) -> torch.Tensor:
        """Choose one of the two.

        Args:
            mask: the encoded mask, (C, *spatial).
            image: the image in the network's range, of the same shape.
            randomize: draw anew; otherwise the last draw is used again.

        Returns:
            A tensor of the mask's dtype: a copy of the image, or the mask.

        Raises:
            ValueError: where the shapes differ; the message names the file.
        """
        chosen = convert_to_tensor(mask, track_meta=get_track_meta())
        if chosen.shape != image.shape:
            source = source_of(image)
            raise ValueError(
                f"image{f' {source}' if source else ''} has shape {tuple(image.shape)}, but its mask has "
                f"{tuple(chosen.shape)}: encode the mask in as many channels, e.g. by EncodeMask(mode='values'), and "
                "bring both to the same grid first."
            )
        if randomize:
            self.randomize(None)
        if not self._do_transform:
            return chosen
        return convert_to_tensor(image, dtype=chosen.dtype, track_meta=get_track_meta()).clone()


class RandMaskOrImaged(RandomizableTransform, MapTransform):
    """Dictionary-based version of :class:`RandMaskOrImage`: the image takes the mask's place and stays in its own.

    Args:
        key: key of the encoded mask, which is replaced.
        image_key: key of the image.
        prob: share of samples, 0..1, in which the image is shown.
        allow_missing_keys: leave the data as they are, rather than raise, where one of the keys is missing.
    """

    backend: ClassVar[list[TransformBackends]] = RandMaskOrImage.backend

    def __init__(
        self, key: str = "label", image_key: str = "image", prob: float = 0.5, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, (key, image_key), allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.chooser = RandMaskOrImage(prob)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandMaskOrImaged:
        """Seed the transform; the array transform inside draws from the same state."""
        super().set_random_state(seed, state)
        self.chooser.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw which of the two is shown."""
        self.chooser.randomize(None)
        self._do_transform = self.chooser._do_transform

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Leave the mask, or put the image in its place."""
        d = dict(data)
        self.randomize()
        if len(list(self.key_iterator(d))) == len(self.keys):
            key, image_key = self.keys
            d[key] = self.chooser(d[key], d[image_key], randomize=False)
        return d


RandMaskOrImageD = RandMaskOrImageDict = RandMaskOrImaged
