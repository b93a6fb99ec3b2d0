"""Training the segmenter on the real training cases, once per data set."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.losses import DiceCELoss
from monai.transforms import Transform
from torch.utils.data import RandomSampler

from monai_segdiff.data import Case
from monai_segdiff.evaluation.augmentation import AugmentedBatch
from monai_segdiff.evaluation.pairs import PairReader
from monai_segdiff.evaluation.segmenter import Segmenter, TrainedSegmenter, load_segmenter, save_segmenter
from monai_segdiff.handlers import ImagesProgressBar

__all__ = ["open_segmenter", "segmenter_images", "train_segmenter"]

_LEARNING_RATE = 4e-3
_BATCH = {2: 16, 3: 4}
_MEMORY = 2**30  # bytes of training images kept in memory; the rest is read again each time
_PIXELS = 65_536_000  # what the default training sees: 16,000 images of 64x64
_FEWEST = {2: 4000, 3: 1000}


def segmenter_images(spatial_shape: Sequence[int]) -> int:
    """Default length of the training in images seen: about as many pixels for every size, within limits."""
    return min(max(_PIXELS // math.prod(spatial_shape), _FEWEST[len(spatial_shape)]), 16_000)


def open_segmenter(
    file: str | Path | None,
    cases: Sequence[Case],
    reader: PairReader,
    images: int | None = None,
    seed: int = 0,
    *,
    cache_dir: str | Path,
    progress: bool = True,
) -> Segmenter:
    """Load the segmenter that the user gives, or train one.

    Args:
        file: as for `load_segmenter`; None to train.
        cases: as for `train_segmenter`, and so the others.
        reader: reads them.
        images: length of the training in images seen.
        seed: of the training.
        cache_dir: folder of trained segmenters.
        progress: whether to show a progress bar.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or there are no cases to train on.
    """
    if file is not None:
        return load_segmenter(file, list(reader.classes))
    return train_segmenter(cases, reader, images, seed, cache_dir=cache_dir, progress=progress)


def train_segmenter(
    cases: Sequence[Case],
    reader: PairReader,
    images: int | None = None,
    seed: int = 0,
    *,
    cache_dir: str | Path,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Segmenter:
    """Train a small U-Net to segment, or take it from the cache.

    The same cases, settings and seed give the same segmenter (on one machine with one number of threads), kept under
    the hash of file contents and settings.

    Args:
        cases: real training cases; nothing else is seen.
        reader: reads them.
        images: length of the training in images seen; default: as `segmenter_images` says.
        seed: of weights, order and augmentation.
        cache_dir: folder of trained segmenters.
        device: where to train; default: a GPU where there is one.
        progress: whether to show a progress bar.

    Returns:
        The segmenter, on the CPU.

    Raises:
        ValueError: if there are no cases, or a file is not as it should be.
    """
    if not cases:
        raise ValueError(
            "the segmenter needs real training cases: give the data set a training split, or a segmenter file"
        )
    first = reader(cases[0])
    shape = tuple(first.image.shape[1:])
    network: dict[str, Any] = {
        "classes": list(reader.classes),
        "spatial_dims": len(shape),
        "image_channels": first.image.shape[0],
        "levels": TrainedSegmenter.levels_for(shape),
    }
    images = segmenter_images(shape) if images is None else images
    settings = {**network, "images": images, "seed": seed, "intensity_range": reader.key, "recipe": 1}
    name = f"segmenter-{_hash(cases, settings, list(reader.classes.values()))[:16]}.pt"
    file = Path(cache_dir) / name
    if file.is_file():
        return load_segmenter(file, list(reader.classes))

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        segmenter = TrainedSegmenter(**network)
        _train(segmenter, cases, reader, first.image.numel(), images, seed, device, progress)
    try:
        save_segmenter(segmenter, file)
    except OSError as error:
        warnings.warn(f"the segmenter is not kept for the next run: {error}", stacklevel=2)
    return segmenter


class _ReadPair(Transform):
    """Reads a training case. A plain function would do, but MONAI keeps in memory only what transforms give."""

    def __init__(self, reader: PairReader) -> None:
        self.reader = reader

    def __call__(self, case: Case) -> dict[str, torch.Tensor]:
        pair = self.reader(case)
        if not torch.isfinite(pair.image).all():
            raise ValueError(f"{case.image} holds NaN or infinite values: repair or remove this training case")
        return {"image": pair.image, "label": pair.mask.to(torch.uint8)}


def _train(
    segmenter: TrainedSegmenter,
    cases: Sequence[Case],
    reader: PairReader,
    pixels: int,
    images: int,
    seed: int,
    device: str | torch.device | None,
    progress: bool,
) -> None:
    kept = max(_MEMORY // (5 * pixels), 1)
    dataset = CacheDataset(cases, _ReadPair(reader), cache_num=kept, num_workers=1, copy_cache=False, progress=False)
    batch_size = min(_BATCH[segmenter.settings["spatial_dims"]], len(cases))
    generator = torch.Generator().manual_seed(seed)
    sampler = RandomSampler(dataset, num_samples=max(images, batch_size), generator=generator)
    # A batch of one image would leave batch normalization without statistics in the deepest level.
    loader = DataLoader(dataset, batch_size=batch_size, sampler=sampler, drop_last=True)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    segmenter.to(device).train()
    optimizer = torch.optim.AdamW(segmenter.parameters(), lr=_LEARNING_RATE, weight_decay=1e-4, fused=True)
    # Of ten steps, the warm-up would be of no length, by which PyTorch divides.
    steps = max(len(loader), 20)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps, pct_start=0.1)
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=1,
        train_data_loader=loader,
        network=segmenter,
        optimizer=optimizer,
        loss_function=DiceCELoss(include_background=False, to_onehot_y=True, softmax=True),
        prepare_batch=AugmentedBatch(),
        train_handlers=[LrScheduleHandler(schedule, print_lr=False, epoch_level=False)],
    )
    if progress:
        ImagesProgressBar(desc="segmenter").attach(trainer)
    trainer.run()
    segmenter.cpu().eval()


def _hash(cases: Sequence[Case], settings: dict[str, Any], ids: list[tuple[int, ...]]) -> str:
    digest = hashlib.sha256(json.dumps([settings, ids], sort_keys=True).encode())
    for case in cases:
        for file in (case.image, case.label):
            if file is not None:
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
