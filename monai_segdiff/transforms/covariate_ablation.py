"""Make covariates unknown at random, so that a network learns to do without."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import TransformBackends

from monai_segdiff.transforms.covariates import CovariateValue

__all__ = [
    "RandCovariateAblation",
    "RandCovariateAblationD",
    "RandCovariateAblationDict",
    "RandCovariateAblationd",
]


class RandCovariateAblation(RandomizableTransform):
    """Randomly forget covariates, each on its own.

    Args:
        names: names of all covariates, in a fixed order: a draw does not depend on which of them are known.
        drop_prob: share of samples in which a covariate is forgotten.
        prob: share of samples the transform is applied to.

    Raises:
        ValueError: if ``drop_prob`` is no share.
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(self, names: Sequence[str], drop_prob: float = 0.2, prob: float = 1.0) -> None:
        if not 0.0 <= drop_prob <= 1.0:
            raise ValueError(f"drop_prob must be from 0 to 1, got {drop_prob}: it is a share of the samples.")
        RandomizableTransform.__init__(self, prob)
        self.names = tuple(names)
        self.drop_prob = drop_prob
        self.dropped: frozenset[str] = frozenset()

    def randomize(self, data: Any = None) -> None:
        """Draw which covariates are forgotten."""
        super().randomize(None)
        drawn = self.R.random_sample(len(self.names)) < self.drop_prob if self._do_transform else ()
        self.dropped = frozenset(name for name, drop in zip(self.names, drawn, strict=False) if drop)

    def __call__(self, values: Mapping[str, CovariateValue], randomize: bool = True) -> dict[str, CovariateValue]:
        """Forget what was drawn.

        Args:
            values: name to value.
            randomize: draw anew; otherwise the last draw is used again.

        Returns:
            What is still known.
        """
        if randomize:
            self.randomize()
        return {name: value for name, value in values.items() if name not in self.dropped}


class RandCovariateAblationd(RandomizableTransform, MapTransform):
    """Dictionary-based version of :class:`RandCovariateAblation`; one draw serves all keys.

    Where the mask says nothing, ``d[known_key]`` being False for every class as
    :class:`~monai_segdiff.transforms.RandClassAblationd` writes it, all covariates are forgotten, too: the network then
    sees the null condition, which guidance pushes away from.

    Args:
        keys: keys of the covariates, each a mapping of names to values; one that is missing stays so.
        names: names of all covariates.
        drop_prob: share of samples in which a covariate is forgotten.
        prob: share of samples the transform is applied to.
        known_key: key of the flags of the known classes.
        allow_missing_keys: do not raise where a key is missing.
    """

    backend: ClassVar[list[TransformBackends]] = RandCovariateAblation.backend

    def __init__(
        self,
        keys: KeysCollection,
        names: Sequence[str],
        drop_prob: float = 0.2,
        prob: float = 1.0,
        known_key: str = "label_known",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.known_key = known_key
        self.dropper = RandCovariateAblation(names, drop_prob, prob)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandCovariateAblationd:
        """Seed the transform; the array transform inside draws from the same state."""
        super().set_random_state(seed, state)
        self.dropper.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw once for all keys."""
        self.dropper.randomize()
        self._do_transform = self.dropper._do_transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Forget the same covariates under every key."""
        d = dict(data)
        self.randomize()
        flags = d.get(self.known_key)
        nothing_known = flags is not None and not bool(torch.as_tensor(flags).any())
        for key in self.key_iterator(d):
            d[key] = {} if nothing_known else self.dropper(d[key], randomize=False)
        return d


RandCovariateAblationD = RandCovariateAblationDict = RandCovariateAblationd
