from __future__ import annotations

import pytest
import torch
from torch import distributions, nn

from monai_segdiff.losses import AutoencoderLoss, kl_divergence


def posterior(spatial: tuple[int, ...] = (2, 3)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(2, 3, *spatial, generator=generator)
    return mean, torch.rand(mean.shape, generator=generator) + 0.1


@pytest.mark.parametrize("spatial", [(2, 3), (2, 3, 4)])
def test_divergence_is_that_of_the_distributions(spatial) -> None:
    mean, std = posterior(spatial)
    normal = distributions.Normal(torch.zeros_like(mean), torch.ones_like(std))
    expected = distributions.kl_divergence(distributions.Normal(mean, std), normal).sum() / 2  # two images
    torch.testing.assert_close(kl_divergence(mean, std), expected)


def test_divergence_of_one_value_is_the_closed_form() -> None:
    # 0.5 * (0.5^2 + 2^2 - 1 - 2 ln 2) = 0.5 * (3.25 - 1.386294) = 0.931853
    value = kl_divergence(torch.full((1, 1, 1), 0.5), torch.full((1, 1, 1), 2.0))
    assert value.item() == pytest.approx(0.931853, abs=1e-6)
    assert kl_divergence(torch.zeros(1, 3, 4), torch.ones(1, 3, 4)).item() == 0


def test_divergence_is_computed_in_float32_and_finite_at_the_smallest_std() -> None:
    std = torch.full((1, 1, 4), torch.tensor(-15.0).exp().item(), dtype=torch.bfloat16)  # AutoencoderKL's lower bound
    value = kl_divergence(torch.zeros_like(std), std)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(4 * (15 - 0.5), rel=1e-3)


class HalfDifference(nn.Module):
    """A perceptual network with a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.weight * (prediction - target).abs().max()


def test_the_loss_is_the_weighted_sum_of_parts_computed_by_hand() -> None:
    loss = AutoencoderLoss(
        "l1", kl_weight=0.1, adversarial_weight=0.2, perceptual=HalfDifference(), perceptual_weight=3.0
    )
    prediction = torch.tensor([[[0.0, 1.0]], [[0.5, -0.5]]])
    target = torch.tensor([[[0.0, 0.0]], [[0.0, 0.5]]])
    mean, std = torch.tensor([[[1.0]], [[0.0]]]), torch.ones(2, 1, 1)
    parts = loss(prediction, target, mean, std, logits=torch.tensor([0.5, -1.0]))
    expected = {
        "reconstruction": 2.5 / 4,
        "kl": 0.25,  # 0.5 nats of one of two images
        "adversarial": (0.5**2 + 2**2) / 2,  # squared distance from 1
        "perceptual": 0.5,
    }
    assert {name: part.item() for name, part in parts.items() if name != "loss"} == pytest.approx(expected)
    assert parts["loss"].item() == pytest.approx(2.5 / 4 + 0.1 * 0.25 + 0.2 * 2.125 + 3 * 0.5)
    squares = AutoencoderLoss("l2")(prediction, target, mean, std)
    assert squares["reconstruction"].item() == pytest.approx((1 + 0.25 + 1) / 4)
    assert squares["adversarial"] == 0
    assert "perceptual" not in squares
    assert squares["loss"].item() == pytest.approx(2.25 / 4 + 1e-6 * 0.25)


def test_the_discriminator_shall_say_one_to_real_and_zero_to_fake() -> None:
    loss = AutoencoderLoss()
    value = loss.discriminator_loss(torch.tensor([1.0, 0.0]), torch.tensor([0.5, -1.5]))
    assert value.item() == pytest.approx(0.5 * (1 / 2 + (0.25 + 2.25) / 2))
    assert loss.discriminator_loss(torch.ones(3), torch.zeros(3)).item() == 0
    assert loss.discriminator_loss(torch.full((3,), 0.5), torch.full((3,), 0.5)).item() == 0.25


def test_the_perceptual_network_is_frozen_and_stays_in_eval_mode() -> None:
    perceptual = HalfDifference()
    loss = AutoencoderLoss(perceptual=perceptual).train()
    assert not perceptual.weight.requires_grad
    assert not perceptual.training
    prediction = torch.zeros(1, 1, 2, requires_grad=True)
    mean, std = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    loss(prediction, torch.tensor([[[1.0, 0.0]]]), mean, std)["loss"].backward()
    assert prediction.grad[0, 0, 0].item() == pytest.approx(-0.5 - 0.5), "the mean's and that of the network"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reconstruction": "huber"}, "unknown reconstruction 'huber': choose one of l1, l2"),
        ({"kl_weight": -1.0}, "must not be negative, got kl_weight -1.0"),
        ({"adversarial_weight": -0.5}, "adversarial_weight -0.5"),
    ],
)
def test_bad_options_are_named(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        AutoencoderLoss(**options)
