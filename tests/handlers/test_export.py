"""Weights for inference: written on the way of a training, and loaded where they are the card's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from toy_training import build_training

from monai_segdiff.handlers import ExportWeights, LoadWeights
from monai_segdiff.networks import read_card, save_weights, weights_hash


def test_weights_are_exported_on_the_way_with_their_card(tmp_path: Path) -> None:
    training = build_training(tmp_path, 3)
    path = tmp_path / "early" / "model.pt"
    ExportWeights(training.ema.network, path, interval=2, card={"classes": {"liver": (1, 2)}}).attach(training.trainer)
    training.trainer.add_event_handler(Events.EPOCH_STARTED(once=3), training.trainer.terminate)
    saved: list[dict[str, torch.Tensor]] = []
    training.trainer.add_event_handler(
        Events.EPOCH_COMPLETED(once=2), lambda: saved.append(torch.load(path, weights_only=True))
    )
    training.trainer.run()
    expected = torch.load(tmp_path / "checkpoint_epoch=2.pt", weights_only=True)["ema"]
    assert saved[0].keys() == expected.keys()
    assert all(torch.equal(saved[0][name], value) for name, value in expected.items())
    assert read_card(path) == {"weights_sha256": [weights_hash(path)], "classes": {"liver": [1, 2]}}


def test_a_card_that_says_what_none_can_is_refused_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image_size has to be a list of whole numbers"):
        ExportWeights(torch.nn.Linear(1, 1), tmp_path / "model.pt", card={"image_size": [0, 16]})


def test_weights_are_loaded_when_a_run_starts_and_refused_where_they_are_none_of_the_cards(tmp_path: Path) -> None:
    path, card = tmp_path / "model.pt", {"classes": {"liver": 1}}
    trained, network = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    save_weights(trained.state_dict(), path, card)
    engine = Engine(lambda engine, batch: None)
    LoadWeights(network, path, read_card(path)).attach(engine)
    assert not torch.equal(network.weight, trained.weight)
    engine.run([0])
    assert torch.equal(network.weight, trained.weight)
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(ValueError, match=r"model\.pt holds the weights .* model\.yaml beside it is the card of"):
        LoadWeights(network, path, read_card(path))(SimpleNamespace())
