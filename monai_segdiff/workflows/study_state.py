"""What a study has done, and from what: `study.json`, so that a stage is done again only where it must be."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from monai_segdiff.documents import read_json
from monai_segdiff.files import atomic_file

__all__ = ["StageRecord", "StudyState", "plain"]

_VERSION = 1
_REMEDY = "remove it, and every stage is done again"
_SHOWN = 4  # changes that are named


@dataclass
class StageRecord:
    """A stage as it was begun, and, if it was, ended.

    Args:
        inputs: all that its result depends on, by name, of JSON types.
        done: whether it ended.
        seconds: that it took, over all its runs.
        result: what it found when it last ended, of JSON types.
    """

    inputs: dict[str, Any]
    done: bool = False
    seconds: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)


@dataclass
class StudyState:
    """The content of `study.json`.

    Args:
        file: where it lies.
        data: what the study is made from: the folder of scans and what was said of it.
        stages: record by stage.
    """

    file: Path
    data: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, StageRecord] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> StudyState:
        """Read it; a new one where there is none.

        Raises:
            ValueError: if it is damaged; names it and the remedy.
        """
        if not file.is_file():
            return cls(file)
        content = read_json(file, "the state of a study (JSON)", remedy=_REMEDY)
        try:
            if content["version"] != _VERSION:
                raise ValueError(f"it is of version {content['version']!r}")
            stages = {name: StageRecord(**record) for name, record in content["stages"].items()}
            return cls(file, dict(content["data"]), stages)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{file} is not as a study writes it ({error}): {_REMEDY}") from error

    def write(self) -> None:
        """Write it."""
        content = {
            "version": _VERSION,
            "data": self.data,
            "stages": {name: asdict(record) for name, record in self.stages.items()},
        }
        text = json.dumps(content, indent=1, allow_nan=False)
        with atomic_file(self.file) as temporary:
            temporary.write_text(f"{text}\n", encoding="utf-8")

    def keep(self, data: Mapping[str, Any]) -> None:
        """Record what was said of the data."""
        if self.data != plain(data):
            self.data = plain(data)
            self.write()

    def is_current(self, stage: str, inputs: Mapping[str, Any]) -> bool:
        """Whether a stage ended with the same inputs."""
        record = self.stages.get(stage)
        return record is not None and record.done and record.inputs == plain(inputs)

    def changes(self, stage: str, inputs: Mapping[str, Any]) -> list[str]:
        """What is other than when a stage was begun, in words; empty where it never was, or nothing is."""
        record = self.stages.get(stage)
        if record is None:
            return []
        before, now = record.inputs, plain(inputs)
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        said = [_said(name, before.get(name), now.get(name)) for name in names[:_SHOWN]]
        return [*said, *([f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else [])]

    @contextmanager
    def running(self, stage: str, inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Record that a stage begins, and at the end of the block that it ended.

        Args:
            stage: its name.
            inputs: all that its result depends on.

        Yields:
            A dictionary for its result.
        """
        wanted = plain(inputs)
        record = self.stages.get(stage)
        if record is None or record.inputs != wanted or record.done:
            found = {} if record is None else record.result  # what was found before tells what was edited since
            record = self.stages[stage] = StageRecord(wanted, result=found)
            self.write()
        began = time.monotonic()
        try:
            result: dict[str, Any] = {}
            yield result
            record.result, record.done = plain(result), True
        finally:
            record.seconds += time.monotonic() - began
            self.write()


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same as JSON gives it back: lists for tuples, text for paths."""
    return dict(json.loads(json.dumps(dict(values), default=str)))


def _said(name: str, before: Any, now: Any) -> str:
    shown = [json.dumps(value) for value in (before, now)]
    return name if any(len(text) > 40 for text in shown) else f"{name} {shown[0]} -> {shown[1]}"
