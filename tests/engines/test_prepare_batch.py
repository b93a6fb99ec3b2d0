from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.inferers import SimpleInferer
from torch import nn

from monai_segdiff.diffusion import EDM, EpsilonVP
from monai_segdiff.engines import SegDiffusionPrepareBatch


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


@pytest.mark.parametrize(
    ("image", "label"),
    [((2, 1, 8, 8), (2, 4, 8, 6)), ((2, 1, 8, 8), (2, 4, 8, 8, 8)), ((2, 1, 8, 8), (1, 4, 8, 8)), ((2, 1), (2, 4))],
)
def test_shapes_that_do_not_belong_together_are_refused(image: tuple[int, ...], label: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not belong together") as error:
        SegDiffusionPrepareBatch(EDM())({"image": torch.zeros(image), "label": torch.zeros(label)})
    assert str(image) in str(error.value)
    assert str(label) in str(error.value)


def test_missing_key_is_named() -> None:
    with pytest.raises(KeyError, match="no 'label', only"):
        SegDiffusionPrepareBatch(EDM())({"image": torch.zeros(1, 1, 4, 4)})


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
