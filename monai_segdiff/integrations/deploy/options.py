"""How images are generated: what ``app.yaml`` says, and environment variables over it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from monai_segdiff.data.dicom.iods import COLOR_MODALITIES
from monai_segdiff.data.dicom.series import MODALITIES
from monai_segdiff.documents import parse_yaml, read_text
from monai_segdiff.errors import UnreadableFileError, one_line
from monai_segdiff.integrations.options import SamplingOptions, explain

__all__ = ["PREFIX", "GenerationOptions", "read_options"]

PREFIX = "SEGDIFF_"
_MODALITIES = (*MODALITIES, *COLOR_MODALITIES)
_LARGEST_VOXEL = 1000.0  # mm
_Voxel = Annotated[float, Field(strict=True, gt=0, le=_LARGEST_VOXEL)]
_MOST_BYTES = 2**16


class GenerationOptions(SamplingOptions):
    """How an image is generated.

    Args:
        seed: of its noise.
        num_steps: sampling steps; None for the bundle's.
        guidance: guidance weight; None for the bundle's.
        modality: "CT", "MR", "CR" or "DX", or of pictures in colors "ES", "XC", "GM" or "OT"; None for what the
            bundle's metadata say.
        spacing: voxel size in mm of the bundle's training images, one number per axis; None fits the whole field of
            view of the segmentation into the bundle's grid.
        names: segment label to class name, where they differ.
        precedence: classes in their order; where segments overlap, the class named first is kept.
        drop_others: whether segments that are no class of the bundle become background rather than an error.

    Raises:
        ValueError: if a value is not possible.
    """

    modality: str | None = Field(
        default=None, pattern=f"^({'|'.join(_MODALITIES)})$", description=f"be one of {', '.join(_MODALITIES)}"
    )
    spacing: tuple[_Voxel, ...] | None = Field(
        default=None, description=f"be a number above 0 and at most {_LARGEST_VOXEL:g}"
    )
    names: Mapping[str, str] = Field(default={}, description="map segment labels to class names, e.g. {Liver: liver}")
    precedence: tuple[str, ...] = Field(default=(), description="be a list of class names")
    drop_others: bool = Field(default=False, strict=True, description="be true or false")

    def overrides(self) -> dict[str, Any]:
        """Values of the bundle's ids."""
        return {"seed": self.seed, **super().overrides()}


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
    names = list(GenerationOptions.model_fields)
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
    try:
        return GenerationOptions.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{where[str(error.errors()[0]['loc'][0])]}: {explain(error, GenerationOptions)}") from error
