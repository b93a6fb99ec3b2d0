from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import IterationEvents, SupervisedTrainer
from monai.transforms import LoadImaged
from torch import nn

from monai_segdiff.handlers import StopOnNonFiniteLoss


def train(loader: object, network: nn.Module, loss_function: object) -> None:
    SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=loader,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        loss_function=loss_function,
        prepare_batch=lambda batch, *_, **__: (torch.as_tensor(batch["image"]).float(), None),
        train_handlers=[StopOnNonFiniteLoss()],
    ).run()


def test_file_with_nan_is_named(tmp_path) -> None:
    files = [tmp_path / "good.nii.gz", tmp_path / "bad.nii.gz"]
    for file, value in zip(files, [1.0, np.nan], strict=True):
        nibabel.save(nibabel.Nifti1Image(np.full((4, 4), value, dtype=np.float32), np.eye(4)), file)
    data = Dataset([{"image": str(file)} for file in files], LoadImaged("image"))
    network = nn.Linear(4, 1)
    before = network.weight.detach().clone()
    with pytest.raises(FloatingPointError, match=r"bad\.nii\.gz") as error:
        train(DataLoader(data, batch_size=2), network, lambda prediction, _: prediction.mean())
    assert "good.nii.gz" not in str(error.value)
    assert "check-data" in str(error.value)
    assert torch.equal(network.weight, before)


def test_image_without_a_file_is_counted() -> None:
    batch = {"image": torch.tensor([[0.0, 0.0], [0.0, torch.inf]])}
    with pytest.raises(FloatingPointError, match="image 1 of the batch"):
        train([batch], nn.Linear(2, 1), lambda prediction, _: prediction.mean())


def test_image_without_metadata_is_named_by_its_case() -> None:
    batch = {"image": torch.tensor([[0.0, 0.0], [torch.nan, 0.0]]), "case": ["patient_1", "patient_2"]}
    with pytest.raises(FloatingPointError, match="finite in 'patient_2': mend"):
        train([batch], nn.Linear(2, 1), lambda prediction, _: prediction.mean())


def test_divergence_stops_the_run_in_its_iteration() -> None:
    losses = iter([1.0, float("inf")])
    batch = {"image": torch.ones(1, 2)}
    with pytest.raises(FloatingPointError, match=r"loss is inf in epoch 1, iteration 2.*learning rate"):
        train([batch] * 3, nn.Linear(2, 1), lambda prediction, _: prediction.mean() * 0 + next(losses))


def test_finite_loss_runs_to_the_end() -> None:
    network = nn.Linear(2, 1, bias=False)
    before = network.weight.detach().clone()
    train([{"image": torch.ones(1, 2)}] * 2, network, lambda prediction, _: prediction.mean())
    torch.testing.assert_close(network.weight.detach(), before - 2)


def test_every_loss_that_is_named_is_watched() -> None:
    batch = {"image": torch.ones(1, 2)}

    def step(engine, _):
        engine.state.output = {"loss": torch.tensor(1.0), "discriminator": torch.tensor(torch.nan)}
        engine.fire_event(IterationEvents.LOSS_COMPLETED)

    def run(handler: StopOnNonFiniteLoss) -> None:
        network = nn.Linear(2, 1)
        SupervisedTrainer(
            device="cpu",
            max_epochs=1,
            train_data_loader=[batch],
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
            loss_function=nn.MSELoss(),
            iteration_update=step,
            train_handlers=[handler],
            decollate=False,
        ).run()

    run(StopOnNonFiniteLoss())
    with pytest.raises(FloatingPointError, match="the discriminator loss is nan in epoch 1, iteration 1"):
        run(StopOnNonFiniteLoss(loss_keys=["loss", "discriminator"]))
