"""How the evaluation's own networks are trained: from real training cases, seeded, kept under the hash of these."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import CacheDataset, DataLoader
from monai.engines import PrepareBatch, SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.transforms import Transform
from torch import nn
from torch.utils.data import RandomSampler

from monai_segdiff.data import Case
from monai_segdiff.handlers import ImagesProgressBar

__all__ = ["data_hash", "default_images", "fit"]

_LEARNING_RATE = 4e-3
_BATCH = {2: 16, 3: 4}
_MEMORY = 2**30  # bytes of training images kept in memory; the rest is read again each time
_PIXELS = 65_536_000  # what the default training sees: 16,000 images of 64x64
_FEWEST = {2: 4000, 3: 1000}


def default_images(spatial_shape: Sequence[int]) -> int:
    """Default length of a training in images seen: about as many pixels for every size, within limits."""
    return min(max(_PIXELS // math.prod(spatial_shape), _FEWEST[len(spatial_shape)]), 16_000)


def fit(
    network: nn.Module,
    cases: Sequence[Case],
    read: Transform,
    spatial_shape: Sequence[int],
    loss: nn.Module,
    prepare_batch: PrepareBatch,
    images: int,
    seed: int,
    device: str | torch.device | None = None,
    bar: str | None = None,
) -> None:
    """Train a network; weights change in place, which end on the CPU, in evaluation mode.

    Args:
        network: what is trained.
        cases: at least two, for batch normalization.
        read: a case to what `prepare_batch` takes.
        spatial_shape: of the images.
        loss: of the network's output and the target.
        prepare_batch: a batch to input and target.
        images: length of the training in images seen.
        seed: of the order; augmentation draws from PyTorch's default generator.
        device: where to train; default: a GPU where there is one.
        bar: title of the progress bar; None for none.
    """
    kept = max(_MEMORY // (5 * math.prod(spatial_shape)), 1)
    dataset = CacheDataset(cases, read, cache_num=kept, num_workers=1, copy_cache=False, progress=False)
    batch_size = min(_BATCH[len(spatial_shape)], len(cases))
    generator = torch.Generator().manual_seed(seed)
    sampler = RandomSampler(dataset, num_samples=max(images, batch_size), generator=generator)
    # A batch of one image would leave batch normalization without statistics in the deepest level.
    loader = DataLoader(dataset, batch_size=batch_size, sampler=sampler, drop_last=True)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=1e-4, fused=True)
    # Of ten steps, the warm-up would be of no length, by which PyTorch divides.
    steps = max(len(loader), 20)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps, pct_start=0.1)
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=1,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        prepare_batch=prepare_batch,
        decollate=False,
        train_handlers=[LrScheduleHandler(schedule, print_lr=False, epoch_level=False)],
    )
    if bar is not None:
        ImagesProgressBar(desc=bar).attach(trainer)
    trainer.run()
    network.cpu().eval()


def data_hash(settings: Any, files: Iterable[Path | None]) -> str:
    """Name of what was trained with some settings, in JSON types, on the contents of some files; None is no file."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for file in files:
        if file is not None:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
