"""What is told of the patient or image of each sample beside its mask."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from monai_segdiff.data import Case
from monai_segdiff.generation.generator import TrainedGenerator
from monai_segdiff.generation.job import GenerationJob
from monai_segdiff.generation.shaping import Sample, Shaping
from monai_segdiff.transforms.covariates import CovariateValue, covariate_values, outside_range

__all__ = ["Covariates"]


@dataclass(frozen=True)
class Covariates(Shaping):
    """What the network is told of the patient or image, such as an age: for all samples, or as the mask's case has it.

    Args:
        values: name to value, for every sample: a number, also as text, or one of a category's values; None makes a
            covariate unknown. Those that are not named are as the data set of the masks says of each case, and unknown
            where it says nothing.
    """

    key = "covariates"
    values: Mapping[str, CovariateValue | None]

    def header(self, generator: TrainedGenerator, masks: Sequence[Case] = ()) -> dict[str, Any]:
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
        for name, value, low, high in outside_range(generator.covariates, given):
            warnings.warn(
                f"{name} is {value:g}, and the training images have {low:g} to {high:g}: what {generator.name} makes "
                "of it is a guess",
                stacklevel=2,
            )
        self._warn_of_masks(generator, masks)
        of_masks = [
            name
            for name in generator.covariates
            if name not in self.values and any(name in self.of(mask, generator) for mask in masks)
        ]
        unknown = [name for name in generator.covariates if name not in given and name not in of_masks]
        return {"given": given, "of_masks": of_masks, "unknown": unknown}

    def of(self, mask: Case, generator: TrainedGenerator) -> dict[str, CovariateValue]:
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

    def told(self, mask: Case, generator: TrainedGenerator) -> dict[str, CovariateValue]:
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

    def _given(self, generator: TrainedGenerator) -> dict[str, CovariateValue]:
        # One that is made unknown has to be known by name, too.
        told = {
            name: value for name, value in self.values.items() if value is not None or name not in generator.covariates
        }
        return covariate_values(generator.covariates, told, _ASKED, as_text=True)

    def _warn_of_masks(self, generator: TrainedGenerator, masks: Sequence[Case]) -> None:
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


def _is_known(generator: TrainedGenerator, name: str, value: CovariateValue) -> bool:
    if name not in generator.covariates:
        return False
    known = generator.covariates[name].get("values")
    return isinstance(value, int | float) if known is None else value in known
