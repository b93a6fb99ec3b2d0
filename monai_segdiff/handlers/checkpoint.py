"""Training state on disk: written whole, and continued from bit for bit."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from monai_segdiff.errors import UnreadableFileError, one_line
from monai_segdiff.files import atomic_file
from monai_segdiff.handlers.checkpoint_content import COUNTERS, SETTINGS, check_content, read_checkpoint
from monai_segdiff.handlers.images_seen import images_per_epoch, images_seen
from monai_segdiff.handlers.interruption import Interruption, leave
from monai_segdiff.handlers.run_end import at_end, claim_for_run
from monai_segdiff.networks.card_entries import plain
from monai_segdiff.networks.weights import unwrapped_network

__all__ = ["ResumeCheckpoint"]

logger = logging.getLogger(__name__)

_NAME = re.compile(r"checkpoint_epoch=(\d+)(?:_iteration=(\d+))?\.pt")


class ResumeCheckpoint:
    """Save the state of a training every few epochs, and continue from the newest state when it starts.

    Running a training again is all there is to resuming it. Where every draw is a function of counters
    (:class:`monai_segdiff.handlers.ReproducibleRun`), a training that was killed at any moment and run again ends with
    the weights, bit for bit, of one that was not. One that was complete has nothing left to do, unless ``max_epochs``
    has grown.

    Ctrl-C (SIGINT) and SIGTERM let the step that is running end, save the state, say so in one line, and end the
    process with exit code 130 or 143. At the end of an epoch its validation and pictures are waited for; a second
    signal ends the process at once. Within an epoch a state can be saved where the loader's sampler can start within
    one (:class:`monai_segdiff.data.EpochSampler`); otherwise the training goes on from the last epoch.

    Files are called ``checkpoint_epoch=<n>.pt``, and within an epoch ``checkpoint_epoch=<n>_iteration=<i>.pt``, where n
    epochs are complete. They hold tensors and plain types only, and are written under a temporary name and renamed; old
    ones go after the new one is complete. (MONAI's ``CheckpointSaver`` writes in place and removes the old file first,
    so that a kill can leave nothing.) The state is saved after all other handlers of the epoch, so their order in a
    configuration does not matter. In a parallel run rank 0 writes, and all ranks read; the folder must be shared. Of
    two trainings at once on one folder the second is refused.

    Args:
        directory: folder of the checkpoints.
        objects: what to save besides the trainer's counters (and the scaler of mixed precision), by name: objects with
            ``state_dict`` and ``load_state_dict``, such as network, moving average, optimizer and schedule.
        settings: plain values that must not change from run to run, such as the seed, what the network is and the
            digest of the data; kept in the checkpoint and compared, a mapping by its entries.
        interval: epochs between checkpoints, at least 1; the last epoch is saved in any case.
        keep: how many of the newest checkpoints stay, at least 1.
        closing: objects to close where a signal ends the training, such as TensorBoard's writer.

    Raises:
        ValueError: for an interval or number below 1 or a reserved name; on start, if the newest checkpoint
            belongs to another network or optimizer, was made with other settings, or holds values that are not finite.
        FileExistsError: on start, if another training has the folder.
        OSError: on start, if the folder cannot be written; on saving, if the disk is full; earlier checkpoints stay.
        SystemExit: when the training was stopped by a signal.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        objects: Mapping[str, Any],
        settings: Mapping[str, Any] | None = None,
        interval: int = 1,
        keep: int = 2,
        closing: Iterable[Any] = (),
    ) -> None:
        if interval < 1 or keep < 1:
            raise ValueError(f"interval and keep must be at least 1, not {interval} and {keep}")
        if reserved := {COUNTERS, SETTINGS, "scaler"} & set(objects):
            raise ValueError(f"the names {sorted(reserved)} are reserved: call these objects otherwise")
        self.directory = Path(directory)
        self.objects = {  # without parallel wrappers, so that the file fits a network that has none
            name: unwrapped_network(value) if isinstance(value, torch.nn.Module) else value
            for name, value in objects.items()
        }
        self.settings = plain(settings or {})
        self.interval = interval
        self.keep = keep
        self.closing = tuple(closing)
        self._saved_iteration = -1
        self._interruption = Interruption()
        self._stopped_by = 0

    def attach(self, engine: Engine) -> None:
        """Save and resume a trainer.

        Args:
            engine: a ``SupervisedTrainer`` that has not started.
        """
        engine.add_event_handler(Events.STARTED, self.resume)
        engine.add_event_handler(Events.STARTED, self._started)

    def _started(self, engine: Engine) -> None:
        # Only now, so that saving comes after whatever else changes the state.
        if not engine.has_event_handler(self.save):
            engine.add_event_handler(Events.EPOCH_STARTED, self._place_sampler)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._step_completed)
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self.save)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)
            engine.add_event_handler(Events.COMPLETED, self.save)
            engine.add_event_handler(Events.TERMINATE, self._leave)
        self._interruption.listen()
        at_end(engine, self._interruption.release)

    def files(self) -> list[Path]:
        """The complete checkpoints in the folder, oldest first."""
        numbered = []
        for path in self.directory.glob("checkpoint_epoch=*.pt"):
            if match := _NAME.fullmatch(path.name):
                numbered.append((int(match[1]), int(match[2] or 0), path))
        return [path for *_, path in sorted(numbered)]

    def save(self, engine: Engine) -> None:
        """Write a checkpoint, unless this iteration has one, and remove those that are too old.

        Args:
            engine: the trainer, at the end of an epoch.
        """
        if engine.state.iteration % engine.state.epoch_length == 0:  # otherwise a handler ended the run early
            self._write(engine)

    def _write(self, engine: Engine) -> None:
        state = engine.state
        if idist.get_rank() != 0 or state.iteration == self._saved_iteration:
            return
        epoch, within = divmod(state.iteration, state.epoch_length)
        counters = {"epoch": epoch, "iteration": state.iteration, "epoch_length": state.epoch_length}
        content = {name: value.state_dict() for name, value in self._all_objects(engine).items()}
        name = f"checkpoint_epoch={epoch}{f'_iteration={state.iteration}' if within else ''}.pt"
        with atomic_file(self.directory / name) as temporary:
            torch.save({COUNTERS: counters, SETTINGS: self.settings, **content}, temporary)
        self._saved_iteration = state.iteration
        for path in self.files()[: -self.keep]:
            path.unlink(missing_ok=True)

    def _place_sampler(self, engine: Engine) -> None:
        """Let the first epoch of a run that goes on within one leave out what was seen."""
        if _can_start_within(engine):
            seen = engine.state.iteration % engine.state.epoch_length
            engine.data_loader.sampler.first_item = seen * engine.data_loader.batch_size

    def _step_completed(self, engine: Engine) -> None:
        state = engine.state
        if state.iteration % state.epoch_length == 0:  # `_epoch_completed` follows, after the other handlers
            self._interruption.hint = f"stopping at the end of epoch {state.epoch} (once more: at once)"
            return
        self._interruption.hint = ""
        if number := self._interruption.wished():
            if _can_start_within(engine):
                self._write(engine)
            self._stop(engine, number)

    def _epoch_completed(self, engine: Engine) -> None:
        complete = engine.state.epoch >= engine.state.max_epochs
        if (number := self._interruption.wished()) and not complete:
            self._write(engine)
            self._stop(engine, number)

    def _stop(self, engine: Engine, number: int) -> None:
        self._stopped_by = number
        engine.terminate(skip_completed=True)

    def _leave(self, engine: Engine) -> None:
        """Say where the training is, and end the process."""
        if not self._stopped_by:
            return
        state = engine.state
        images = f"image {images_seen(engine):,} of {state.max_epochs * images_per_epoch(engine):,}"
        line = f"stopped at {images} (epoch {state.epoch} of {state.max_epochs}){self._kept(engine)}"
        leave(engine, self._stopped_by, line, self.closing)

    def _kept(self, engine: Engine) -> str:
        """What the last line says of the saved state."""
        if self._saved_iteration == engine.state.iteration:
            return ": run the same command again to go on"
        if not (files := self.files()):
            return ", nothing is saved: run the same command again to begin anew"
        return f", saved in {files[-1]} before: run the same command again to go on from there"

    def resume(self, engine: Engine) -> None:
        """Load the newest checkpoint, if there is one.

        Args:
            engine: the trainer.
        """
        self._stopped_by = 0
        if idist.get_rank() == 0:
            _check_writable(self.directory)
        claim_for_run(engine, self.directory)
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
                return path, read_checkpoint(path)
            except (UnreadableFileError, OSError) as error:
                # An older one leads to the same result, later.
                logger.warning(f"{one_line(error)}; trying the one before")
        if files:
            raise ValueError(
                f"no checkpoint in '{self.directory}' can be read, not even '{files[0]}': "
                "remove these files to start anew"
            )
        return None

    def _load(self, engine: Engine, path: Path, checkpoint: dict[str, Any]) -> None:
        objects, counters = self._all_objects(engine), checkpoint[COUNTERS]
        check_content(path, checkpoint, objects, self.settings, engine.state.epoch_length)
        epoch, within = divmod(counters["iteration"], counters["epoch_length"])
        if within and not _can_start_within(engine):
            raise ValueError(
                f"'{path}' was saved within an epoch, where this training's sampler cannot start: use an EpochSampler, "
                "or remove the file to go on from the one before"
            )
        for name, value in objects.items():
            try:
                value.load_state_dict(checkpoint[name])
            except (RuntimeError, ValueError, KeyError) as error:
                details = " ".join(str(error).split())[:400]
                raise ValueError(
                    f"'{path}' has another '{name}' than this training: configure the training as when the file was "
                    f"written, or give another folder to start anew. {details}"
                ) from error
        engine.state.epoch = epoch
        engine.state.iteration = self._saved_iteration = counters["iteration"]
        logger.info(_resuming(engine, path))


def _can_start_within(engine: Engine) -> bool:
    """Whether the sampler can leave out the first items of an epoch."""
    loader = engine.data_loader
    return hasattr(getattr(loader, "sampler", None), "first_item") and bool(loader.batch_size)


def _resuming(engine: Engine, path: Path) -> str:
    """Where a run goes on."""
    epoch, last = engine.state.epoch, engine.state.max_epochs
    if epoch >= last:
        return f"epoch {epoch} of {last} is complete in '{path}': nothing is left to train"
    within = engine.state.iteration % engine.state.epoch_length
    at = f" at image {images_seen(engine):,} of {last * images_per_epoch(engine):,}" if within else ""
    return f"resuming epoch {epoch + 1} of {last}{at}, from '{path}'"


def _check_writable(directory: Path) -> None:
    """Fail before the first epoch, not after it."""
    with atomic_file(directory / ".writable") as temporary:
        temporary.touch()
    (directory / ".writable").unlink()
