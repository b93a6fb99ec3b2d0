"""Training state on disk: written whole, and continued from bit for bit."""

from __future__ import annotations

import logging
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from monai_segdiff.files import atomic_file, remove_leftovers

__all__ = ["ResumeCheckpoint"]

logger = logging.getLogger(__name__)

_COUNTERS = "trainer"
_SETTINGS = "settings"


class ResumeCheckpoint:
    """Save the state of a training every few epochs, and continue from the newest state when it starts.

    Running a training again is all there is to resuming it. Where every draw is a function of counters
    (:class:`monai_segdiff.handlers.ReproducibleRun`), a training that was killed at any moment and run again ends with
    the weights, bit for bit, of one that was not. One that was complete has nothing left to do, unless ``max_epochs``
    has grown.

    Files are called ``checkpoint_epoch=<n>.pt``, hold tensors and plain types only, and are written under a
    temporary name and renamed; old ones go after the new one is complete. (MONAI's ``CheckpointSaver`` writes in place
    and removes the old file first, so that a kill can leave nothing.) The state is saved after all other handlers
    of the epoch, so their order in a configuration does not matter. In a parallel run rank 0 writes, and all ranks
    read; the folder must be shared.

    Args:
        directory: folder of the checkpoints.
        objects: what to save besides the trainer's counters (and the scaler of mixed precision), by name: objects with
            ``state_dict`` and ``load_state_dict``, such as network, moving average, optimizer and schedule.
        settings: plain values that must not change from run to run, such as the seed and what the network is; kept in
            the checkpoint and compared, a mapping by its entries.
        interval: epochs between checkpoints, at least 1; the last epoch is saved in any case.
        keep: how many of the newest checkpoints stay, at least 1.

    Raises:
        ValueError: for an interval or number below 1 or a reserved name; on start, if the newest checkpoint
            belongs to another network or optimizer, or was made with other settings.
        OSError: on start, if the folder cannot be written; on saving, if the disk is full; earlier checkpoints stay.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        objects: Mapping[str, Any],
        settings: Mapping[str, Any] | None = None,
        interval: int = 1,
        keep: int = 2,
    ) -> None:
        if interval < 1 or keep < 1:
            raise ValueError(f"interval and keep must be at least 1, not {interval} and {keep}")
        if reserved := {_COUNTERS, _SETTINGS, "scaler"} & set(objects):
            raise ValueError(f"the names {sorted(reserved)} are reserved: call these objects otherwise")
        self.directory = Path(directory)
        self.objects = {name: _unwrapped(value) for name, value in objects.items()}
        self.settings = _plain(settings or {})
        self.interval = interval
        self.keep = keep
        self._saved_iteration = -1

    def attach(self, engine: Engine) -> None:
        """Save and resume a trainer.

        Args:
            engine: a ``SupervisedTrainer`` that has not started.
        """
        engine.add_event_handler(Events.STARTED, self.resume)
        engine.add_event_handler(Events.STARTED, self._attach_saving)

    def _attach_saving(self, engine: Engine) -> None:
        # only now, so that saving comes after whatever else changes the state at the end of an epoch
        if not engine.has_event_handler(self.save):
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self.save)
            engine.add_event_handler(Events.COMPLETED, self.save)

    def files(self) -> list[Path]:
        """The complete checkpoints in the folder, oldest first."""
        numbered = []
        for path in self.directory.glob("checkpoint_epoch=*.pt"):
            if match := re.fullmatch(r"checkpoint_epoch=(\d+)\.pt", path.name):
                numbered.append((int(match.group(1)), path))
        return [path for _, path in sorted(numbered)]

    def save(self, engine: Engine) -> None:
        """Write a checkpoint, unless this iteration has one, and remove those that are too old.

        Args:
            engine: the trainer, at the end of an epoch.
        """
        state = engine.state
        mid_epoch = state.iteration % state.epoch_length != 0  # where a handler ended the run early
        if idist.get_rank() != 0 or state.iteration == self._saved_iteration or mid_epoch:
            return
        counters = {"epoch": state.epoch, "iteration": state.iteration, "epoch_length": state.epoch_length}
        content = {name: value.state_dict() for name, value in self._all_objects(engine).items()}
        with atomic_file(self.directory / f"checkpoint_epoch={state.epoch}.pt") as temporary:
            torch.save({_COUNTERS: counters, _SETTINGS: self.settings, **content}, temporary)
        self._saved_iteration = state.iteration
        for path in self.files()[: -self.keep]:
            path.unlink(missing_ok=True)

    def resume(self, engine: Engine) -> None:
        """Load the newest checkpoint, if there is one.

        Args:
            engine: the trainer.
        """
        if idist.get_rank() == 0:
            _check_writable(self.directory)
            remove_leftovers(self.directory)
        if found := self._newest_readable():
            self._load(engine, *found)
        iterations = idist.all_gather(engine.state.iteration)
        if isinstance(iterations, list) and len(set(iterations)) > 1:
            raise ValueError(f"ranks found different checkpoints in '{self.directory}': the folder must be shared")

    def _all_objects(self, engine: Engine) -> dict[str, Any]:
        return self.objects if engine.scaler is None else {**self.objects, "scaler": engine.scaler}

    def _newest_readable(self) -> tuple[Path, dict[str, Any]] | None:
        files = self.files()
        for path in reversed(files):
            try:
                return path, torch.load(path, map_location="cpu", weights_only=True)
            except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
                # An older one leads to the same result, later.
                logger.warning(f"'{path}' is not a readable checkpoint ({error}); trying the one before")
        if files:
            raise ValueError(
                f"no checkpoint in '{self.directory}' can be read, not even '{files[0]}': "
                "remove these files to start anew"
            )
        return None

    def _load(self, engine: Engine, path: Path, checkpoint: dict[str, Any]) -> None:
        objects = self._all_objects(engine)
        remedy = "configure the training as when the file was written, or give another folder to start anew"
        if set(checkpoint) != {_COUNTERS, _SETTINGS, *objects}:
            held = sorted(set(checkpoint) - {_COUNTERS, _SETTINGS})
            raise ValueError(f"'{path}' holds {held}, this training has {sorted(objects)}: {remedy}")
        counters = checkpoint[_COUNTERS]
        if counters["epoch_length"] != engine.state.epoch_length:
            raise ValueError(
                f"'{path}' counts {counters['epoch_length']} iterations an epoch, this training "
                f"{engine.state.epoch_length}; data, batch size or number of processes differ: {remedy}"
            )
        if changed := _changed(checkpoint[_SETTINGS], self.settings):
            raise ValueError(f"'{path}' was made with another {' and '.join(changed)} than this training has: {remedy}")
        for name, value in objects.items():
            try:
                value.load_state_dict(checkpoint[name])
            except (RuntimeError, ValueError, KeyError) as error:
                details = " ".join(str(error).split())[:400]
                raise ValueError(f"'{path}' has another '{name}' than this training: {remedy}. {details}") from error
        engine.state.epoch = counters["epoch"]
        engine.state.iteration = self._saved_iteration = counters["iteration"]
        logger.info(f"continuing after epoch {counters['epoch']} of {engine.state.max_epochs} from '{path}'")


def _unwrapped(value: Any) -> Any:
    """The network inside a parallel wrapper, so that its file fits a network without one."""
    parallel = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
    return value.module if isinstance(value, parallel) else value


def _plain(value: Any) -> Any:
    """Mappings and sequences as the dictionaries and lists that YAML knows."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a training says otherwise than a checkpoint; ``model.channels`` is an entry of a mapping."""
    changed = []
    for name, value in now.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            changed += [f"{name}.{entry}" for entry, new in value.items() if entry not in old or old[entry] != new]
        elif old != value:
            changed.append(name)
    return changed


def _check_writable(directory: Path) -> None:
    """Fail before the first epoch, not after it."""
    with atomic_file(directory / ".writable") as temporary:
        temporary.touch()
    (directory / ".writable").unlink()
