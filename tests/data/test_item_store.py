from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from monai.transforms import Identityd, MapTransform, RandGaussianNoised, ScaleIntensityRanged

from monai_segdiff.data import EpochSampler, SeededCacheDataset, item_store
from monai_segdiff.data.seeded import EpochIndex


class Load(MapTransform):
    """A file of bytes as an image; counts what it has read."""

    read: ClassVar[list[str]] = []

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        Load.read.append(Path(data["image"]).name)
        pixels = torch.tensor(list(Path(data["image"]).read_bytes()), dtype=torch.float32)
        return {**data, "image": pixels[None], "findings": ["mass"]}


@pytest.fixture
def items(tmp_path: Path) -> list[dict[str, Any]]:
    Load.read = []
    files = [tmp_path / f"{n}.bin" for n in range(6)]
    for n, file in enumerate(files):
        file.write_bytes(bytes(range(n, n + 64)))
    return [{"image": str(file), "case": file.name, "index": n} for n, file in enumerate(files)]


def opened(items: list[dict[str, Any]], top: float = 100.0, **options: Any) -> SeededCacheDataset:
    scale = ScaleIntensityRanged("image", 0.0, top, -1.0, 1.0)
    return SeededCacheDataset(
        items,
        [Load("image"), scale, Identityd("image"), RandGaussianNoised("image", prob=1.0)],
        3,
        progress=False,
        **options,
    )


def epochs(dataset: SeededCacheDataset) -> list[dict[str, Any]]:
    sampler = EpochSampler(len(dataset), seed=2)
    made = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        made += [dataset[index] for index in sampler]
    return made


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    return all(
        torch.equal(a["image"], b["image"]) and {**a, "image": 0} == {**b, "image": 0}
        for a, b in zip(one, other, strict=True)
    )


def test_where_items_are_kept_makes_no_difference(items: list[dict[str, Any]], tmp_path: Path) -> None:
    in_memory = epochs(opened(items))
    read = len(Load.read)
    assert same(in_memory, epochs(opened(items, memory=100)))  # nowhere
    assert len(Load.read) - read == 1 + 12
    on_disk = opened(items, memory=100, cache_dir=tmp_path / "cache")
    read = len(Load.read)
    assert same(in_memory, epochs(on_disk))
    assert len(Load.read) - read == 6  # each once
    again = pickle.loads(pickle.dumps(opened(items, memory=100, cache_dir=tmp_path / "cache")))  # as another process
    read = len(Load.read)
    assert same(in_memory, epochs(again))
    assert len(Load.read) == read
    assert not list((tmp_path / "cache").rglob(".tmp-*"))


def test_other_content_and_other_transforms_are_made_anew(items: list[dict[str, Any]], tmp_path: Path) -> None:
    options: dict[str, Any] = {"memory": 100, "cache_dir": tmp_path / "cache"}
    first = epochs(opened(items, **options))
    Path(items[4]["image"]).write_bytes(bytes(64))
    os.utime(items[4]["image"], ns=(5, 5))
    assert same(epochs(opened(items, **options)), epochs(opened(items)))
    assert not same(epochs(opened(items, **options)), first)
    assert same(epochs(opened(items, top=50.0, **options)), epochs(opened(items, top=50.0)))


@pytest.mark.parametrize("damage", [b"", b"segdiff1", b"garbage", None])
def test_an_entry_that_is_not_whole_is_not_read(
    items: list[dict[str, Any]], tmp_path: Path, damage: bytes | None
) -> None:
    options: dict[str, Any] = {"memory": 100, "cache_dir": tmp_path / "cache"}
    expected = epochs(opened(items, **options))
    files = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert len(files) == 6
    for file in files:
        content = bytearray(file.read_bytes())
        content[-20] ^= 1
        file.write_bytes(content if damage is None else damage)
    assert same(epochs(opened(items, **options)), expected)
    read = len(Load.read)
    assert same(epochs(opened(items, **options)), expected)
    assert len(Load.read) == read + 1  # mended; the first item is made to see what is stored


def test_a_full_disk_is_said_once_and_stops_nothing(
    items: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = opened(items, memory=100, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(item_store, "_RESERVE", 2**70)
    with pytest.warns(UserWarning, match=r"no more images are cached.*free some space, or choose.*cache_dir") as caught:
        found = epochs(dataset)
    assert len(caught) == 1
    assert same(found, epochs(opened(items)))


def test_a_folder_that_cannot_be_written_to_is_said(items: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match=r"images are not cached in .*choose another folder \(cache_dir\)"):
        dataset = opened(items, memory=100, cache_dir=tmp_path / "file")
    assert same(epochs(dataset), epochs(opened(items)))


def test_the_batch_governs_what_is_kept_on_disk_too(items: list[dict[str, Any]], tmp_path: Path) -> None:
    options: dict[str, Any] = {"memory": 100, "cache_dir": tmp_path / "cache", "draw_per_batch": True}
    index = EpochIndex(2, 1, 5)
    assert torch.equal(opened(items, **options)[index]["image"], opened(items, draw_per_batch=True)[index]["image"])
