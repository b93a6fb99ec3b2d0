"""The weights of the best validation, beside those of the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events

from monai_segdiff.handlers.export import ExportWeights

__all__ = ["ExportBestWeights"]


class ExportBestWeights(ExportWeights):
    """Write the weights of a network after every validation whose key metric is better than all before.

    Which of two values is better says the evaluator's ``metric_cmp_fn``. Put this among the objects of
    :class:`~monai_segdiff.handlers.ResumeCheckpoint`, so that a resumed training remembers what it has to beat.

    Args:
        network: the network that the evaluator measures, usually the averaged one.
        path: the file.
        card: as in :class:`~monai_segdiff.handlers.ExportWeights`.

    Attributes:
        best: the best value so far; None before the first.
    """

    def __init__(self, network: Any, path: Any, card: Mapping[str, Any] | None = None) -> None:
        super().__init__(network, path, card=card)
        self.best: float | None = None

    def attach(self, engine: Engine) -> None:
        """Look at every run of an evaluator.

        Args:
            engine: a ``SupervisedEvaluator`` with a key metric.
        """
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the file, if this validation is the best.

        Args:
            engine: the evaluator, at the end of its run.
        """
        value = float(engine.state.metrics[engine.state.key_metric_name])
        is_number = value == value
        if is_number and (self.best is None or engine.metric_cmp_fn(value, self.best)):
            self.best = value
            super().__call__(engine)

    def state_dict(self) -> dict[str, float | None]:
        """The best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: Mapping[str, float | None]) -> None:
        """Take over the best value.

        Args:
            state_dict: what :meth:`state_dict` gave.
        """
        self.best = state_dict["best"]
