from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from monai_segdiff.handlers import ExponentialMovingAverage


def average_of_ramp(iterations: int, **options: float) -> float:
    """The average of a weight that is n after iteration n."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    ema = ExponentialMovingAverage(network, **options)

    def step(engine: Engine, batch: int) -> None:
        with torch.no_grad():
            network.weight.fill_(float(engine.state.iteration))

    engine = Engine(step)
    ema.attach(engine)
    engine.run(range(iterations), max_epochs=1)
    return ema.network.weight.item()


@pytest.mark.parametrize("n", [1, 2, 3, 10, 100])
def test_growing_window_closed_form(n: int) -> None:
    # e_n = (1 - 2/n) e_{n-1} + 2 with e_2 = 2 is solved by 2 (n + 1) / 3
    expected = n if n < 2 else 2 * (n + 1) / 3
    assert average_of_ramp(n, momentum=1e-6, relative_window=0.5) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_long_run_closed_form(n: int) -> None:
    # e_n = e_{n-1} / 2 + n / 2 with e_1 = 1 is solved by n - 1 + 2^(1-n)
    assert average_of_ramp(n, momentum=0.5, relative_window=1.0) == pytest.approx(n - 1 + 2.0 ** (1 - n), rel=1e-6)


def test_average_of_linear_model_trained_by_stock_engine() -> None:
    from monai.engines import SupervisedTrainer

    network = nn.Linear(2, 1, bias=False)
    start = network.weight.detach().clone()
    batch = (torch.tensor([[1.0, -3.0]]), torch.zeros(1, 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    ema = ExponentialMovingAverage(network, momentum=0.5, relative_window=1.0)
    SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[batch] * 6,
        network=network,
        optimizer=optimizer,
        loss_function=lambda prediction, _: prediction.sum(),
        train_handlers=[ema],
    ).run()
    # the gradient is the input, so the weights move along a line: w_n = w_0 - n lr x
    torch.testing.assert_close(network.weight.detach(), start - 0.6 * batch[0])
    torch.testing.assert_close(ema.network.weight, start - 0.1 * (6 - 1 + 2.0**-5) * batch[0])


def test_averaged_network_is_apart_in_eval_mode_and_without_gradients() -> None:
    network = nn.Linear(2, 2)
    ema = ExponentialMovingAverage(network)
    assert not ema.network.training
    assert not any(parameter.requires_grad for parameter in ema.network.parameters())
    with torch.no_grad():
        network.weight.add_(1)
    assert not torch.equal(ema.network.weight, network.weight)


def test_state_goes_round() -> None:
    ema, other = ExponentialMovingAverage(nn.Linear(2, 2)), ExponentialMovingAverage(nn.Linear(2, 2))
    other.load_state_dict(ema.state_dict())
    assert torch.equal(other.network.weight, ema.network.weight)


@pytest.mark.parametrize("options", [{"momentum": 0.0}, {"momentum": 1.0}, {"relative_window": 0.0}])
def test_numbers_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"momentum|relative_window"):
        ExponentialMovingAverage(nn.Linear(1, 1), **options)


def test_frozen_weights_stay_to_the_bit() -> None:
    torch.manual_seed(0)
    network = nn.Linear(64, 64)
    network.weight.requires_grad_(False)
    before = network.weight.detach().clone()
    assert not torch.equal(before.mul(0.9).add(before, alpha=0.1), before), "an average with itself is rounded"
    ema = ExponentialMovingAverage(network, momentum=0.1, relative_window=1.0)

    def step(engine: Engine, batch: int) -> None:
        with torch.no_grad():
            network.bias.add_(1.0)

    engine = Engine(step)
    ema.attach(engine)
    engine.run(range(5), max_epochs=1)
    assert torch.equal(ema.network.weight, before)
    assert not torch.equal(ema.network.bias, network.bias)
