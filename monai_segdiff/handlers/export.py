"""Weights on disk: written with their card for inference, and loaded where they are the card's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from monai_segdiff.networks import load_weights, save_weights
from monai_segdiff.networks.card_entries import check_entries, plain
from monai_segdiff.networks.weights import unwrapped_network

__all__ = ["ExportWeights", "LoadWeights"]


class ExportWeights:
    """Write the weights of a network alone, for inference, at the end of a training and on the way.

    The file is complete at any time and holds the plain state dictionary that MONAI bundles keep in
    ``models/model.pt``. With a card beside it, a kill at any time leaves weights with their card. In a parallel run
    rank 0 writes.

    Args:
        network: the network, usually the averaged one.
        path: the file.
        interval: epochs between writings; 0 for the end only.
        card: what the network is and was trained on, plain types; goes beside the weights as YAML (``model.yaml`` for
            ``model.pt``), with their hash, for the configuration that loads them
            (:func:`~monai_segdiff.networks.open_card`).

    Raises:
        ValueError: when the card says what no card can say.
        OSError: when the file cannot be written, naming it.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        path: str | os.PathLike[str],
        interval: int = 0,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = unwrapped_network(network)
        self.path = Path(path)
        self.interval = interval
        self.card = None if card is None else plain(card)
        if self.card is not None:
            check_entries(self.card)  # now, and not when the training is over

    def attach(self, engine: Engine) -> None:
        """Write whenever it is time in the run of an engine.

        Args:
            engine: the trainer.
        """
        if self.interval > 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the file.

        Args:
            engine: the trainer.
        """
        if idist.get_rank() == 0:
            save_weights(self.network.state_dict(), self.path, self.card)


class LoadWeights:
    """Load the weights of a network when a run starts.

    MONAI's ``CheckpointLoader`` takes weights that are damaged, not finite, or not those that the card describes.

    Args:
        network: the network.
        path: the file, such as a bundle's ``models/model.pt``.
        card: what :func:`~monai_segdiff.networks.open_card` gave for the file.

    Raises:
        FileNotFoundError: on start, where there is no such file.
        ValueError: on start, for what :func:`~monai_segdiff.networks.load_weights` refuses.
    """

    def __init__(
        self, network: torch.nn.Module, path: str | os.PathLike[str], card: Mapping[str, Any] | None = None
    ) -> None:
        self.network = network
        self.path = path
        self.card = card

    def attach(self, engine: Engine) -> None:
        """Load when an engine starts.

        Args:
            engine: the evaluator.
        """
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load the weights.

        Args:
            engine: the evaluator.
        """
        load_weights(self.network, self.path, self.card)
