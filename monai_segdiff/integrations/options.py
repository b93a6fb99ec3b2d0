"""How images are generated, as clients and configurations may say it; needs pydantic, which both extras bring."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from monai_segdiff.generation.covariates import Covariates, parse_covariates

__all__ = ["Options", "SamplingOptions", "explain", "number", "whole"]


def whole(default: int | None, low: int, high: int) -> Any:
    """A field for a whole number from `low` to `high`."""
    told = f"be a whole number from {low} to {high}"
    return Field(default, strict=True, ge=low, le=high, description=told)


def number(default: float | None, low: float, high: float | None = None) -> Any:
    """A field for a finite number from `low` to `high`; None for no upper end."""
    told = f"be a number of at least {low:g}" if high is None else f"be a number from {low:g} to {high:g}"
    return Field(default, strict=True, ge=low, le=high, description=told)


class Options(BaseModel):
    """Options by name: what is empty has its default, and numbers may come as text.

    The description of a field says what its value must do, for :func:`explain`.

    Raises:
        ValidationError: if a value is not possible; :func:`explain` says it in one line.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _of_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Viewers send what a text field holds, and YAML takes 1e-3 for text."""
        field = cls.model_fields[info.field_name or ""]
        if value is None or value == "":
            return field.get_default(call_default_factory=True)
        if not isinstance(value, str):
            return value
        kinds = (field.annotation, *get_args(field.annotation))
        if int in kinds and re.fullmatch("-?[0-9]{1,19}", value.strip()):
            return int(value)
        with suppress(ValueError):
            return float(value) if float in kinds else value
        return value


class SamplingOptions(Options):
    """How an image is sampled.

    Args:
        seed: of its noise.
        num_steps: sampling steps; None for the bundle's.
        guidance: guidance weight; None for the bundle's.
        covariates: what the network is told of the patient or image, name to number or category, None for unknown; as
            text, ``age=60, sex=F``. Those that are not named are unknown.
    """

    seed: int = whole(0, 0, 2**63 - 1)
    num_steps: int | None = whole(None, 1, 100_000)
    guidance: float | None = number(None, 0)
    covariates: Mapping[str, float | str | None] = Field(
        default={}, description="map names to numbers or categories, e.g. {age: 60, sex: F}, or be NAME=VALUE, ..."
    )

    @field_validator("covariates", mode="before")
    @classmethod
    def _covariates(cls, value: object) -> object:
        return parse_covariates(value.split(",")) if isinstance(value, str) and value else value

    def told(self) -> Covariates | None:
        """The covariates, which are checked where a generator is known; None where none are given."""
        return Covariates(self.covariates) if self.covariates else None

    def overrides(self) -> dict[str, Any]:
        """Values of the bundle's ids, without the seed."""
        values = {"num_steps": self.num_steps, "guidance_weight": self.guidance}
        return {name: value for name, value in values.items() if value is not None}


def explain(error: ValidationError, options: type[Options]) -> str:
    """The first thing that is wrong, in one line that begins with the option's name.

    Args:
        error: what pydantic says.
        options: which options were given.
    """
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    name = str(first["loc"][0])
    told = "be a list" if first["type"] == "tuple_type" else options.model_fields[name].description
    return f"{name} must {told}, got {first['input']!r:.80}"
