"""What a request may ask for, checked before anything runs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from monai_segdiff.integrations.label.errors import RequestError, check_name

__all__ = ["BatchParameters", "ImageParameters", "TrainingParameters", "known_keys"]

_LARGEST_SEED = 2**31 - 1
_MOST_STEPS, _MOST_PAIRS, _MOST_IMAGES = 1000, 1000, 100_000_000

#: What viewers and MONAI Label's own defaults send along, and what means nothing here. It is not handed on: MONAI Label
#: reads some of it itself.
IGNORED = frozenset(
    {
        *("background", "cache_transforms", "cache_transforms_in_memory", "cache_transforms_ttl", "client_id"),
        *("device", "foreground", "gpus", "label_info", "label_tag", "largest_cc", "logging", "max_batch_size"),
        *("max_workers", "multi_gpu", "restore_label_idx", "result_compress", "result_dtype"),
        *("result_extension", "save_label", "user"),
    }
)


@dataclass(frozen=True)
class ImageParameters:
    """How an image is to be generated.

    Args:
        seed: of its noise.
        num_steps: sampling steps; None for the bundle's.
        guidance: guidance weight; None for the bundle's.
        drop_classes: classes that the image need not obey.
        similarity: how far it is drawn to the real image, 0 to 1.
    """

    seed: int = 0
    num_steps: int | None = None
    guidance: float | None = None
    drop_classes: tuple[str, ...] = ()
    similarity: float = 0.0

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> ImageParameters:
        """Read the parameters of a request; others in it are left alone.

        Args:
            request: names and values as they came.

        Raises:
            RequestError: if a value is not possible.
        """
        return cls(
            seed=_whole(request, "seed", 0, 0, _LARGEST_SEED) or 0,
            num_steps=_whole(request, "num_steps", None, 1, _MOST_STEPS),
            guidance=_number(request, "guidance", None, 0.0, 100.0),
            drop_classes=_names(request, "drop_classes"),
            similarity=_number(request, "similarity", 0.0, 0.0, 1.0) or 0.0,
        )

    def overrides(self) -> dict[str, Any]:
        """Values of the bundle's ids, without the seed."""
        values = {"num_steps": self.num_steps, "guidance_weight": self.guidance}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class BatchParameters:
    """Which pairs are to be generated.

    Args:
        number: pairs for each study.
        images: which studies: "all" or "labeled", every real one with a finished label, or their ids.
        max_images: at most so many of them, in the order of their ids.
        image: how each image is generated; the seed is that of the whole batch.
    """

    number: int = 1
    images: str | tuple[str, ...] = "all"
    max_images: int | None = None
    image: ImageParameters = field(default_factory=ImageParameters)

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> BatchParameters:
        """Read the parameters of a request.

        Args:
            request: names and values as they came.

        Raises:
            RequestError: if a value is not possible.
        """
        images = request.get("images", "all")
        if isinstance(images, (list, tuple)):
            images = tuple(check_name(name, "study") for name in images)
        elif images not in ("all", "labeled"):
            raise RequestError(
                f"images must be 'all', 'labeled' (all with a finished label map) or a list of ids, got {images!r}"
            )
        return cls(
            number=_whole(request, "number", 1, 1, _MOST_PAIRS) or 1,
            images=images if isinstance(images, tuple) else str(getattr(images, "value", images)),
            max_images=_whole(request, "max_images", None, 1, _MOST_IMAGES),
            image=ImageParameters.read(request),
        )


@dataclass(frozen=True)
class TrainingParameters:
    """How a training goes.

    Args:
        images: its length in images seen; None for the task's own.
        seed: of the training, and of the split.
        seeds: number of trainings of each kind, for the segmenter.
        held_out: share of the patients that are held out.
        learning_rate: of the generator's.
    """

    images: int | None = None
    seed: int = 0
    seeds: int = 1
    held_out: float = 0.25
    learning_rate: float | None = None

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> TrainingParameters:
        """Read the parameters of a request.

        Args:
            request: names and values as they came.

        Raises:
            RequestError: if a value is not possible.
        """
        return cls(
            images=_whole(request, "images", None, 1, _MOST_IMAGES),
            seed=_whole(request, "seed", 0, 0, _LARGEST_SEED) or 0,
            seeds=_whole(request, "seeds", 1, 1, 100) or 1,
            held_out=_number(request, "held_out", 0.25, 0.01, 0.9) or 0.25,
            learning_rate=_number(request, "learning_rate", None, 1e-9, 1.0),
        )


_IMAGE_KEYS = ("seed", "num_steps", "guidance", "drop_classes", "similarity")
_KEYS = {
    "infer": _IMAGE_KEYS,
    "batch": (*_IMAGE_KEYS, "number", "images", "max_images"),
    "train": ("images", "seed", "seeds", "held_out", "learning_rate"),
    "sample": ("client_id",),
}
_READERS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "infer": ImageParameters.read,
    "batch": BatchParameters.read,
    "train": TrainingParameters.read,
    "sample": lambda request: check_name(request.get("client_id") or "unknown", "client_id"),
}


def known_keys(kind: str, parameters: object) -> dict[str, Any]:
    """Refuse parameters that are unknown, impossible, or that only the server may set.

    MONAI Label merges them into its own request, in which some parameters name files. A client must not set these.

    Args:
        kind: "infer", "batch", "train", or "sample", the choice of the next study to draw.
        parameters: what the client sent, decoded.

    Returns:
        The known parameters.

    Raises:
        RequestError: if it is no object, holds an unknown name, or a value is not possible.
    """
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise RequestError(f"the parameters must be a JSON object of names and values, got {parameters!r:.80}")
    unknown = [str(name) for name in parameters if name not in _KEYS[kind] and name not in IGNORED]
    if unknown:
        raise RequestError(f"unknown parameter {unknown[0][:80]!r}: the known ones are {', '.join(_KEYS[kind])}")
    _READERS[kind](parameters)
    return {name: value for name, value in parameters.items() if name in _KEYS[kind]}


def _whole(request: Mapping[str, Any], name: str, default: int | None, low: int, high: int) -> int | None:
    value = request.get(name)
    if value is None or value == "":
        return default
    if isinstance(value, str) and re.fullmatch("-?[0-9]{1,19}", value.strip()):  # viewers send what a text field holds
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise RequestError(f"{name} must be a whole number from {low} to {high}, got {value!r:.80}")
    return value


def _number(request: Mapping[str, Any], name: str, default: float | None, low: float, high: float) -> float | None:
    value = request.get(name)
    if value is None or value == "":
        return default
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high:
        raise RequestError(f"{name} must be a number from {low:g} to {high:g}, got {value!r:.80}")
    return number


def _names(request: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of names, or names separated by commas."""
    value = request.get(name)
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, (list, tuple)) or not all(isinstance(part, str) and part for part in value):
        raise RequestError(f"{name} must be a list of names, got {value!r:.80}")
    return tuple(value)
