"""Bundles trained through their own configuration, as users do, for a given time."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ignite.engine import Events
from monai.bundle import ConfigWorkflow

__all__ = ["TIME_LIMIT", "TrainingFacts", "train_bundle"]

TIME_LIMIT = Path(__file__).with_name("time_limit.yaml")
"""Overlay that ends a training after ``limit_seconds``, by ignite's own handler."""


@dataclass(frozen=True)
class TrainingFacts:
    """What a training has done.

    Args:
        iterations: optimizer steps.
        images: images seen.
        seconds: wall-clock time of the training loop, of what came after `resumed_at`.
        resumed_at: iterations that were done in earlier runs.
    """

    iterations: int
    images: int
    seconds: float
    resumed_at: int = 0

    @property
    def hours(self) -> float:
        """Time of the whole training, at the pace of the last run."""
        return self.seconds / 3600 * self.iterations / max(1, self.iterations - self.resumed_at)


def train_bundle(bundle: Path, overlays: Sequence[str | Path], overrides: Mapping[str, Any]) -> TrainingFacts:
    """Train a bundle: what ``python -m monai.bundle run training`` does, with a look at the trainer afterwards.

    Args:
        bundle: its folder.
        overlays: names in its ``configs`` folder, or paths, to be laid over ``train.yaml``.
        overrides: values of ids of the configuration.

    Returns:
        What was done.
    """
    logging.getLogger("ignite").setLevel(logging.WARNING)
    configs = bundle / "configs"
    for overlay in (Path(overlay) for overlay in overlays):
        if overlay.is_file():  # from elsewhere: the bundle then holds all that it was trained with
            shutil.copy(overlay, configs)
    workflow = ConfigWorkflow(
        config_file=[str(configs / Path(overlay).name) for overlay in ("train.yaml", *overlays)],
        workflow_type="train",
        run_id="training",
        bundle_root=str(bundle),
        **overrides,
    )
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    resumed_at = []
    trainer.add_event_handler(Events.STARTED, lambda engine: resumed_at.append(engine.state.iteration))
    workflow.run()
    workflow.finalize()
    iterations = trainer.state.iteration
    images = iterations * workflow.parser.get_parsed_content("batch_size")
    return TrainingFacts(iterations, images, round(trainer.state.times["COMPLETED"], 1), *resumed_at)
