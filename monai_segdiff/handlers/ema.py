"""The averaged network that samples are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler

__all__ = ["ExponentialMovingAverage"]


class ExponentialMovingAverage(EMAHandler):
    """Ignite's moving average of the weights, with a window that grows with the run.

    The momentum of iteration n is ``max(momentum, 1 / (relative_window * n))``, at most 1. Early on this is a power
    function average (Karras et al. 2024, arXiv 2312.02696, section 3.1, with gamma = 1/relative_window - 1), whose
    window is a constant part of the training so far, so that a run of some hundred iterations has a useful average
    too; later it is the ordinary exponential one over ``1/momentum`` iterations. Being a function of the iteration it
    needs no state for resuming but the averaged weights.

    Args:
        network: the network in training. Of a ``DistributedDataParallel`` network the one inside is averaged.
        momentum: weight of the newest network in the long run, in (0, 1); 2e-4 averages over 5000 iterations.
        relative_window: length of the average as a part of the iterations so far, in (0, 1].

    Attributes:
        network: the averaged network, in eval mode; hand it to evaluators, previews and exports.

    Raises:
        ValueError: if one of the numbers is out of its range.
    """

    def __init__(self, network: torch.nn.Module, momentum: float = 2e-4, relative_window: float = 0.1) -> None:
        if not 0 < relative_window <= 1:
            raise ValueError(f"relative_window must be in (0, 1], not {relative_window}")
        super().__init__(network, momentum=momentum)
        self.relative_window = relative_window

    @property
    def network(self) -> torch.nn.Module:
        return self.ema_model

    def attach(self, engine: Engine) -> None:
        """Average after every iteration of an engine; ``engine.state.ema_momentum`` holds the momentum.

        Args:
            engine: the trainer.
        """
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._set_momentum)
        super().attach(engine, name="ema_momentum", warn_if_exists=False)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep_frozen)

    def _set_momentum(self, engine: Engine) -> None:
        growing = min(1.0, 1.0 / (self.relative_window * engine.state.iteration))
        engine.state.ema_momentum = max(self.momentum, growing)

    def _keep_frozen(self) -> None:
        """Frozen weights stay as they are: their average with themselves would be rounded anew in every iteration."""
        for averaged, weight in zip(self.ema_model.parameters(), self.model.parameters(), strict=True):
            if not weight.requires_grad:
                averaged.copy_(weight)

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights."""
        return self.ema_model.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over averaged weights.

        Args:
            state_dict: what :meth:`state_dict` gave.
        """
        self.ema_model.load_state_dict(state_dict)
