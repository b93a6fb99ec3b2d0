"""Bounded gradients."""

from __future__ import annotations

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents

__all__ = ["GradientClipping"]


class GradientClipping:
    """Scale the gradient of each optimizer step down to a norm.

    Works between backward pass and optimizer step of a ``SupervisedTrainer``, after undoing the loss scaling of mixed
    precision and once all of its ``accumulation_steps`` are summed. ``engine.state.gradient_norm`` holds the norm of
    the whole gradient before clipping, a scalar tensor.

    Args:
        max_norm: largest Euclidean norm over all parameters of the trainer's optimizer, positive.

    Raises:
        ValueError: if the norm is not positive.
    """

    def __init__(self, max_norm: float = 1.0) -> None:
        if not max_norm > 0:
            raise ValueError(f"max_norm must be positive, not {max_norm}")
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Clip the gradients of a trainer.

        Args:
            engine: a ``SupervisedTrainer``.
        """
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Clip, if the trainer is about to step.

        Args:
            engine: the trainer.
        """
        if not _steps_now(engine):
            return
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        parameters = [parameter for group in engine.optimizer.param_groups for parameter in group["params"]]
        engine.state.gradient_norm = torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)


def _steps_now(engine: Engine) -> bool:
    """Whether the trainer's optimizer steps in this iteration: at the end of each accumulation and of the epoch."""
    # trainers before MONAI 1.6 have no accumulation
    accumulation_steps = getattr(engine, "accumulation_steps", 1)
    within_epoch = (engine.state.iteration - 1) % engine.state.epoch_length + 1
    return within_epoch % accumulation_steps == 0 or within_epoch == engine.state.epoch_length
