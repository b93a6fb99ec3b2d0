"""Random draws that depend on counters, not on what ran before."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from monai_segdiff.data.seeded import EpochSampler
from monai_segdiff.diffusion import mix_seed

__all__ = ["ReproducibleRun"]


class ReproducibleRun:
    """Make every random draw of a run a function of (seed, rank, epoch, iteration).

    A resumed training then needs its counters only, not stored random states, to go on bit for bit: at the start of
    an epoch the epoch goes to the sampler and the data set (where they have ``set_epoch``), and PyTorch's default
    generators are seeded anew at the start of every epoch, for data workers, and of every iteration, for noise levels,
    noise and dropout. Ranks draw different numbers.

    When the run ends the generators are put back to where they were, so a validation inside a training does not
    disturb it. With ``same_every_run`` the epoch plays no part: an evaluator then measures the same noise on the same
    levels each time, and its mean loss can be compared from epoch to epoch.

    Args:
        seed: seed of the run.
        loader: the data loader that the engine iterates over; its sampler and data set follow the epoch.
        same_every_run: leave the epoch out, for evaluators.

    Raises:
        ValueError: on start, if an epoch of the engine is not one pass over the loader, or if the loader keeps
            workers that would go on with the first epoch.
    """

    def __init__(self, seed: int, loader: Any, same_every_run: bool = False) -> None:
        self.seed = seed
        self.loader = loader
        self.same_every_run = same_every_run
        self._rank = 0
        self._states: list[torch.Tensor] = []

    def attach(self, engine: Engine) -> None:
        """Follow an engine.

        Args:
            engine: a trainer or an evaluator.
        """
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.EPOCH_STARTED, self._epoch_started)
        engine.add_event_handler(Events.ITERATION_STARTED, self._iteration_started)
        engine.add_event_handler(Events.COMPLETED, self._completed)

    def _started(self, engine: Engine) -> None:
        self._check_loader(engine)
        self._rank = idist.get_rank()
        self._states = [torch.get_rng_state()]
        if torch.cuda.is_available():
            self._states += torch.cuda.get_rng_state_all()

    def _check_loader(self, engine: Engine) -> None:
        if engine.state.epoch_length != len(self.loader):
            raise ValueError(
                f"an epoch is {engine.state.epoch_length} iterations but the loader yields {len(self.loader)} batches: "
                "leave the engine's epoch_length at its default and set the epoch's length in the sampler"
            )
        keeps_workers = getattr(self.loader, "persistent_workers", False) and hasattr(self.loader.dataset, "set_epoch")
        if keeps_workers and not isinstance(self.loader.sampler, EpochSampler):
            raise ValueError(
                "workers that stay on never see a new epoch: set persistent_workers=False on the loader, "
                "or use an EpochSampler, whose indices bring the epoch with them"
            )

    def _epoch_started(self, engine: Engine) -> None:
        epoch = 0 if self.same_every_run else engine.state.epoch
        for part in (self.loader.sampler, self.loader.dataset):
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)
        # a fourth number keeps this seed apart from those of the iterations
        torch.manual_seed(mix_seed(self.seed, self._rank, epoch, 0))

    def _iteration_started(self, engine: Engine) -> None:
        torch.manual_seed(mix_seed(self.seed, self._rank, engine.state.iteration))

    def _completed(self, engine: Engine) -> None:
        torch.set_rng_state(self._states[0])
        if len(self._states) > 1:
            torch.cuda.set_rng_state_all(self._states[1:])
