"""Whether the card of a training describes what it trains."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.transforms import ScaleIntensityRange

from monai_segdiff.configuration import made_without_memory, naming_configuration, open_inference
from monai_segdiff.diffusion import Parameterization
from monai_segdiff.networks.card_entries import check_entries, plain
from monai_segdiff.networks.cards import opened
from monai_segdiff.networks.structure import first_difference
from monai_segdiff.networks.weights import unwrapped_network
from monai_segdiff.transforms import EncodeFindings, EncodeMask, RandClassAblation, RandDropPrompt, RandDropPromptd

__all__ = ["CheckCard"]

logger = logging.getLogger(__name__)


class CheckCard:
    """Refuse, when a training starts, to train what its card would not describe.

    An override may reach below the ids that the card holds (``encode#mode`` rather than ``encoding``). What is trained
    so could not be used, or would be used otherwise than it was trained. So ``inference.yaml`` is asked what it makes
    of the card, and that is compared with what is trained, networks by their structure.

    Args:
        bundle: the bundle's folder. Where it holds no ``inference.yaml`` nothing is compared, and a warning says so.
        card: what the card will say.
        trained: what decides what is trained: network, encoding and ablation of masks, scaling of intensities, and what
            holds the parameterization. Objects of other kinds, such as transforms of your own, are passed over.
        image: an image as the network sees it, (C, *spatial).
        network_id: the id of ``inference.yaml`` that makes the network.
        values: for ids of ``inference.yaml`` that do not follow from the card.
        overlays: of ``inference.yaml``, where the weights are not used without them: files in the bundle's ``configs``.

    Raises:
        ValueError: on start, naming the first difference.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        card: Mapping[str, Any],
        trained: Sequence[Any],
        image: torch.Tensor | None = None,
        network_id: str = "network_def",
        values: Mapping[str, Any] | None = None,
        overlays: Sequence[str] = (),
    ) -> None:
        self.bundle = Path(bundle)
        self.card = plain(card)
        self.trained = list(trained)
        self.image_size = None if image is None else list(image.shape[1:])
        self.network_id = network_id
        self.values = dict(values or {})
        self.overlays = overlays

    def attach(self, engine: Engine) -> None:
        """Compare when an engine starts.

        Args:
            engine: the trainer.
        """
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Compare.

        Args:
            engine: the trainer.
        """
        file = self.bundle / "configs" / "inference.yaml"
        if not file.is_file():
            logger.warning(f"there is no {file}, so nothing tells whether the card describes what is trained")
            return
        check_entries(self.card)
        values = {"bundle_root": str(self.bundle), **self.values, "card": opened(self.card)}
        parser = open_inference(self.bundle, self.overlays, values)
        for name, trained in self._facts():
            if name not in parser:
                continue
            with naming_configuration(file):
                described = self._described(parser, name)
            if found := first_difference(trained, described, name):
                raise ValueError(
                    f"the card would not describe what is trained: {found[0]} is {found[1]} in this training, and "
                    f"{found[2]} where {file} is given the card. Override the ids that the card holds "
                    f"({', '.join(self.card)}) instead of entries below other ids, or change {file.name} likewise"
                )

    def _facts(self) -> Iterator[tuple[str, Any]]:
        """What is trained, by ids of the configuration for inference."""
        if self.image_size is not None:
            yield "image_size", self.image_size
        for one in self.trained:
            if isinstance(one, torch.nn.Module):
                yield self.network_id, unwrapped_network(one)
            if isinstance(parameterization := getattr(one, "parameterization", None), Parameterization):
                yield "parameterization", parameterization
            encoder = getattr(one, "encoder", one)  # that of a dictionary transform
            if isinstance(encoder, EncodeMask):
                yield "encoder", encoder
            elif isinstance(encoder, EncodeFindings):
                yield "prompt_encoder", encoder
            if isinstance(scaler := getattr(one, "scaler", one), ScaleIntensityRange):
                yield "intensity_range", _limits(scaler)
                yield "network_range", [scaler.b_min, scaler.b_max]
            if isinstance(ablator := getattr(one, "ablator", one), RandClassAblation):
                yield "classes", ablator.vocabulary.classes
                if ablator.fill == "parent":  # the background takes the place of all parents otherwise
                    yield "parents", ablator.vocabulary.parents
                yield "full_prob", ablator.full_prob
                yield "null_prob", ablator.null_prob
            if isinstance(one, (RandDropPrompt, RandDropPromptd)):
                yield "null_prob", one.prob

    def _described(self, parser: ConfigParser, name: str) -> Any:
        """What the configuration for inference makes; a network without memory for its weights."""
        made = made_without_memory(parser, name) if name == self.network_id else parser.get_parsed_content(name)
        if name == "classes":
            return {key: ids if isinstance(ids, (list, tuple)) else [ids] for key, ids in made.items()}
        return made


def _limits(scaler: ScaleIntensityRange) -> list[Any]:
    """The intensities that are scaled, as a card has them: one pair, or one for each channel."""
    of_channel = getattr(scaler, "of_channel", None)
    if of_channel:
        return [[one.a_min, one.a_max] for one in of_channel]
    return [scaler.a_min, scaler.a_max]
