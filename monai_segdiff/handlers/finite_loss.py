"""A run that fails loudly when its loss is no number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents

__all__ = ["StopOnNonFiniteLoss"]


class StopOnNonFiniteLoss:
    """Raise as soon as the training loss is infinite or not a number, before the weights are touched.

    Ignite's ``TerminateOnNan`` ends a run as if it were complete: with exit code 0, after writing the final files.

    Args:
        image_key: key of the images in the batch. Those that hold non-finite values are named in the message: by their
            file where they carry metadata, else by their case.
        case_key: key of the case names in the batch, if it has them.
        loss_keys: keys of the losses in the trainer's output.
    """

    def __init__(self, image_key: str = "image", case_key: str = "case", loss_keys: Sequence[str] = ("loss",)) -> None:
        self.image_key = image_key
        self.case_key = case_key
        self.loss_keys = tuple(loss_keys)

    def attach(self, engine: Engine) -> None:
        """Watch a trainer.

        Args:
            engine: a ``SupervisedTrainer``.
        """
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Check the losses of this iteration.

        Args:
            engine: the trainer.

        Raises:
            FloatingPointError: if one of them is not finite.
        """
        for key in self.loss_keys:
            loss = engine.state.output[key]
            if not torch.isfinite(loss):
                self._stop(engine, f"the {key if key == 'loss' else f'{key} loss'} is {loss.item()}")

    def _stop(self, engine: Engine, what: str) -> NoReturn:
        where = f"{what} in epoch {engine.state.epoch}, iteration {engine.state.iteration}"
        bad_images = list(self._non_finite_images(engine.state.batch))
        if bad_images:
            raise FloatingPointError(
                f"{where}, because of values that are not finite in {', '.join(bad_images)}: "
                "mend or remove these images (`python -m monai_segdiff check-data` lists all of them)"
            )
        raise FloatingPointError(
            f"{where}, though all images are finite: the training diverged. Lower the learning rate, clip gradients, "
            "or train in higher precision, and run again; the last checkpoint is unharmed"
        )

    def _non_finite_images(self, batch: Mapping[str, Any]) -> Iterable[str]:
        images = batch[self.image_key]
        names = getattr(images, "meta", {}).get("filename_or_obj") or batch.get(self.case_key, [])
        for i, image in enumerate(torch.as_tensor(images)):
            if not torch.isfinite(image).all():
                yield f"'{names[i]}'" if i < len(names) else f"image {i} of the batch"
