from __future__ import annotations

import pickle
from collections import Counter
from typing import Any

import pytest
import torch
from monai.transforms import Compose, Identityd, MapTransform, RandGaussianNoised, RandScaleIntensityd
from torch.utils.data import DataLoader

from monai_segdiff.data import EpochSampler, SeededCacheDataset
from monai_segdiff.data.seeded import EpochIndex


class Load(MapTransform):
    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        return {"image": torch.full((1, 4), float(data["image"])), "index": data["image"]}


def dataset(seed: int = 0, items: int = 7, **kwargs: Any) -> SeededCacheDataset:
    transforms = [
        Load("image"),
        Identityd("image"),
        RandGaussianNoised("image", prob=1.0),
        RandScaleIntensityd("image", factors=0.5, prob=0.5),
    ]
    data = [{"image": i} for i in range(items)]
    return SeededCacheDataset(data, transforms, seed, progress=False, **kwargs)


def epoch_of(loader: DataLoader, epoch: int) -> list[torch.Tensor]:
    loader.sampler.set_epoch(epoch)
    return [torch.as_tensor(batch["image"]) for batch in loader]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_an_epoch_is_the_same_whatever_was_consumed_before(workers: int, persistent: bool) -> None:
    if persistent and not workers:
        pytest.skip("needs workers to persist")
    torch.manual_seed(0)
    fresh = epoch_of(DataLoader(dataset(), batch_size=2, sampler=EpochSampler(7, seed=1)), 2)
    torch.manual_seed(1)
    used = DataLoader(
        dataset(), batch_size=2, sampler=EpochSampler(7, seed=1), num_workers=workers, persistent_workers=persistent
    )
    first = epoch_of(used, 0)
    next(iter(used))
    epoch_of(used, 1)
    again = epoch_of(used, 2)
    assert all(torch.equal(a, b) for a, b in zip(fresh, again, strict=True))
    assert not torch.equal(first[0], again[0])


def test_the_item_alone_decides_within_an_epoch() -> None:
    one, other = dataset(), dataset(cache_rate=0.0)
    one.set_epoch(4)
    other.set_epoch(4)
    for index in (3, 5, 3, 0):
        one[index]
    assert all(torch.equal(one[i]["image"], other[i]["image"]) for i in range(7))
    assert torch.equal(one[-1]["image"], one[6]["image"])
    assert not torch.equal(one[3]["image"] - 3, one[4]["image"] - 4)


def test_seed_and_epoch_change_the_draws() -> None:
    draws = {}
    for seed in (0, 1):
        for epoch in (0, 1):
            data = dataset(seed)
            data.set_epoch(epoch)
            draws[seed, epoch] = tuple(data[2]["image"].tolist()[0])
    assert len(set(draws.values())) == 4


def test_an_index_brings_its_epoch_through_pickling() -> None:
    index = pickle.loads(pickle.dumps(EpochIndex(5, 9, 3)))
    assert (index, index.epoch, index.batch) == (5, 9, 3)
    data = dataset()
    data.set_epoch(9)
    expected = data[5]["image"]
    data.set_epoch(0)
    assert torch.equal(data[index]["image"], expected)


def test_one_draw_may_serve_a_whole_batch() -> None:
    def offsets(data: SeededCacheDataset, epoch: int, world_size: int = 1) -> list[list[tuple[float, ...]]]:
        samplers = [EpochSampler(7, 14, 4, seed=1, rank=rank, world_size=world_size) for rank in range(world_size)]
        batches = []
        for sampler in samplers:
            sampler.set_epoch(epoch)
            drawn = [tuple((data[index]["image"] - int(index)).tolist()[0]) for index in sampler]
            batches += [drawn[start : start + 4] for start in range(0, len(drawn), 4)]
        return batches

    def data(per_batch: bool) -> SeededCacheDataset:
        transforms = [Load("image"), RandGaussianNoised("image", prob=1.0)]
        items = [{"image": i} for i in range(7)]
        return SeededCacheDataset(items, transforms, draw_per_batch=per_batch, progress=False)

    def rounded(batch: list[tuple[float, ...]]) -> set[tuple[float, ...]]:
        return {tuple(round(value, 4) for value in sample) for sample in batch}

    shared = [rounded(batch) for epoch in (0, 1) for batch in offsets(data(True), epoch)]
    assert all(len(batch) == 1 for batch in shared)
    assert len(set.union(*shared)) == len(shared), "every batch of every epoch has its own"
    assert all(len(rounded(batch)) == 4 for batch in offsets(data(False), 0))
    parallel = [rounded(batch) for batch in offsets(data(True), 0, world_size=2)]
    assert len(set.union(*parallel)) == len(parallel), "so has every process"


def test_a_composed_transform_is_taken_as_it_is() -> None:
    transform = Compose([Load("image")])
    assert SeededCacheDataset([{"image": 1}], transform, progress=False).transform is transform


def order(sampler: EpochSampler, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_each_epoch_is_another_permutation_that_the_seed_decides() -> None:
    sampler = EpochSampler(10, seed=3)
    orders = [order(sampler, epoch) for epoch in range(5)]
    assert all(sorted(o) == list(range(10)) for o in orders)
    assert len({tuple(o) for o in orders}) == 5
    assert order(EpochSampler(10, seed=3), 3) == orders[3]
    assert order(EpochSampler(10, seed=4), 3) != orders[3]


@pytest.mark.parametrize("images_per_epoch", [3, 4, 25])
def test_items_are_seen_equally_often_whatever_the_length_of_an_epoch(images_per_epoch: int) -> None:
    sampler = EpochSampler(10, images_per_epoch)
    assert len(sampler) == images_per_epoch
    seen = Counter(index for epoch in range(20) for index in order(sampler, epoch))
    assert sum(seen.values()) == 20 * images_per_epoch
    assert max(seen.values()) - min(seen.values()) <= 1


def test_processes_share_the_order_of_one() -> None:
    whole = order(EpochSampler(12, seed=5), 6)
    shards = [order(EpochSampler(12, seed=5, rank=rank, world_size=3), 6) for rank in range(3)]
    assert [shards[i % 3][i // 3] for i in range(12)] == whole
    uneven = [order(EpochSampler(10, seed=5, rank=rank, world_size=4), 2) for rank in range(4)]
    assert {len(shard) for shard in uneven} == {3}
    assert len(EpochSampler(10, rank=0, world_size=4)) == 3


@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (1, 2)])
def test_an_epoch_that_is_begun_later_goes_on_as_it_would_have(rank: int, world_size: int) -> None:
    def epoch(first_item: int) -> list[tuple[int, int, int]]:
        sampler = EpochSampler(13, 16, batch_size=2, seed=5, rank=rank, world_size=world_size)
        sampler.set_epoch(4)
        sampler.first_item = first_item
        assert len(sampler) == 16 // world_size  # of an epoch, wherever it begins
        return [(int(index), index.epoch, index.batch) for index in sampler]

    for first in (0, 2, 6):
        assert epoch(first) == epoch(0)[first:]


def test_empty_data_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        EpochSampler(0)


def test_a_loop_over_all_items_ends() -> None:
    made = dataset(items=3)
    assert [item["index"] for item in made] == [0, 1, 2]
    assert made[-1]["index"] == 2
    with pytest.raises(IndexError):
        made[3]
