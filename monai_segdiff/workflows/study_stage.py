"""What a stage of a study is, and what several of them read."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from monai_segdiff.digests import DIGESTS, digest_of
from monai_segdiff.networks import read_card
from monai_segdiff.workflows.plan.document import read_plan
from monai_segdiff.workflows.study_folder import Study

__all__ = ["Stage", "guidance_of", "prepared_digest", "section_of"]


class Stage(ABC):
    """A stage: `doing` says what it does."""

    doing: str

    @abstractmethod
    def inputs(self, study: Study) -> dict[str, Any]:
        """All that the result depends on, by name, of JSON types."""

    @abstractmethod
    def result(self, study: Study) -> Path:
        """The file or folder that it makes."""

    @abstractmethod
    def run(self, study: Study, result: dict[str, Any]) -> None:
        """Do it, or go on with it; `result` is kept in `study.json`."""

    @abstractmethod
    def said(self, study: Study) -> str:
        """The result in a line."""

    def is_there(self, study: Study) -> bool:
        """Whether the result lies where it was left."""
        return self.result(study).exists()

    def remove(self, study: Study) -> None:
        """Remove a result that is no longer true."""
        path = self.result(study)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def section_of(study: Study, name: str) -> dict[str, Any]:
    values = read_plan(study.plan)
    return {key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{name}.")}


def guidance_of(study: Study) -> float:
    """The weight of guidance that the card of the trained weights says."""
    return float(read_card(study.weights).get("guidance_weight", 1.0))


def prepared_digest(study: Study) -> str:
    """Digest of what the prepared files hold."""
    return digest_of(study.prepared / DIGESTS)
