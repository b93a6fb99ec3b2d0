"""Bundles trained through their own configuration, as users do, for a given time."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

from monai_segdiff.bundle import copy_bundle
from monai_segdiff.files import atomic_file

__all__ = ["TIME_LIMIT", "ComputeTimeLimit", "Part", "TrainingFacts", "facts_of", "train_bundle", "train_for_a_time"]

TIME_LIMIT = Path(__file__).with_name("time_limit.yaml")
"""Overlay that ends a training after ``limit_seconds``, by ignite's own handler."""
_CPU_TIME_LIMIT = TIME_LIMIT.with_name("cpu_time_limit.yaml")
_CLOCKS = {"wall": [TIME_LIMIT], "cpu": [TIME_LIMIT, _CPU_TIME_LIMIT]}
_MARKER = "trained.json"


class ComputeTimeLimit:
    """Ends a training once its process has computed for so long, all threads together.

    Ignite's ``TimeLimit`` counts time on the wall, of which other processes on the machine take their part.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.process_time() + seconds

    def __call__(self, engine: Engine) -> None:
        """End the run if it is time.

        Args:
            engine: the trainer.
        """
        if time.process_time() >= self._end:
            engine.terminate()


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


def train_bundle(
    bundle: Path, overlays: Sequence[str | Path], overrides: Mapping[str, Any], config: str = "train.yaml"
) -> TrainingFacts:
    """Train a bundle: what ``python -m monai.bundle run training`` does, with a look at the trainer afterwards.

    Args:
        bundle: its folder.
        overlays: names in its ``configs`` folder, or paths, to be laid over the configuration.
        overrides: values of ids of the configuration.
        config: name of the configuration.

    Returns:
        What was done.
    """
    logging.getLogger("ignite").setLevel(logging.WARNING)
    configs = bundle / "configs"
    for overlay in (Path(overlay) for overlay in overlays):
        if overlay.is_file():  # from elsewhere: the bundle then holds all that it was trained with
            shutil.copy(overlay, configs)
    workflow = ConfigWorkflow(
        config_file=[str(configs / Path(overlay).name) for overlay in (config, *overlays)],
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


@dataclass(frozen=True)
class Part:
    """A part of a training with a time of its own, such as that of a network which another is built on.

    Args:
        overlays: names in the bundle's ``configs`` folder, or paths.
        overrides: values of ids of the configuration.
        seconds: time of the training loop.
        clock: ``"wall"``, or ``"cpu"`` for the time that the process computes.
    """

    overlays: Sequence[str | Path]
    overrides: Mapping[str, Any]
    seconds: int
    clock: str = "wall"


def train_for_a_time(name: str, folder: Path, parts: Sequence[Part], settings: Mapping[str, Any]) -> TrainingFacts:
    """Train a copy of a bundle from the start, unless it has been trained to the end before.

    A training that was stopped is begun anew, because its time would not be comparable otherwise.

    Args:
        name: name of the bundle.
        folder: for the copy; what is there and was trained otherwise is removed.
        parts: what to train, one after the other.
        settings: all that the result depends on, of JSON types.

    Returns:
        What was done in all parts together.
    """
    if (facts := facts_of(folder, settings)) is not None:
        return facts
    shutil.rmtree(folder, ignore_errors=True)
    copy_bundle(name, folder)
    done = [
        train_bundle(folder, [*part.overlays, *_CLOCKS[part.clock]], {**part.overrides, "limit_seconds": part.seconds})
        for part in parts
    ]
    sums = {key: sum(getattr(facts, key) for facts in done) for key in ("iterations", "images", "seconds")}
    facts = TrainingFacts(**sums)
    with atomic_file(folder / _MARKER) as temporary:
        temporary.write_text(json.dumps({"settings": settings, "facts": asdict(facts)}, indent=1))
    return facts


def facts_of(folder: Path, settings: Mapping[str, Any]) -> TrainingFacts | None:
    """What a training by `train_for_a_time` has done, if it is finished and had these settings."""
    if not (folder / _MARKER).is_file():
        return None
    found = json.loads((folder / _MARKER).read_text())
    return TrainingFacts(**found["facts"]) if found["settings"] == json.loads(json.dumps(settings)) else None
