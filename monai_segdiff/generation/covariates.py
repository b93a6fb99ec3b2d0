"""What is told of the patient or image of each sample beside its mask."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from monai_segdiff.data import Case, SegmentationDataset
from monai_segdiff.generation.job import GenerationJob
from monai_segdiff.generation.shaping import Sample, Shaping
from monai_segdiff.transforms.covariates import CovariateValue, covariate_values, outside_range

__all__ = ["Covariates", "Knows", "parse_covariates", "told_items"]


class Knows(Protocol):
    """What can be told covariates: a `TrainedGenerator`, or what stands for one."""

    @property
    def name(self) -> str:
        """What it is called, for messages."""

    @property
    def covariates(self) -> Mapping[str, Mapping[str, Any]]:
        """Name to definition."""


@dataclass(frozen=True)
class Covariates(Shaping):
    """What the network is told of the patient or image, such as an age: for all samples, or as the mask's case has it.

    Args:
        values: name to value, for every sample: a number, also as text, or one of a category's values; None makes a
            covariate unknown. Those that are not named are as the data set of the masks says of each case, and unknown
            where it says nothing.

    Raises:
        ValueError: if they are no mapping.
    """

    key = "covariates"
    values: Mapping[str, CovariateValue | None]

    def __post_init__(self) -> None:
        if not isinstance(self.values, Mapping):
            raise ValueError(f"{_ASKED} must map names to values, such as {{age: 60}}, got {str(self.values)[:80]!r}")

    def header(self, generator: Knows, masks: Sequence[Case] = ()) -> dict[str, Any]:
        """What the manifest says of them: those given, and which come from the masks' data set.

        Args:
            generator: what generates.
            masks: all masks.

        Warns:
            UserWarning: of numbers outside what the generator was trained on, and of what the masks' data set says and
                the generator does not know.

        Raises:
            ValueError: if the generator knows no covariates, or not one of these; lists those that it knows.
        """
        if not generator.covariates:
            raise ValueError(
                f"{generator.name} was trained without covariates, so none can be asked for (--covariate): leave them "
                "out, or train on a data set that has some (prepare --covariates)"
            )
        given = self._given(generator)
        for remark in self.outside(generator):
            warnings.warn(remark, stacklevel=2)
        self._warn_of_masks(generator, masks)
        of_masks = [
            name
            for name in generator.covariates
            if name not in self.values and any(name in self.of(mask, generator) for mask in masks)
        ]
        unknown = [name for name in generator.covariates if name not in given and name not in of_masks]
        return {"given": given, "of_masks": of_masks, "unknown": unknown}

    def outside(self, generator: Knows) -> list[str]:
        """Say which of the values lie outside what a generator was trained on.

        Args:
            generator: what generates.

        Raises:
            ValueError: as for :meth:`header`.
        """
        return [
            f"{name} is {value:g}, and the training images have {low:g} to {high:g}: what {generator.name} makes "
            "of it is a guess"
            for name, value, low, high in outside_range(generator.covariates, self._given(generator))
        ]

    def of(self, mask: Case, generator: Knows) -> dict[str, CovariateValue]:
        """What the network is told of the sample of a mask.

        Args:
            mask: the case.
            generator: what generates.
        """
        own = {name: value for name, value in mask.covariates if name not in self.values}
        known = {name: value for name, value in own.items() if _is_known(generator, name, value)}
        return covariate_values(generator.covariates, known | self._given(generator))

    def inputs(self, mask: Case) -> dict[str, Any]:
        """What the masks' data set says of a case, which decides its sample.

        Args:
            mask: the case.
        """
        own = [[name, value] for name, value in mask.covariates if name not in self.values]
        return {"covariates": own} if own else {}

    def told(self, mask: Case, generator: Knows) -> dict[str, CovariateValue]:
        """What the condition of a sample holds beside its mask.

        Args:
            mask: the case.
            generator: what generates.
        """
        return self.of(mask, generator)

    def record(self, job: GenerationJob, sample: Sample, image: torch.Tensor) -> dict[str, Any]:
        """What the network was told, for the sample's record.

        Args:
            job: what is made.
            sample: the sample.
            image: not needed.
        """
        told = self.of(sample.mask, job.generator)
        return {"covariates": told} if told else {}

    def _given(self, generator: Knows) -> dict[str, CovariateValue]:
        # One that is made unknown has to be known by name, too.
        told = {
            name: value for name, value in self.values.items() if value is not None or name not in generator.covariates
        }
        return covariate_values(generator.covariates, told, _ASKED, as_text=True)

    def _warn_of_masks(self, generator: Knows, masks: Sequence[Case]) -> None:
        """Say what of the masks' own covariates the generator has not seen."""
        outside: dict[str, list[tuple[float, float, float]]] = {}
        strange: Counter[tuple[str, CovariateValue]] = Counter()
        for mask in masks:
            own = [pair for pair in mask.covariates if pair[0] in generator.covariates and pair[0] not in self.values]
            strange.update(pair for pair in own if not _is_known(generator, *pair))
            known = {name: value for name, value in own if _is_known(generator, name, value)}
            for name, *numbers in outside_range(generator.covariates, known):
                outside.setdefault(name, []).append((numbers[0], numbers[1], numbers[2]))
        for name, found in outside.items():
            value, low, high = found[0]
            warnings.warn(
                f"{name} of {len(found)} masks is outside {low:g} to {high:g}, which the training images have, such as "
                f"{value:g}: what {generator.name} makes of it is a guess",
                stacklevel=3,
            )
        for (name, unseen), count in strange.items():
            warnings.warn(
                f"{name} of {count} masks is {unseen!r}, which {generator.name} does not know; it is unknown there",
                stacklevel=3,
            )


_ASKED = "covariates (--covariate)"


def parse_covariates(pairs: Sequence[str]) -> dict[str, str | None]:
    """Read NAME=VALUE; nothing after the sign makes a covariate unknown.

    Args:
        pairs: such as ``["age=60", "sex=F"]``.

    Raises:
        ValueError: if one has no sign, or a name comes twice.
    """
    values: dict[str, str | None] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name.strip():
            raise ValueError(f"--covariate takes NAME=VALUE, such as age=60, got {pair!r}")
        if name.strip() in values:
            raise ValueError(f"--covariate names {name.strip()!r} twice: name it once")
        values[name.strip()] = value.strip() or None
    return values


def told_items(
    dataset: SegmentationDataset,
    split: str,
    covariates: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, CovariateValue | None],
) -> list[dict[str, Any]]:
    """Items for a bundle's ``inference.yaml``: label maps, and what the network is told of each.

    Args:
        dataset: of the label maps.
        split: of the data set.
        covariates: name to definition, as the card of the weights has them.
        values: as for :class:`Covariates`.

    Returns:
        For each case ``image``, the path of its label map, and where there are covariates ``covariates``, name to
        value.

    Warns:
        UserWarning: as :meth:`Covariates.header` does.

    Raises:
        ValueError: as :meth:`Covariates.header` does, or if the split is missing or empty.
    """
    items = [{"image": item["label"]} for item in dataset.items(split)]
    if not covariates and not values:
        return items
    known, asked, cases = _Known("the bundle", covariates), Covariates(values), dataset.splits[split]
    asked.header(known, cases)
    return [{**item, "covariates": asked.of(case, known)} for item, case in zip(items, cases, strict=True)]


@dataclass(frozen=True)
class _Known:
    name: str
    covariates: Mapping[str, Mapping[str, Any]]


def _is_known(generator: Knows, name: str, value: CovariateValue) -> bool:
    if name not in generator.covariates:
        return False
    known = generator.covariates[name].get("values")
    return isinstance(value, int | float) if known is None else value in known
