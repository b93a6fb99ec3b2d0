"""Drop prompts at random, so that a network learns to do without."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import TransformBackends, convert_to_tensor

__all__ = ["RandDropPrompt", "RandDropPromptD", "RandDropPromptDict", "RandDropPromptd"]


class RandDropPrompt(RandomizableTransform):
    """Randomly replace a prompt by the null prompt.

    Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598) needs a network that was trained without its
    prompt in a share of the samples. The prompt goes as a whole, whatever its tokens are: ids of findings as
    :class:`~monai_segdiff.transforms.EncodeFindings` gives them, or the tokens of a text encoder of one's own.

    Args:
        prob: share of samples, 0..1, whose prompt is dropped.
        null: the token that says nothing, which fills a dropped prompt.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(self, prob: float = 0.1, null: float = 0.0) -> None:
        RandomizableTransform.__init__(self, prob)
        self.null = null

    def __call__(self, prompt: NdarrayOrTensor, randomize: bool = True) -> torch.Tensor:
        """Keep or drop one prompt.

        Args:
            prompt: tokens of any shape and dtype.
            randomize: draw anew; otherwise the last draw is used again.

        Returns:
            A tensor of the same shape and dtype: the prompt, or the null token everywhere.
        """
        if randomize:
            self.randomize(None)
        tokens = convert_to_tensor(prompt, track_meta=get_track_meta())
        return torch.full_like(tokens, self.null) if self._do_transform else tokens


class RandDropPromptd(RandomizableTransform, MapTransform):
    """Dictionary-based version of :class:`RandDropPrompt`; one draw serves all keys.

    Args:
        keys: keys of the prompts.
        prob: share of samples whose prompt is dropped.
        null: the token that says nothing.
        allow_missing_keys: do not raise where a key is missing.
    """

    backend: ClassVar[list[TransformBackends]] = RandDropPrompt.backend

    def __init__(
        self, keys: KeysCollection, prob: float = 0.1, null: float = 0.0, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.dropper = RandDropPrompt(prob, null)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandDropPromptd:
        """Seed the transform; the array transform inside draws from the same state."""
        super().set_random_state(seed, state)
        self.dropper.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw once for all keys."""
        self.dropper.randomize(None)
        self._do_transform = self.dropper._do_transform

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Keep all prompts, or drop all."""
        d = dict(data)
        self.randomize()
        for key in self.key_iterator(d):
            d[key] = self.dropper(d[key], randomize=False)
        return d


RandDropPromptD = RandDropPromptDict = RandDropPromptd
