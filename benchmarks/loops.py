"""The same training twice: by stock MONAI with our parts, and as a bare loop; and how both are timed."""

from __future__ import annotations

import copy
import io
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler

from monai_segdiff.diffusion import Parameterization
from monai_segdiff.engines import SegDiffusionPrepareBatch
from monai_segdiff.handlers import (
    ExponentialMovingAverage,
    GradientClipping,
    ImagesProgressBar,
    ReproducibleRun,
    StopOnNonFiniteLoss,
)
from monai_segdiff.inferers import AutocastInferer

__all__ = ["BareLoop", "InMemoryLoader", "interleaved", "random_batches", "seconds", "stock_trainer"]

_LEARNING_RATE = 1e-4
_MAX_NORM = 1.0
_MOMENTUM = 2e-4

Batch = dict[str, torch.Tensor]


class InMemoryLoader:
    """Batches that are ready, so that nothing but the loop is timed.

    Args:
        batches: at least one, of one size.
    """

    drop_last = True

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.dataset = list(batches)
        self.batch_size = len(batches[0]["image"])
        self.sampler = range(self.batch_size * len(batches))

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.dataset)


def random_batches(
    number: int, batch_size: int, channels: int, shape: Sequence[int], device: torch.device
) -> list[Batch]:
    """Batches of random images with random conditions.

    Args:
        number: how many.
        batch_size: images in each.
        channels: channels of the condition.
        shape: spatial shape.
        device: where they lie.
    """
    return [
        {
            "image": torch.rand(batch_size, 1, *shape, device=device) * 2 - 1,
            "label": torch.randn(batch_size, channels, *shape, device=device).sign(),
        }
        for _ in range(number)
    ]


def stock_trainer(
    network: torch.nn.Module,
    called: Any,
    parameterization: Parameterization,
    loader: InMemoryLoader,
    device: torch.device,
    amp_dtype: str | None = None,
    seed: int = 0,
) -> SupervisedTrainer:
    """MONAI's trainer with all that our bundles attach to every iteration; one epoch a run.

    Args:
        network: the network, whose weights are trained and averaged.
        called: the network as it is called: itself, or compiled.
        parameterization: what it predicts.
        loader: the batches.
        device: where it lies.
        amp_dtype: type of autocast, or None.
        seed: of the noise.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 500))
    return SupervisedTrainer(
        device=device,
        max_epochs=1,
        train_data_loader=loader,
        network=called,
        optimizer=optimizer,
        loss_function=torch.nn.MSELoss(),
        inferer=AutocastInferer(amp_dtype),
        prepare_batch=SegDiffusionPrepareBatch(parameterization),
        optim_set_to_none=True,
        decollate=False,
        train_handlers=[
            ReproducibleRun(seed, loader),
            StopOnNonFiniteLoss(),
            GradientClipping(_MAX_NORM),
            LrScheduleHandler(scheduler, print_lr=False, epoch_level=False),
            ExponentialMovingAverage(network, momentum=_MOMENTUM),
            ImagesProgressBar(file=io.StringIO()),
        ],
    )


class BareLoop:
    """What has to be done for a training step, and nothing else: loss, clipping, AdamW, moving average.

    Args:
        network: the network.
        loss: loss of a batch.
        loader: the batches.
    """

    def __init__(self, network: torch.nn.Module, loss: Callable[[Batch], torch.Tensor], loader: InMemoryLoader) -> None:
        self.network = network
        self.average = copy.deepcopy(network)
        self.loss = loss
        self.loader = loader
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE)

    def run(self) -> None:
        """Train one epoch."""
        self.network.train()
        for batch in self.loader:
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(batch).backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), _MAX_NORM)
            self.optimizer.step()
            with torch.no_grad():
                for mean, weight in zip(self.average.parameters(), self.network.parameters(), strict=True):
                    mean.mul_(1 - _MOMENTUM).add_(weight, alpha=_MOMENTUM)


def seconds(function: Callable[[], Any], device: torch.device) -> float:
    """Wall-clock time of a call, a GPU's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def interleaved(functions: dict[str, Callable[[], Any]], runs: int, device: torch.device) -> dict[str, list[float]]:
    """Times of several functions, run in turn so that whatever else the machine does meets all of them alike.

    Args:
        functions: by name; each is called once more before, to warm up.
        runs: timed calls of each.
        device: where they work.

    Returns:
        Wall-clock seconds of every timed call, by name.
    """
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(runs):
        # the order turns round, because the first of a pair may meet a colder cache
        for name in list(functions)[:: 1 if turn % 2 == 0 else -1]:
            times[name].append(seconds(functions[name], device))
    return times


def median_ratio(times: dict[str, list[float]], over: str, under: str) -> tuple[float, float, float]:
    """Medians of two functions and their ratio."""
    first, second = statistics.median(times[over]), statistics.median(times[under])
    return first, second, first / second
