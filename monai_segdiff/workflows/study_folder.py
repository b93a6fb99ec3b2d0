"""The folder of a study: where each result lies, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_segdiff.data.preparation.source import Source
from monai_segdiff.workflows.plan.make import Wish
from monai_segdiff.workflows.study_state import StudyState

__all__ = ["Study"]

_TIMED = ("prepare", "train", "guide", "tune", "generate", "evaluate")


@dataclass
class Study:
    """A study's folder.

    Args:
        root: the folder.
        source: the data.
        given: what was said of them: the folder of scans and the like.
        wish: how long it may take.
        state: what was done.
        progress: whether to show progress bars and say what is done.
    """

    root: Path
    source: Source
    given: dict[str, Any]
    wish: Wish
    state: StudyState
    progress: bool = True

    @property
    def plan(self) -> Path:
        """The plan."""
        return self.root / "plan.yaml"

    @property
    def overview(self) -> Path:
        """The picture of what was understood."""
        return self.root / "overview.png"

    @property
    def prepared(self) -> Path:
        """The prepared data set."""
        return self.root / "prepared"

    @property
    def bundle(self) -> Path:
        """The bundle."""
        return self.root / "bundle"

    @property
    def weights(self) -> Path:
        """The weights of the trained network."""
        return self.bundle / "models" / "model.pt"

    @property
    def tuned(self) -> Path:
        """The weights that are tuned for few evaluations, whether they are there or not."""
        return self.bundle / "models" / "tuned" / "model.pt"

    @property
    def guidance(self) -> Path:
        """The folder of images that guidance was chosen on."""
        return self.root / "guidance"

    @property
    def segmenter(self) -> Path:
        """The folder of the segmenter that reads images."""
        return self.root / "segmenter"

    @property
    def synthetic(self) -> Path:
        """The generated pairs."""
        return self.root / "synthetic"

    @property
    def report(self) -> Path:
        """The folder of the report."""
        return self.root / "report"

    @property
    def figures(self) -> dict[str, float | None]:
        """The main figures of the report; empty before it is written."""
        record = self.state.stages.get("evaluate")
        return dict(record.result) if record is not None and record.done else {}

    @property
    def expected(self) -> float:
        """Seconds that the plan expects from `prepare` to `evaluate`."""
        times = self.state.stages["plan"].result["expected"]
        return float(sum(times.get(name, 0.0) for name in _TIMED))

    @property
    def spent(self) -> float:
        """Seconds that they took."""
        return sum(self.state.stages[name].seconds for name in _TIMED if name in self.state.stages)

    def say(self, line: str) -> None:
        """Print a line, unless nothing is to be said."""
        if self.progress:
            print(line, flush=True)
