from __future__ import annotations

import pytest
import torch
from monai.engines import IterationEvents, SupervisedTrainer
from torch import nn

from monai_segdiff.handlers import GradientClipping


def train(inputs: list[list[float]], max_norm: float, **options: int) -> tuple[torch.Tensor, SupervisedTrainer]:
    """Distance that the weights of a linear model have moved; its gradient is its input and the learning rate is 1."""
    network = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(network.weight)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[(torch.tensor([x]), torch.zeros(1, 1)) for x in inputs],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        loss_function=lambda prediction, _: prediction.sum(),
        train_handlers=[GradientClipping(max_norm)],
        **options,
    )
    trainer.run()
    return -network.weight.detach()[0], trainer


def test_long_gradient_is_scaled_to_the_norm() -> None:
    moved, trainer = train([[3.0, 4.0]], max_norm=1.0)
    torch.testing.assert_close(moved, torch.tensor([0.6, 0.8]))
    assert trainer.state.gradient_norm.item() == pytest.approx(5.0)


def test_short_gradient_is_left_alone() -> None:
    moved, _ = train([[0.3, 0.4]], max_norm=1.0)
    torch.testing.assert_close(moved, torch.tensor([0.3, 0.4]))


def test_accumulated_gradient_is_clipped_as_a_whole() -> None:
    # mean of the first two is (3, 4), of norm 5; a lone third batch steps too, with half its gradient
    moved, _ = train([[6.0, 0.0], [0.0, 8.0], [0.0, 0.5]], max_norm=1.0, accumulation_steps=2)
    torch.testing.assert_close(moved, torch.tensor([0.6, 0.8 + 0.25]))


def test_loss_scaling_is_undone_first() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    _, trainer = train([[0.0, 0.0]], max_norm=1.0)
    trainer.optimizer, trainer.scaler = optimizer, torch.amp.GradScaler("cpu", init_scale=1024.0)
    trainer.scaler.scale(weight @ torch.tensor([0.3, 0.4])).backward()
    trainer.fire_event(IterationEvents.BACKWARD_COMPLETED)
    trainer.scaler.step(optimizer)
    torch.testing.assert_close(-weight.detach(), torch.tensor([0.3, 0.4]))


def test_norm_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_norm must be positive"):
        GradientClipping(0.0)
