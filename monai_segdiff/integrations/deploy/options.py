"""How images are generated: what ``app.yaml`` says, and environment variables over it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from monai_segdiff.data.dicom.iods import COLOR_MODALITIES
from monai_segdiff.data.dicom.series import MODALITIES
from monai_segdiff.documents import parse_yaml, read_text
from monai_segdiff.errors import UnreadableFileError, one_line

__all__ = ["PREFIX", "GenerationOptions", "read_options"]

PREFIX = "SEGDIFF_"
_LARGEST_SEED = 2**63 - 1
_LARGEST_VOXEL = 1000.0  # mm
_MOST_BYTES = 2**16


@dataclass(frozen=True)
class GenerationOptions:
    """How an image is generated.

    Args:
        seed: of its noise.
        num_steps: sampling steps; None for the bundle's.
        guidance: guidance weight; None for the bundle's.
        modality: "CT", "MR", "CR" or "DX"; None for what the bundle's metadata say.
        spacing: voxel size in mm of the bundle's training images, one number per axis; None fits the whole field of
            view of the segmentation into the bundle's grid.
        names: segment label to class name, where they differ.
        precedence: classes in their order; where segments overlap, the class named first is kept.
        drop_others: whether segments that are no class of the bundle become background rather than an error.

    Raises:
        ValueError: if a value is not possible.
    """

    seed: int = 0
    num_steps: int | None = None
    guidance: float | None = None
    modality: str | None = None
    spacing: tuple[float, ...] | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    precedence: tuple[str, ...] = ()
    drop_others: bool = False

    def __post_init__(self) -> None:
        _whole("seed", self.seed, 0, _LARGEST_SEED)
        if self.num_steps is not None:
            _whole("num_steps", self.num_steps, 1, 100_000)
        if self.guidance is not None:
            _positive("guidance", self.guidance, at_least_zero=True)
        for size in self.spacing or ():
            _positive("spacing", size, most=_LARGEST_VOXEL)
        known = (*MODALITIES, *COLOR_MODALITIES)
        if self.modality is not None and self.modality not in known:
            raise ValueError(f"modality must be one of {', '.join(known)}, got {self.modality!r}")
        if not isinstance(self.names, Mapping) or not all(
            isinstance(v, str) for pair in self.names.items() for v in pair
        ):
            raise ValueError(f"names must map segment labels to class names, e.g. {{Liver: liver}}, got {self.names!r}")
        if not all(isinstance(name, str) for name in self.precedence):
            raise ValueError(f"precedence must be a list of class names, got {self.precedence!r}")
        if not isinstance(self.drop_others, bool):
            raise ValueError(f"drop_others must be true or false, got {self.drop_others!r}")

    def overrides(self) -> dict[str, Any]:
        """Values of the bundle's ids."""
        values = {"seed": self.seed, "num_steps": self.num_steps, "guidance_weight": self.guidance}
        return {name: value for name, value in values.items() if value is not None}


def read_options(file: Path, environment: Mapping[str, str] | None = None) -> GenerationOptions:
    """Read the options of a run.

    Args:
        file: YAML, whose section ``generation`` counts; empty values are defaults.
        environment: variables ``SEGDIFF_SEED``, ``SEGDIFF_NUM_STEPS`` and so on, which come before the file; their
            values are written as in the file. By default those of the process.

    Returns:
        The options.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no YAML, or an option does not exist or has an impossible value; says where.
    """
    variables = os.environ if environment is None else environment
    names = [one.name for one in fields(GenerationOptions)]
    if not file.is_file():
        raise FileNotFoundError(f"configuration {file} does not exist: set HOLOSCAN_CONFIG_PATH to an existing file")
    try:
        content = parse_yaml(read_text(file, "a configuration", _MOST_BYTES)) or {}
        section = content.get("generation") or {}
    except UnreadableFileError:
        raise
    except (yaml.YAMLError, AttributeError, ValueError) as error:
        raise ValueError(f"{file} is no YAML mapping: {one_line(error)}") from error
    if not isinstance(section, Mapping):
        raise ValueError(f"{file}: generation must be a mapping of options to values, got {section!r:.80}")
    if unknown := [str(name) for name in section if name not in names]:
        raise ValueError(f"{file}: generation has unknown option {', '.join(unknown)}: known are {', '.join(names)}")
    values, where = dict(section), dict.fromkeys(names, f"{file}, generation")
    for name in names:
        if variable := variables.get(PREFIX + name.upper(), "").strip():
            try:
                values[name] = parse_yaml(variable[:_MOST_BYTES])
            except (yaml.YAMLError, ValueError) as error:
                raise ValueError(f"{PREFIX}{name.upper()} cannot be read: {variable!r:.80}") from error
            where[name] = PREFIX + name.upper()
    given: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if v is not None
    }
    try:
        for name in ("spacing", "precedence"):
            if not isinstance(given.get(name, ()), tuple):
                raise ValueError(f"{name} must be a list, got {given[name]!r}")
        return GenerationOptions(**given)
    except ValueError as error:
        raise ValueError(f"{where[str(error).split()[0]]}: {error}") from error


def _whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, got {value!r}")


def _positive(name: str, value: object, at_least_zero: bool = False, most: float = math.inf) -> None:
    number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    if not (math.isfinite(number) and (number >= 0 if at_least_zero else number > 0) and number <= most):
        limit = "" if most == math.inf else f" and at most {most:g}"
        raise ValueError(
            f"{name} must be a number {'of at least 0' if at_least_zero else 'above 0'}{limit}, got {value!r}"
        )
