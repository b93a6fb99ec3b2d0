"""Remove classes from a label map without leaving a trace of their shape."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

from monai_segdiff.transforms.vocabulary import ClassVocabulary, check_channel_first, source_of

__all__ = [
    "RandClassAblation",
    "RandClassAblationD",
    "RandClassAblationDict",
    "RandClassAblationd",
    "ablate_classes",
]

FILLS = ("parent", "background")


def ablate_classes(
    label_map: NdarrayOrTensor,
    classes: Mapping[str, int | Sequence[int]],
    keep: Sequence[str],
    parents: Mapping[str, str] | None = None,
    fill: str = "parent",
) -> torch.Tensor:
    """Remove every class that is not kept.

    The pixels of a removed class go to the nearest class around it that is kept, so that no hole of its shape stays
    behind; the shape is gone only where ``parents`` says truly what surrounds the class.

    Args:
        label_map: label ids, any shape; whole numbers (floating point is accepted).
        classes: class name to its label id or ids; 0, the background, is never listed.
        keep: the names of the classes that stay.
        parents: class name to the name of the class around it; the background where a class has no entry.
        fill: ``"parent"``, or ``"background"``: removed pixels become background whatever surrounds them, which leaves
            a hole and is there to reproduce results so obtained.

    Returns:
        A new label map, as a tensor of the same dtype and metadata.

    Raises:
        ValueError: for an unknown class, fill or label id, or values that are not whole numbers.
    """
    vocabulary = _vocabulary(classes, parents, fill)
    label = convert_to_tensor(label_map, track_meta=get_track_meta())
    return _ablate(label, vocabulary, vocabulary.kept(keep), source_of(label_map))


class RandClassAblation(RandomizableTransform):
    """Randomly remove classes from a label map, so that a network learns to generate from any subset of them.

    Of the samples it is applied to, a share ``full_prob`` keeps every class and a share ``null_prob`` keeps none; the
    rest draws uniformly from the 2^C - 1 non-empty subsets of the C classes. Training on ablated masks is that of Konz
    et al. 2024 (arXiv 2402.05210), who remove each class with p = 0.5: ``independent=True``. After a call ``known``
    says what stayed.

    Args:
        classes: class name to its label id or ids; 0, the background, is never listed.
        prob: share of samples, 0..1, the transform is applied to; the others keep every class.
        parents: class name to the name of the class around it; the background where a class has no entry.
        full_prob: share, 0..1, that keeps every class.
        null_prob: share, 0..1, that keeps no class; guidance on the mask needs it above 0.
        independent: keep each class with p = 0.5 on its own, instead of a uniform non-empty subset.
        fill: ``"parent"`` or ``"background"``, see :func:`ablate_classes`.

    Raises:
        ValueError: for bad classes or parents, or shares outside 0..1 or adding up to more than 1.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(
        self,
        classes: Mapping[str, int | Sequence[int]],
        prob: float = 1.0,
        parents: Mapping[str, str] | None = None,
        full_prob: float = 0.0,
        null_prob: float = 0.0,
        independent: bool = False,
        fill: str = "parent",
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        if not (0.0 <= full_prob <= 1.0 and 0.0 <= null_prob <= 1.0 and full_prob + null_prob <= 1.0):
            raise ValueError(
                f"full_prob and null_prob must be shares of at most 1 together, got {full_prob}, {null_prob}."
            )
        self.vocabulary = _vocabulary(classes, parents, fill)
        self.full_prob = full_prob
        self.null_prob = null_prob
        self.independent = independent
        self.fill = fill
        self.known = torch.ones(len(self.vocabulary.names), dtype=torch.bool)

    def randomize(self, data: Any = None) -> None:
        """Draw which classes stay, from the transform's own random state."""
        super().randomize(None)
        size = len(self.vocabulary.names)
        keep = np.ones(size, dtype=bool)
        if self._do_transform:
            share = self.R.rand()
            if share < self.null_prob:
                keep[:] = False
            elif share >= self.null_prob + self.full_prob:
                keep = self._draw_subset(size)
        self.known = torch.from_numpy(keep)

    def _draw_subset(self, size: int) -> np.ndarray:
        keep = self.R.randint(0, 2, size=size).astype(bool)
        # Rejection keeps the draw uniform over the non-empty subsets, for any number of classes.
        while not (self.independent or keep.any()):
            keep = self.R.randint(0, 2, size=size).astype(bool)
        return keep

    def __call__(self, label_map: NdarrayOrTensor, randomize: bool = True) -> torch.Tensor:
        """Remove the drawn classes.

        Args:
            label_map: label ids, (1, *spatial).
            randomize: draw anew; otherwise the last draw is used again.

        Returns:
            A label map of the same shape and dtype.

        Raises:
            ValueError: for another shape, an unknown label id, or values that are not whole numbers.
        """
        source = source_of(label_map)
        label = convert_to_tensor(label_map, track_meta=get_track_meta())
        check_channel_first(label, source)
        if randomize:
            self.randomize()
        return _ablate(label, self.vocabulary, self.known, source)


class RandClassAblationd(RandomizableTransform, MapTransform):
    """Dictionary-based version of :class:`RandClassAblation`.

    One draw serves all keys. ``d[f"{key}_known"]`` receives the flags of the classes that stayed, a bool tensor (C,).

    Args:
        keys: keys of the label maps.
        classes: class name to its label id or ids; 0, the background, is never listed.
        prob: share of samples the transform is applied to.
        parents: class name to the name of the class around it.
        full_prob: share that keeps every class.
        null_prob: share that keeps no class.
        independent: keep each class with p = 0.5 on its own.
        fill: ``"parent"`` or ``"background"``.
        allow_missing_keys: do not raise where a key is missing.
    """

    backend: ClassVar[list[TransformBackends]] = RandClassAblation.backend

    def __init__(
        self,
        keys: KeysCollection,
        classes: Mapping[str, int | Sequence[int]],
        prob: float = 1.0,
        parents: Mapping[str, str] | None = None,
        full_prob: float = 0.0,
        null_prob: float = 0.0,
        independent: bool = False,
        fill: str = "parent",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.ablator = RandClassAblation(classes, prob, parents, full_prob, null_prob, independent, fill)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandClassAblationd:
        """Seed the transform; the array transform inside draws from the same state."""
        super().set_random_state(seed, state)
        self.ablator.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw once for all keys."""
        self.ablator.randomize()
        self._do_transform = self.ablator._do_transform

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Remove the same classes from every label map and write its known flags."""
        d = dict(data)
        self.randomize()
        for key in self.key_iterator(d):
            d[key] = self.ablator(d[key], randomize=False)
            d[f"{key}_known"] = self.ablator.known.clone()
        return d


RandClassAblationD = RandClassAblationDict = RandClassAblationd


def _vocabulary(
    classes: Mapping[str, int | Sequence[int]], parents: Mapping[str, str] | None, fill: str
) -> ClassVocabulary:
    if fill not in FILLS:
        raise ValueError(f"unknown fill '{fill}': choose one of {', '.join(FILLS)}.")
    vocabulary = ClassVocabulary(classes, parents)
    return vocabulary if fill == "parent" else ClassVocabulary(classes)


def _ablate(label: torch.Tensor, vocabulary: ClassVocabulary, kept: torch.Tensor, source: str) -> torch.Tensor:
    plain = convert_to_tensor(label, track_meta=False)
    index = vocabulary.indices(plain, source)
    destination = vocabulary.destinations(kept)
    moved = destination != torch.arange(len(destination))
    new_id = vocabulary.first_ids[destination]
    if bool((new_id.to(plain.dtype) != new_id)[moved].any()):
        raise ValueError(
            f"the label map has dtype {plain.dtype}, which cannot hold label id {int(new_id[moved].max())}."
        )
    result = torch.where(moved.to(plain.device)[index], new_id.to(plain)[index], plain)
    return convert_to_dst_type(result, dst=label)[0]
