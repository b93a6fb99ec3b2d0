from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator

from monai_segdiff.inferers import MaskToImage, RegressionInferer
from monai_segdiff.transforms import EncodeMask


class Regressor(torch.nn.Module):
    """Adds a constant to its input; dropout tells training from evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = torch.nn.Parameter(torch.tensor(0.25))
        self.dropout = torch.nn.Dropout(0.5)
        self.calls: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append(x)
        return self.dropout(x + self.offset)


CONDITION = torch.linspace(0, 1, 32).reshape(2, 1, 4, 4)


def test_the_network_is_called_once_on_the_condition():
    network, inferer = Regressor(), RegressionInferer()
    images = inferer(inputs=CONDITION, network=network, indices=[3, 1])
    assert torch.equal(images, CONDITION + 0.25)
    assert len(network.calls) == inferer.evaluations == 1
    assert torch.equal(inferer(CONDITION, network), images), "indices change nothing"


def test_the_network_is_left_as_it_was_and_tensors_are_plain():
    network = Regressor().train()
    images = RegressionInferer()(MetaTensor(CONDITION.double()), network)
    assert network.training
    assert network.dropout.training
    assert type(network.calls[0]) is type(images) is torch.Tensor
    assert images.dtype == torch.float32
    assert not images.requires_grad
    (images * network.offset).sum().backward()  # not a tensor of inference mode
    assert network.offset.grad is not None


def test_half_precision_is_the_networks_alone():
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    full, half = (RegressionInferer(name)(CONDITION, network) for name in ("float32", "bfloat16"))
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(half, full, atol=0.02, rtol=0)
    with pytest.raises(ValueError, match="amp_dtype"):
        RegressionInferer("int8")


def test_it_stands_in_a_generator_and_in_a_stock_evaluator():
    encoder = EncodeMask({"contour": 1, "bone": 2}, mode="values", values={"contour": 0.5, "bone": 1.0})
    labels = torch.tensor([[[[0, 1], [2, 1]]]])
    expected = torch.tensor([[[[0.25, 0.75], [1.25, 0.75]]]])
    generator = MaskToImage(Regressor().eval(), RegressionInferer(), encoder)
    assert torch.equal(generator(labels), expected)
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=[{"image": encoder(labels[0])[None]}],
        network=Regressor(),
        inferer=RegressionInferer(),
        decollate=False,
    )
    evaluator.run()
    assert torch.equal(evaluator.state.output["pred"], expected)
