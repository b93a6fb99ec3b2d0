from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.inferers import SimpleInferer
from torch import nn

from monai_segdiff.diffusion import EDM, EpsilonVP
from monai_segdiff.engines import RegressionPrepareBatch, SegDiffusionPrepareBatch


def make_batch(size: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(size, 1, 6, 5, generator=generator) * 2 - 1,
        "label": torch.randn(size, 4, 6, 5, generator=generator).sign(),
    }


def test_pair_is_the_parameterizations_own_for_the_seeded_draws() -> None:
    batch, edm = make_batch(), EDM()
    torch.manual_seed(5)
    x, target, (timesteps,), keywords = SegDiffusionPrepareBatch(edm)(batch)
    torch.manual_seed(5)
    level = edm.draw_levels(3)
    expected = edm.training_pair(batch["image"], torch.randn(3, 1, 6, 5), level)
    assert all(torch.equal(a, b) for a, b in zip((x, timesteps, target), expected, strict=True))
    assert torch.equal(keywords["condition"], batch["label"])


@pytest.mark.parametrize("parameterization", [EDM(), EpsilonVP()])
def test_noise_and_levels_are_new_in_each_call(parameterization) -> None:
    prepare_batch = SegDiffusionPrepareBatch(parameterization)
    first, second = prepare_batch(make_batch(8)), prepare_batch(make_batch(8))
    assert not torch.equal(first[0], second[0])
    assert len(set(first[2][0].tolist())) > 1
    assert not torch.equal(first[2][0], second[2][0])


def test_tensors_are_plain_float32_and_the_batch_is_left_alone() -> None:
    batch = {key: MetaTensor(value.double()) for key, value in make_batch().items()}
    copies = {key: value.clone() for key, value in batch.items()}
    x, target, (timesteps,), keywords = SegDiffusionPrepareBatch(EDM())(batch)
    for tensor in (x, target, keywords["condition"]):
        assert type(tensor) is torch.Tensor
        assert tensor.dtype == torch.float32
    assert type(timesteps) is torch.Tensor
    assert all(torch.equal(batch[key], copies[key]) for key in batch)


def test_other_keys_and_no_condition() -> None:
    batch = make_batch()
    batch = {"ct": batch["image"], "mask": batch["label"]}
    assert SegDiffusionPrepareBatch(EDM(), "ct", "mask")(batch)[3].keys() == {"condition"}
    assert SegDiffusionPrepareBatch(EDM(), "ct", None)(batch)[3] == {}


def test_a_prompt_needs_as_many_rows_as_there_are_images() -> None:
    prompts = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    prepare_batch = SegDiffusionPrepareBatch(EDM(), condition_key="findings")
    keywords = prepare_batch({"image": torch.zeros(2, 3, 8, 8), "findings": prompts})[3]
    torch.testing.assert_close(keywords["condition"], prompts)
    with pytest.raises(ValueError, match="do not belong together"):
        prepare_batch({"image": torch.zeros(4, 3, 8, 8), "findings": prompts})


def test_a_mask_may_be_finer_than_the_latent_by_a_known_factor() -> None:
    batch = {"image": torch.zeros(2, 3, 4, 4), "label": torch.ones(2, 6, 16, 16)}
    keywords = SegDiffusionPrepareBatch(EDM(), condition_downsampling=4)(batch)[3]
    assert keywords["condition"].shape == (2, 6, 16, 16)
    with pytest.raises(ValueError, match="but for a factor of 2"):
        SegDiffusionPrepareBatch(EDM(), condition_downsampling=2)(batch)


PREPARE = [SegDiffusionPrepareBatch(EDM()), RegressionPrepareBatch()]


@pytest.mark.parametrize("prepare_batch", PREPARE)
@pytest.mark.parametrize(
    ("image", "label"),
    [((2, 1, 8, 8), (2, 4, 8, 6)), ((2, 1, 8, 8), (2, 4, 8, 8, 8)), ((2, 1, 8, 8), (1, 4, 8, 8)), ((2, 1), (2, 4))],
)
def test_shapes_that_do_not_belong_together_are_refused(prepare_batch, image, label) -> None:
    with pytest.raises(ValueError, match="do not belong together") as error:
        prepare_batch({"image": torch.zeros(image), "label": torch.zeros(label)})
    assert str(image) in str(error.value)
    assert str(label) in str(error.value)


@pytest.mark.parametrize("prepare_batch", PREPARE)
def test_missing_key_is_named(prepare_batch) -> None:
    with pytest.raises(KeyError, match="no 'label', only"):
        prepare_batch({"image": torch.zeros(1, 1, 4, 4)})


def test_stock_trainer_learns_the_best_linear_denoiser() -> None:
    class Gain(nn.Module):
        """Multiplies its input by a number."""

        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.zeros(()))

        def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            return self.gain * x

    torch.manual_seed(0)
    network = Gain()
    # images are Gaussian noise of std 0.5 = sigma_data: EDM's skip connection is already the optimal denoiser
    batches = [{"image": 0.5 * torch.randn(64, 1, 8, 8), "label": torch.ones(64, 2, 8, 8)} for _ in range(20)]
    losses: list[float] = []
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=2,
        train_data_loader=batches,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=nn.MSELoss(),
        prepare_batch=SegDiffusionPrepareBatch(EDM()),
        inferer=SimpleInferer(),
        decollate=False,
    )
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output["loss"].item())
    )
    trainer.run()
    assert abs(network.gain.item()) < 0.01
    # and what remains is noise of unit variance: the target of EDM has that by construction
    assert sum(losses) / len(losses) == pytest.approx(1.0, abs=0.01)


def test_regression_takes_the_mask_for_input_and_the_image_for_target() -> None:
    batch = {key: MetaTensor(value.double()) for key, value in make_batch().items()}
    condition, target = RegressionPrepareBatch()(batch, device="cpu", non_blocking=True)
    for tensor, key in ((condition, "label"), (target, "image")):
        assert type(tensor) is torch.Tensor
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor.double(), batch[key].as_tensor())
    other = RegressionPrepareBatch("ct", "mask")({"ct": batch["image"], "mask": batch["label"]})
    assert torch.equal(other[0], condition)
    assert torch.equal(other[1], target)


def test_stock_trainer_regresses_the_median_with_l1() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(1, 1, 1)
    mask = (torch.rand(32, 1, 16, 16) > 0.5).float()
    # skewed noise: its median is 0, its mean is not
    noise = torch.rand(mask.shape).pow(4) - 0.5**4
    batches = [{"image": 0.3 * mask + 0.1 + noise, "label": mask}] * 150
    optimizer = torch.optim.SGD(network.parameters(), lr=0.3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=150)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=batches,
        network=network,
        optimizer=optimizer,
        loss_function=nn.L1Loss(),
        prepare_batch=RegressionPrepareBatch(),
        inferer=SimpleInferer(),
        decollate=False,
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: schedule.step())
    trainer.run()
    assert network.weight.item() == pytest.approx(0.3, abs=0.01)
    assert network.bias.item() == pytest.approx(0.1, abs=0.01)
