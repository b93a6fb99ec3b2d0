"""How the evaluation's own networks are trained: from real training cases, seeded, kept under the hash of these."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from monai.data import CacheDataset, DataLoader
from monai.engines import PrepareBatch, SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.transforms import Transform
from torch import nn
from torch.utils.data import RandomSampler

from monai_segdiff.data import Case
from monai_segdiff.evaluation.pairs import PairReader
from monai_segdiff.evaluation.readers.own_network import OwnNetwork
from monai_segdiff.evaluation.readers.segmenter import TrainedSegmenter
from monai_segdiff.handlers import ImagesProgressBar

__all__ = ["Training", "batch_of", "default_images", "fit", "load_or_train", "require_finite_case"]

_T = TypeVar("_T", bound=OwnNetwork)
_Loaded = TypeVar("_Loaded")

_LEARNING_RATE = 4e-3
_BATCH = {2: 16, 3: 4}
_MEMORY = 2**30  # bytes of training images kept in memory; the rest is read again each time
_PIXELS = 65_536_000  # what the default training sees: 16,000 images of 64x64
_FEWEST = {2: 4000, 3: 1000}


def default_images(spatial_shape: Sequence[int]) -> int:
    """Default length of a training in images seen: about as many pixels for every size, within limits."""
    return min(max(_PIXELS // math.prod(spatial_shape), _FEWEST[len(spatial_shape)]), 16_000)


def batch_of(spatial_dims: int, cases: int) -> int:
    """Images of a step of a training on so many cases."""
    return min(_BATCH[spatial_dims], cases)


@dataclass(frozen=True)
class Training:
    """How a network is trained, whatever it learns.

    Args:
        image_shape: (C, *spatial) of the images.
        wanted: length in images seen; None for `default_images`.
        seed: of weights, order and augmentation.
        device: where to train; None for a GPU where there is one.
        bar: title of the progress bar; None for none.
    """

    image_shape: tuple[int, ...]
    wanted: int | None
    seed: int
    device: str | torch.device | None
    bar: str | None

    @property
    def images(self) -> int:
        """Length in images seen."""
        return default_images(self.image_shape[1:]) if self.wanted is None else self.wanted

    @property
    def network(self) -> dict[str, Any]:
        """Settings of a network for images of this size."""
        channels, *shape = self.image_shape
        levels = TrainedSegmenter.levels_for(shape)
        return {"spatial_dims": len(shape), "image_channels": channels, "levels": levels}

    def settings(self, network: Mapping[str, Any], reader: PairReader) -> dict[str, Any]:
        """Settings of network, training and reader, in JSON types: all that the result depends on beside the files."""
        return {**network, "images": self.images, "seed": self.seed, "intensity_range": reader.key, "recipe": 1}


def load_or_train(
    name: str,
    settings: Any,
    files: Iterable[Path | None],
    train: Callable[[], _T],
    *,
    seed: int,
    load: Callable[[Path], _Loaded],
    cache_dir: str | Path,
) -> _T | _Loaded:
    """Take a network from the cache, or train it and keep it.

    The network is kept under the hash of file contents and settings. If it cannot be kept, there is only a warning.

    Args:
        name: its file begins with that.
        settings: what the training depends on beside the files, in JSON types.
        files: what it is trained on; None is no file.
        train: makes and trains it; whatever it draws is seeded, and leaves the random state of others alone.
        seed: of these draws.
        load: reads its file.
        cache_dir: folder of trained networks.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in files:
        if path is not None:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    file = Path(cache_dir) / f"{name}-{digest.hexdigest()[:16]}.pt"
    if file.is_file():
        return load(file)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = train()
    try:
        network.save(file)
    except OSError as error:
        warnings.warn(f"cannot keep {network.kind} for the next run: {error}", stacklevel=3)
    return network


def require_finite_case(image: torch.Tensor, case: Case) -> None:
    """Refuse a training case whose image is not finite, by a ValueError that names the file."""
    if not torch.isfinite(image).all():
        raise ValueError(f"{case.image} holds NaN or infinite values: repair or remove this training case")


def fit(
    network: nn.Module,
    cases: Sequence[Case],
    read: Transform,
    loss: nn.Module,
    prepare_batch: PrepareBatch,
    training: Training,
) -> None:
    """Train a network in place; it ends on the CPU, in evaluation mode.

    Args:
        network: what is trained.
        cases: at least two, for batch normalization.
        read: a case to what `prepare_batch` takes.
        loss: of the network's output and the target.
        prepare_batch: a batch to input and target; augmentation draws from PyTorch's default generator.
        training: how.
    """
    spatial_shape = training.image_shape[1:]
    kept = max(_MEMORY // (5 * math.prod(spatial_shape)), 1)
    dataset = CacheDataset(cases, read, cache_num=kept, num_workers=1, copy_cache=False, progress=False)
    batch_size = batch_of(len(spatial_shape), len(cases))
    generator = torch.Generator().manual_seed(training.seed)
    sampler = RandomSampler(dataset, num_samples=max(training.images, batch_size), generator=generator)
    # A batch of one image would leave batch normalization without statistics in the deepest level.
    loader = DataLoader(dataset, batch_size=batch_size, sampler=sampler, drop_last=True)
    device = torch.device(training.device or ("cuda" if torch.cuda.is_available() else "cpu"))
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
    if training.bar is not None:
        ImagesProgressBar(desc=training.bar).attach(trainer)
    trainer.run()
    network.cpu().eval()
