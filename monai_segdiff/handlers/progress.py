"""How far a training is, in images."""

from __future__ import annotations

import sys
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from tqdm import tqdm

from monai_segdiff.handlers.images_seen import images_per_epoch, images_seen
from monai_segdiff.handlers.run_end import at_end

__all__ = ["ImagesProgressBar"]

_LOGGED_EVERY = 10.0  # seconds


class ImagesProgressBar:
    """One bar for the whole training: images seen, images per second, time left, running mean of the loss.

    (Ignite's bar counts the iterations of one epoch.) Images of all processes are counted; rank 0 shows the bar.

    Args:
        smoothing: weight of the newest loss in its running mean, in (0, 1].
        **tqdm_kwargs: further arguments of ``tqdm.tqdm``, such as ``file`` or ``mininterval``. Where standard error is
            no terminal, but the log of a cluster, the bar is drawn every ten seconds.

    Attributes:
        bar: the ``tqdm`` bar while the engine runs.
    """

    def __init__(self, smoothing: float = 0.02, **tqdm_kwargs: Any) -> None:
        self.smoothing = smoothing
        self.tqdm_kwargs = tqdm_kwargs
        self.bar: tqdm | None = None
        self._loss: torch.Tensor | None = None

    def attach(self, engine: Engine) -> None:
        """Follow a trainer.

        Args:
            engine: a ``SupervisedTrainer`` with a ``torch.utils.data.DataLoader``.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self._epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self._close)
        engine.add_event_handler(Events.TERMINATE, self._close)
        engine.add_event_handler(Events.STARTED, lambda engine: at_end(engine, self._abort))

    def _epoch_started(self, engine: Engine) -> None:
        seen = images_seen(engine)  # which a resumed run may start within an epoch
        if self.bar is None:
            # made here, not at the start of the run, because by now a resumed run knows its epoch
            options = {"desc": "training", "unit": "img", "dynamic_ncols": True, "disable": idist.get_rank() != 0}
            if not sys.stderr.isatty():
                options["mininterval"] = _LOGGED_EVERY
            total = engine.state.max_epochs * images_per_epoch(engine)
            self.bar = tqdm(total=total, initial=seen, **{**options, **self.tqdm_kwargs})
        self.bar.n = seen  # exact, whatever the sizes of the batches on the other ranks

    def _iteration_completed(self, engine: Engine) -> None:
        output = engine.state.output
        decollated = isinstance(output, list)
        batch_size = len(output) if decollated else len(output["image"])
        loss = torch.as_tensor((output[0] if decollated else output)["loss"]).detach()
        self._loss = loss if self._loss is None else self._loss.lerp(loss, self.smoothing)
        assert self.bar is not None
        shown = self.bar.update(batch_size * idist.get_world_size())
        if shown:  # reading the loss from a GPU costs a wait, so only now and then
            self.bar.set_postfix(loss=f"{self._loss.item():.4g}", refresh=False)

    def _abort(self) -> None:
        # An open bar draws itself once more when the process ends, below the message that the user should see.
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _close(self, engine: Engine) -> None:
        if self.bar is not None and self._loss is not None:
            if engine.state.iteration % engine.state.epoch_length == 0:  # not where the run was ended early
                self.bar.n = images_seen(engine)
            self.bar.set_postfix(loss=f"{self._loss.item():.4g}")
            self.bar.close()
        self.bar = None
