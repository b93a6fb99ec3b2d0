"""A small training on stock MONAI engines with all of our handlers, which tests start, kill and continue."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.metrics import Loss
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, ValidationHandler, from_engine
from monai.inferers import SimpleInferer
from monai.transforms import RandFlipd, RandShiftIntensityd
from torch import nn

from monai_segdiff.data.seeded import EpochSampler, SeededCacheDataset
from monai_segdiff.diffusion import EDM
from monai_segdiff.engines import SegDiffusionPrepareBatch
from monai_segdiff.handlers import (
    ExponentialMovingAverage,
    ExportWeights,
    GradientClipping,
    ReproducibleRun,
    ResumeCheckpoint,
    StopOnNonFiniteLoss,
)


class ToyNetwork(nn.Module):
    """A denoiser of two convolutions, with dropout so that training draws random numbers inside the network too."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.first = nn.Conv2d(1 + 2 + 1, width, 3, padding=1)
        self.last = nn.Conv2d(width, 1, 3, padding=1)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        time = timesteps.view(-1, 1, 1, 1).expand_as(x)
        hidden = torch.nn.functional.silu(self.first(torch.cat([x, condition, time], dim=1)))
        return self.last(self.dropout(hidden))


def discs(number: int) -> SeededCacheDataset:
    """Discs of several sizes and places, flipped and shifted in intensity by chance in each epoch."""
    items = []
    for index in range(number):
        y, x = torch.meshgrid(torch.arange(14.0), torch.arange(14.0), indexing="ij")
        disc = ((y - 4 - index % 5) ** 2 + (x - 6) ** 2 < (2 + index % 3) ** 2).float()[None]
        items.append({"image": disc * 1.2 - 0.8, "label": torch.cat([disc, 1 - disc]) * 2 - 1})
    flip = RandFlipd(["image", "label"], prob=0.5, spatial_axis=0)
    shift = RandShiftIntensityd("image", offsets=0.2, prob=1.0)
    return SeededCacheDataset(items, [flip, shift], seed=5, progress=False)


@dataclass
class ToyTraining:
    """A training that is ready to run."""

    trainer: SupervisedTrainer
    evaluator: SupervisedEvaluator
    network: nn.Module
    ema: ExponentialMovingAverage
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler

    def state(self) -> dict[str, torch.Tensor]:
        """All tensors and numbers that training has changed, by name."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.network.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
        tensors["learning rate"] = torch.tensor(self.scheduler.get_last_lr(), dtype=torch.float64)
        return {name: value.detach().clone() for name, value in tensors.items()}


def build_training(
    directory: Path | str,
    epochs: int,
    num_workers: int = 0,
    width: int = 48,
    keep: int = 2,
    interval: int = 1,
    size: int = 12,
    rank: int = 0,
    world_size: int = 1,
    validate: bool = True,
    objects: dict[str, Any] | None = None,
) -> ToyTraining:
    """Build a training whose checkpoints are in `directory`."""
    torch.manual_seed(0)
    directory = Path(directory)
    network = ToyNetwork(width)
    wrapped = nn.parallel.DistributedDataParallel(network) if world_size > 1 else network
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=10)
    ema = ExponentialMovingAverage(wrapped)
    prepare_batch = SegDiffusionPrepareBatch(EDM())
    sampler = EpochSampler(size, seed=7, rank=rank, world_size=world_size)
    loader = torch.utils.data.DataLoader(discs(size), batch_size=4, sampler=sampler, num_workers=num_workers)
    validation_loader = torch.utils.data.DataLoader(discs(4), batch_size=2)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=validation_loader,
        network=ema.network,
        prepare_batch=prepare_batch,
        inferer=SimpleInferer(),
        key_val_metric={"loss": Loss(nn.MSELoss(), output_transform=from_engine(["pred", "label"]))},
        val_handlers=[ReproducibleRun(1, validation_loader, same_every_run=True)],
        decollate=False,
    )
    saved = {"network": wrapped, "ema": ema, "optimizer": optimizer, "lr_scheduler": scheduler}
    handlers = [
        # before the schedule on purpose: the order of handlers shall not matter
        ResumeCheckpoint(directory, objects or saved, interval=interval, keep=keep),
        ReproducibleRun(0, loader),
        LrScheduleHandler(scheduler, print_lr=False, epoch_level=False),
        GradientClipping(1.0),
        StopOnNonFiniteLoss(),
        ema,
        ExportWeights(ema.network, directory / "models" / "model.pt"),
    ]
    if validate:
        handlers.append(ValidationHandler(1, evaluator))
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=loader,
        network=wrapped,
        optimizer=optimizer,
        loss_function=nn.MSELoss(),
        prepare_batch=prepare_batch,
        inferer=SimpleInferer(),
        train_handlers=handlers,
        decollate=False,
    )
    return ToyTraining(trainer, evaluator, network, ema, optimizer, scheduler)


def run_in_process(directory: str, epochs: int, num_workers: int, kill_in_save: int = 0) -> None:
    """Train in a process of its own; write the final state to `directory`/state.pt.

    With `kill_in_save` the process dies of SIGKILL half-way through that call of torch.save.
    """
    torch.set_num_threads(1)
    training = build_training(directory, epochs, num_workers)
    if kill_in_save:
        _die_in_save(kill_in_save)
    training.trainer.run()
    torch.save(training.state(), Path(directory) / "state.pt")


def _die_in_save(number: int) -> None:
    original, calls = torch.save, []

    def save_half(content: Any, file: Any) -> None:
        calls.append(content)
        original(content, file)
        if len(calls) == number:
            os.truncate(file, os.path.getsize(file) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save_half
