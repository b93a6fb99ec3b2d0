"""Data order and random transforms that depend on counters only, so that a resumed run sees what it would have seen."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from monai.data import CacheDataset
from monai.transforms import Compose, RandomizableTrait, Transform
from torch.utils.data import Sampler

from monai_segdiff.data.item_store import ItemStore, bytes_of
from monai_segdiff.diffusion.noise import mix_seed

__all__ = ["EpochIndex", "EpochSampler", "SeededCacheDataset"]


class EpochIndex(int):
    """Index of an item that also knows the epoch and the batch it is drawn for.

    Both travel with the index, so a worker that fetches ahead, or that still holds an old copy of the data set,
    cannot use wrong ones.
    """

    epoch: int
    batch: int

    def __new__(cls, value: int, epoch: int, batch: int) -> EpochIndex:
        index = super().__new__(cls, value)
        index.epoch, index.batch = epoch, batch
        return index

    def __reduce__(self) -> tuple[type[EpochIndex], tuple[int, int, int]]:
        return EpochIndex, (int(self), self.epoch, self.batch)


class EpochSampler(Sampler[int]):
    """Shuffled order that is a function of (seed, epoch) only, shared out over processes.

    Epochs read one endless stream of shuffles one after another: with `images_per_epoch` below the length every item is
    still seen equally often, and above it items repeat only after all others were seen. Of each epoch's part of the
    stream process r takes every `world_size`-th position from r on. Only the order is shared out: a cached data set
    holds all items in every process, so memory grows with the number of processes.

    Args:
        length: number of items of the data set.
        images_per_epoch: items per epoch over all processes, rounded up to full batches; by default `length`.
        batch_size: items per batch of each process.
        seed: determines the order.
        rank: this process; by default as torch.distributed says when the order is drawn.
        world_size: number of processes; by default as torch.distributed says.

    Attributes:
        first_item: how many of this process's items at the start of an epoch are left out, so that a resumed run can
            start within one; nothing else changes. 0 at first.

    Raises:
        ValueError: if a length is not positive.
    """

    def __init__(
        self,
        length: int,
        images_per_epoch: int | None = None,
        batch_size: int = 1,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if min(length, batch_size, 1 if images_per_epoch is None else images_per_epoch) < 1:
            raise ValueError(
                f"length, images_per_epoch and batch_size must be positive, got {length}, {images_per_epoch} and "
                f"{batch_size}"
            )
        self.length = length
        self.images_per_epoch = images_per_epoch or length
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.first_item = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration is for."""
        self.epoch = int(epoch)

    def __len__(self) -> int:
        batches = -(-self.images_per_epoch // (self._processes()[1] * self.batch_size))
        return batches * self.batch_size

    def __iter__(self) -> Iterator[int]:
        rank, world_size = self._processes()
        per_epoch = len(self) * world_size
        epoch, seen = self.epoch, self.first_item
        shuffle, order = -1, np.empty(0, dtype=np.int64)
        positions = range(epoch * per_epoch + rank, (epoch + 1) * per_epoch, world_size)
        for drawn, position in enumerate(positions[seen:], start=seen):
            if position // self.length != shuffle:
                shuffle = position // self.length
                order = np.random.default_rng(mix_seed(self.seed, shuffle)).permutation(self.length)
            batch = drawn // self.batch_size * world_size + rank
            yield EpochIndex(int(order[position % self.length]), epoch, batch)

    def _processes(self) -> tuple[int, int]:
        running = dist.is_available() and dist.is_initialized()
        rank = self.rank if self.rank is not None else (dist.get_rank() if running else 0)
        return rank, self.world_size or (dist.get_world_size() if running else 1)


class SeededCacheDataset(CacheDataset):
    """MONAI's CacheDataset whose random transforms of an item depend on (seed, epoch, item) only.

    What was drawn before, the number of workers and the process make no difference. The epoch comes with the index from
    an `EpochSampler`; with any other sampler it is the one last set by `set_epoch` in this process, which workers that
    live on over epochs do not see. Only transforms that draw from MONAI's own `Randomizable.R` are governed.

    Args:
        data: items, see `SegmentationDataset.items`.
        transform: MONAI transforms; those before the first random one are computed once and cached.
        seed: determines every draw.
        draw_per_batch: let all items of a batch of an `EpochSampler` have the same draws, as where published code draws
            once a batch; every random transform is then governed by the batch instead of the item.
        cache_dir: passed on to `CacheDataset`.
    """

    def __init__(
        self,
        data: Sequence[Any],
        transform: Sequence[Callable] | Callable,
        seed: int = 0,
        draw_per_batch: bool = False,
        cache_dir: str | Path | None = None,
        memory: int = 2**30,
        **kwargs: Any,
    ) -> None:
        self.seed = seed
        self.draw_per_batch = draw_per_batch
        self.epoch = 0
        self._store: ItemStore | None = None
        steps = transform if isinstance(transform, Compose) else Compose(transform)
        if "cache_num" in kwargs or "cache_rate" in kwargs or not len(data):
            super().__init__(data, steps, **kwargs)
            return
        super().__init__(data, steps, cache_num=0, **kwargs)
        first = self._load_cache_item(0)
        if bytes_of(first) * len(data) <= memory:
            self.set_num = len(data)
            self.set_data(data)
        elif cache_dir is not None:
            self._store = self._open_store(cache_dir, first)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch for indices that do not bring their own."""
        self.epoch = int(epoch)

    def _open_store(self, folder: str | Path, first: Any) -> ItemStore | None:
        try:
            return ItemStore(folder, self.transform.transforms[: self._first_random()], first)
        except (OSError, TypeError) as error:
            warnings.warn(
                f"images are not cached in {folder}, so each is read from its own file every time: {error}; choose "
                "another folder (cache_dir)",
                stacklevel=3,
            )
            return None

    def _first_random(self) -> int | None:
        return self.transform.get_index_of_first(
            lambda step: isinstance(step, RandomizableTrait) or not isinstance(step, Transform)
        )

    def _transform(self, index: int) -> Any:
        item = range(len(self))[int(index)]  # beyond the last one is an IndexError, which ends a loop over all items
        epoch = getattr(index, "epoch", self.epoch)
        governing = getattr(index, "batch", item) if self.draw_per_batch else item
        self.transform.set_random_state(seed=mix_seed(self.seed, epoch, governing))
        if self._store is None:
            return super()._transform(item)
        made = self._store.get(self.data[item], lambda: self._load_cache_item(item))
        first_random = self._first_random()
        return made if first_random is None else self.transform(made, start=first_random)
