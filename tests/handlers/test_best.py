from __future__ import annotations

import operator
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from torch import nn

from monai_segdiff.handlers import ExportBestWeights
from monai_segdiff.networks import weights_hash


class Given(nn.Module):
    """A metric that is handed over: the network's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))


def evaluate(network: Given, handler: ExportBestWeights, values: list[float], compare=operator.gt) -> list[float]:
    """Run an evaluator with these values of its key metric; the weight in the file after each."""
    engine = Engine(lambda *_: None)
    engine.state.key_metric_name, engine.metric_cmp_fn = "value", compare
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: engine.state.metrics.update(value=network.weight.item()))
    handler.attach(engine)
    written = []
    for value in values:
        network.weight.data.fill_(value)
        engine.run([0], max_epochs=1)
        file = torch.load(handler.path, weights_only=True) if handler.path.exists() else {"weight": torch.tensor(-1.0)}
        written.append(file["weight"].item())
    return written


def test_the_best_weights_stay(tmp_path: Path) -> None:
    network = Given()
    handler = ExportBestWeights(network, tmp_path / "best.pt", card={"size": (8, 8)})
    assert evaluate(network, handler, [2.0, 1.0, 3.0, 3.0, float("nan")]) == [2.0, 2.0, 3.0, 3.0, 3.0]
    kept = weights_hash({"weight": torch.tensor(3.0)})
    assert (tmp_path / "best.yaml").read_text() == f"weights_sha256: [{kept}]\nsize: [8, 8]\n"


def test_the_evaluator_says_what_is_better(tmp_path: Path) -> None:
    network = Given()
    handler = ExportBestWeights(network, tmp_path / "best.pt")
    assert evaluate(network, handler, [2.0, 1.0, 3.0], operator.lt) == [2.0, 1.0, 1.0]


def test_a_value_that_is_no_number_is_not_the_best(tmp_path: Path) -> None:
    network = Given()
    handler = ExportBestWeights(network, tmp_path / "best.pt")
    assert evaluate(network, handler, [float("nan"), 1.0]) == [-1.0, 1.0]


def test_a_resumed_training_knows_what_it_has_to_beat(tmp_path: Path) -> None:
    network = Given()
    first = ExportBestWeights(network, tmp_path / "best.pt")
    evaluate(network, first, [2.0])
    second = ExportBestWeights(network, tmp_path / "best.pt")
    second.load_state_dict(first.state_dict())
    assert evaluate(network, second, [1.0, 2.5]) == [2.0, 2.5]


def test_it_attaches_to_a_stock_evaluator(tmp_path: Path) -> None:
    from ignite.metrics import MeanSquaredError
    from monai.handlers import from_engine

    network = nn.Conv2d(1, 1, 1)
    batch = {"image": torch.ones(1, 1, 1, 1), "label": torch.zeros(1, 1, 1, 1)}
    handler = ExportBestWeights(network, tmp_path / "best.pt")
    SupervisedEvaluator(
        device="cpu",
        val_data_loader=[batch],
        network=network,
        key_val_metric={"mse": MeanSquaredError(from_engine(["pred", "label"]))},
        metric_cmp_fn=operator.lt,
        val_handlers=[handler],
        decollate=False,
    ).run()
    assert handler.best == torch.nn.functional.mse_loss(network(batch["image"]), batch["label"]).item()
    assert torch.equal(torch.load(tmp_path / "best.pt", weights_only=True)["weight"], network.weight)
