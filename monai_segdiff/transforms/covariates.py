"""Covariates of a patient or image, numbers and categories, each known or unknown, as part of a condition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import torch
from monai.transforms import Transform
from monai.utils import TransformBackends

__all__ = ["MOST_VALUES", "CovariateValue", "EncodeCovariates", "check_covariates", "covariate_values", "outside_range"]

CovariateValue: TypeAlias = float | str
"""What a covariate is for an image: a number, or the name of a category."""
MOST_VALUES = 64
"""Values of a category, at most: more of them are names or free text, which no network learns."""
_NUMBER = ("min", "max", "mean", "std")
_SHOWN = 8
_LARGEST = 1e12


def check_covariates(covariates: Any, where: str = "covariates") -> dict[str, dict[str, Any]]:
    """Check the definitions of covariates.

    Args:
        covariates: name to what it is: a number, ``{"min": 21, "max": 88, "mean": 55.2, "std": 14.1}`` as the training
            images have it, or a category, ``{"values": ["F", "M"]}``.
        where: what holds them, for messages.

    Returns:
        The definitions, with numbers as floating point.

    Raises:
        ValueError: naming the covariate and what is wrong with it.
    """
    if not isinstance(covariates, Mapping):
        raise ValueError(f"{where} must map names to what they are, got {str(covariates)[:80]!r}")
    checked: dict[str, dict[str, Any]] = {}
    for name, definition in covariates.items():
        if not _is_text(name) or "=" in name:
            raise ValueError(f"{where}: {name!r} is no name of a covariate: give it plain text without '='")
        if isinstance(definition, Mapping) and set(definition) == {"values"}:
            checked[name] = {"values": _category(definition["values"], f"{where}: {name!r}")}
        elif isinstance(definition, Mapping) and set(definition) == set(_NUMBER):
            checked[name] = _number(definition, f"{where}: {name!r}")
        else:
            raise ValueError(
                f"{where}: {name!r} must have {', '.join(_NUMBER)} (a number) or values (a category), got "
                f"{str(definition)[:80]!r}"
            )
    return checked


def covariate_values(
    covariates: Mapping[str, Mapping[str, Any]], values: Any, where: str = "covariates", *, as_text: bool = False
) -> dict[str, CovariateValue]:
    """Check what is said of an image against the definitions.

    Args:
        covariates: the definitions.
        values: name to value; what is left out is unknown.
        where: what says so, for messages.
        as_text: whether numbers may be given as text.

    Returns:
        The values in the order of the definitions, numbers as floating point.

    Raises:
        ValueError: for a covariate or a category that is none of those known, which are listed, and for what is no
            finite number.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must map names to values, got {str(values)[:80]!r}")
    if unknown := [name for name in values if name not in covariates]:
        raise ValueError(f"{where}: {unknown[0]!r} is no covariate; known are {', '.join(covariates) or 'none'}")
    checked: dict[str, CovariateValue] = {}
    for name in covariates:
        if name not in values:
            continue
        value, known = values[name], covariates[name].get("values")
        if known is None:
            checked[name] = _finite(value, f"{where}: {name!r}", as_text)
        elif value in known:
            checked[name] = value
        else:
            shown = f"{', '.join(known[:_SHOWN])}{', ...' if len(known) > _SHOWN else ''}"
            raise ValueError(f"{where}: {name!r} is {str(value)[:80]!r}, which is none of {shown}")
    return checked


def outside_range(
    covariates: Mapping[str, Mapping[str, Any]], values: Mapping[str, CovariateValue]
) -> list[tuple[str, float, float, float]]:
    """Numbers that lie outside what a network was trained on.

    Args:
        covariates: the definitions.
        values: name to value.

    Returns:
        For each of them name, value, and the lowest and highest value of the training images.
    """
    found = []
    for name, value in values.items():
        low, high = covariates[name].get("min"), covariates[name].get("max")
        if low is not None and high is not None and not low <= float(value) <= high:
            found.append((name, float(value), float(low), float(high)))
    return found


class EncodeCovariates(Transform):
    """Encode what is known of a patient or image as a vector, one entry for each constant channel of a condition.

    In the order of the definitions, each covariate gives

    - a number: its standard score (value - mean) / std, 0 where it is unknown;
    - a category: an entry for each of its values, +1 for the one it has and -1 for the others, all -1 where it is
      unknown;

    and after that its *known* flag, +1 or -1, so that an unknown number is told from a mean one.
    :class:`~monai_segdiff.transforms.EncodeMask` appends the channels to the encoded mask.

    Args:
        covariates: name to definition, as in ``dataset.json``: ``{"min": 21, "max": 88, "mean": 55.2, "std": 14.1}`` or
            ``{"values": ["F", "M"]}``.

    Raises:
        ValueError: for what is no definition.

    Example:
        >>> age = {"min": 20, "max": 80, "mean": 50, "std": 10}
        >>> encode = EncodeCovariates({"age": age, "sex": {"values": ["F", "M"]}})
        >>> encode({"age": 60, "sex": "M"}).tolist()
        [1.0, 1.0, -1.0, 1.0, 1.0]
        >>> encode({}).tolist()
        [0.0, -1.0, -1.0, -1.0, -1.0]
    """

    backend: ClassVar[list[TransformBackends]] = [TransformBackends.TORCH]

    def __init__(self, covariates: Mapping[str, Mapping[str, Any]]) -> None:
        self.covariates = check_covariates(covariates)
        self.names = tuple(self.covariates)

    @property
    def out_channels(self) -> int:
        """Number of entries, which is that of the channels."""
        return sum(len(one.get("values", [0])) + 1 for one in self.covariates.values())

    def __call__(self, values: Mapping[str, CovariateValue]) -> torch.Tensor:
        """Encode.

        Args:
            values: name to value; what is left out is unknown.

        Returns:
            A float32 tensor (out_channels,).

        Raises:
            ValueError: for an unknown covariate or category, or what is no finite number.
        """
        known = covariate_values(self.covariates, values)
        entries: list[float] = []
        for name, definition in self.covariates.items():
            if "values" in definition:
                entries += [1.0 if known.get(name) == value else -1.0 for value in definition["values"]]
            else:
                entries.append((float(known.get(name, definition["mean"])) - definition["mean"]) / definition["std"])
            entries.append(1.0 if name in known else -1.0)
        return torch.tensor(entries, dtype=torch.float32)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value == value.strip() and value.isprintable()


def _category(values: Any, where: str) -> list[str]:
    if not isinstance(values, Sequence) or isinstance(values, str) or not all(map(_is_text, values)):
        raise ValueError(f"{where}: values must be a list of plain text, got {str(values)[:80]!r}")
    if not 2 <= len(values) <= MOST_VALUES or len(set(values)) < len(values):
        raise ValueError(f"{where}: values must be 2 to {MOST_VALUES}, each once, got {len(values)}")
    return list(values)


def _number(definition: Mapping[str, Any], where: str) -> dict[str, Any]:
    low, high, mean, std = (_finite(definition[key], f"{where}: {key}") for key in _NUMBER)
    if not (low < high and low <= mean <= high and std > 0):
        raise ValueError(f"{where}: min {low:g}, mean {mean:g} and max {high:g} must go up, and std {std:g} be above 0")
    return dict(zip(_NUMBER, (low, high, mean, std), strict=True))


def _finite(value: Any, where: str, as_text: bool = False) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str) if as_text else (int, float)):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= _LARGEST:
        raise ValueError(f"{where} must be a number, got {str(value)[:80]!r}")
    return number
