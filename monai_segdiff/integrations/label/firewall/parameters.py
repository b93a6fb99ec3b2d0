"""What a request may ask for, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError, field_validator

from monai_segdiff.integrations.label.errors import RequestError, check_name
from monai_segdiff.integrations.options import Options, SamplingOptions, explain, number, whole

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BatchParameters", "ImageParameters", "TrainingParameters", "known_keys"]

_LARGEST_SEED = 2**31 - 1
_MOST_IMAGES = 100_000_000
_Name = Annotated[str, Field(min_length=1)]

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


class _Parameters(Options):
    @classmethod
    def read(cls, request: Mapping[str, Any]) -> Self:
        """Read the parameters of a request; others in it are left alone.

        Args:
            request: names and values as they came.

        Raises:
            RequestError: if a value is not possible.
        """
        try:
            return cls.model_validate(request)
        except ValidationError as error:
            raise RequestError(explain(error, cls)) from error


class ImageParameters(_Parameters, SamplingOptions):
    """How an image is to be generated; a server bounds what one request may cost.

    Args:
        seed: of its noise.
        num_steps: sampling steps; None for the bundle's.
        guidance: guidance weight; None for the bundle's.
        drop_classes: classes that the image need not obey; as text, separated by commas.
        similarity: how far it is drawn to the real image, 0 to 1.
    """

    seed: int = whole(0, 0, _LARGEST_SEED)
    num_steps: int | None = whole(None, 1, 1000)
    guidance: float | None = number(None, 0, 100)
    drop_classes: tuple[_Name, ...] = Field(default=(), description="be a list of names")
    similarity: float = number(0.0, 0, 1)

    @field_validator("drop_classes", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) and value else value


class BatchParameters(ImageParameters):
    """Which pairs are to be generated, and how; the seed is that of the whole batch.

    Args:
        number: pairs for each study.
        images: which studies: "all" or "labeled", every real one with a finished label, or their ids.
        max_images: at most so many of them, in the order of their ids.
    """

    number: int = whole(1, 1, 1000)
    images: str | tuple[str, ...] = "all"
    max_images: int | None = whole(None, 1, _MOST_IMAGES)

    @field_validator("images", mode="before")
    @classmethod
    def _studies(cls, value: object) -> object:
        if isinstance(value, (list, tuple)):
            return tuple(check_name(name, "study") for name in value)
        if value not in ("all", "labeled"):
            raise ValueError(
                f"images must be 'all', 'labeled' (all with a finished label map) or a list of ids, got {value!r:.80}"
            )
        return getattr(value, "value", value)  # MONAI Label has an enumeration of them

    @property
    def image(self) -> ImageParameters:
        """How each image is generated."""
        return ImageParameters(**{name: getattr(self, name) for name in ImageParameters.model_fields})


class TrainingParameters(_Parameters):
    """How a training goes.

    Args:
        images: its length in images seen; None for the task's own.
        seed: of the training, and of the split.
        seeds: number of trainings of each kind, for the segmenter.
        held_out: share of the patients that are held out.
        learning_rate: of the generator's.
    """

    images: int | None = whole(None, 1, _MOST_IMAGES)
    seed: int = whole(0, 0, _LARGEST_SEED)
    seeds: int = whole(1, 1, 100)
    held_out: float = number(0.25, 0.01, 0.9)
    learning_rate: float | None = number(None, 1e-9, 1)


class _SampleParameters(_Parameters):
    client_id: str = "unknown"

    @field_validator("client_id", mode="before")
    @classmethod
    def _name(cls, value: object) -> str:
        return check_name(value or "unknown", "client_id")


_KINDS: dict[str, type[_Parameters]] = {
    "infer": ImageParameters,
    "batch": BatchParameters,
    "train": TrainingParameters,
    "sample": _SampleParameters,
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
    known = _KINDS[kind].model_fields
    unknown = [str(name) for name in parameters if name not in known and name not in IGNORED]
    if unknown:
        raise RequestError(f"unknown parameter {unknown[0][:80]!r}: the known ones are {', '.join(known)}")
    _KINDS[kind].read(parameters)
    return {name: value for name, value in parameters.items() if name in known}
