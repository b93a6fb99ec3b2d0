"""A small autoencoder training on a stock trainer with all of its handlers, which tests start, kill and continue."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.networks.nets import AutoencoderKL, PatchDiscriminator
from torch import nn

from monai_segdiff.data import EpochSampler
from monai_segdiff.engines import AutoencoderUpdate, RegressionPrepareBatch
from monai_segdiff.handlers import (
    ExponentialMovingAverage,
    GradientClipping,
    ReproducibleRun,
    ResumeCheckpoint,
    StopOnNonFiniteLoss,
)
from monai_segdiff.losses import AutoencoderLoss

BATCHES = 2  # of an epoch


def tiny_autoencoder(**options: Any) -> AutoencoderKL:
    settings = {
        "spatial_dims": 2,
        "channels": [8, 8],
        "num_res_blocks": 1,
        "attention_levels": [False, False],
        "with_encoder_nonlocal_attn": False,
        "with_decoder_nonlocal_attn": False,
        "latent_channels": 2,
        "norm_num_groups": 4,
    }
    return AutoencoderKL(**{**settings, **options})


def tiny_discriminator(**options: Any) -> PatchDiscriminator:
    settings = {"spatial_dims": 2, "in_channels": 1, "channels": 4, "num_layers_d": 1, "norm": "INSTANCE"}
    return PatchDiscriminator(**{**settings, **options})


def disc_images(number: int = 4, shape: tuple[int, ...] = (16, 16)) -> list[dict[str, torch.Tensor]]:
    """Discs, or balls, in -1..1 and masks that show where they are."""
    grids = torch.meshgrid(*(torch.arange(float(size)) for size in shape), indexing="ij")
    items = []
    for index in range(number):
        inside = sum((grid - 6 - index) ** 2 for grid in grids) < 20
        mask = inside.float()[None]
        items.append({"image": mask * 1.2 - 0.7, "label": mask - 1})
    return items


@dataclass
class ToyAutoencoder:
    """A training that is ready to run."""

    trainer: SupervisedTrainer
    network: nn.Module
    discriminator: nn.Module | None
    resumable: dict[str, Any]

    def state(self) -> dict[str, torch.Tensor]:
        """All tensors that training has changed, by name."""
        tensors: dict[str, torch.Tensor] = {}
        for name, part in self.resumable.items():
            _flatten(name, part.state_dict(), tensors)
        return tensors


def _flatten(name: str, value: Any, tensors: dict[str, torch.Tensor]) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _flatten(f"{name}.{key}", item, tensors)
    elif isinstance(value, (torch.Tensor, int, float)):
        tensors[name] = torch.as_tensor(value, dtype=getattr(value, "dtype", torch.float64)).detach().clone()


def build(
    epochs: int = 2,
    directory: Path | str | None = None,
    *,
    adversarial_start: int = 1,
    with_discriminator: bool = True,
    adversarial_weight: float = 0.5,
    images: list[dict[str, torch.Tensor]] | None = None,
    network: nn.Module | None = None,
    discriminator: nn.Module | None = None,
    handlers: list[Any] | None = None,
    prepare_batch: Any = None,
    trainer_options: dict[str, Any] | None = None,
    **update_options: Any,
) -> ToyAutoencoder:
    """Build a training; its checkpoints go to `directory`."""
    torch.manual_seed(0)
    network = tiny_autoencoder() if network is None else network
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=6)
    ema = ExponentialMovingAverage(network)
    resumable = {"network": network, "ema": ema, "optimizer": optimizer, "lr_scheduler": scheduler}
    if with_discriminator:
        discriminator = tiny_discriminator() if discriminator is None else discriminator
        own = torch.optim.Adam(discriminator.parameters(), lr=5e-3, betas=(0.5, 0.9))
        resumable |= {"discriminator": discriminator, "discriminator_optimizer": own}
        update_options |= {"discriminator": discriminator, "discriminator_optimizer": own}
    update = AutoencoderUpdate(
        AutoencoderLoss(adversarial_weight=adversarial_weight), adversarial_start=adversarial_start, **update_options
    )
    items = disc_images() if images is None else images
    loader = torch.utils.data.DataLoader(items, batch_size=2, sampler=EpochSampler(len(items), batch_size=2, seed=3))
    attached = [
        ReproducibleRun(0, loader),
        LrScheduleHandler(scheduler, print_lr=False, epoch_level=False),
        GradientClipping(1.0),
        StopOnNonFiniteLoss(loss_keys=["loss", "discriminator"]),
        ema,
        *(handlers or []),
    ]
    if directory is not None:
        attached.append(ResumeCheckpoint(directory, resumable))
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=update.loss,
        prepare_batch=prepare_batch or RegressionPrepareBatch(condition_key="image"),
        iteration_update=update,
        train_handlers=attached,
        decollate=False,
        **(trainer_options or {}),
    )
    return ToyAutoencoder(trainer, network, discriminator, resumable)


def run_in_process(directory: str, epochs: int, kill_in_iteration: int = 0) -> None:
    """Train in a process of its own, which dies of SIGKILL at the start of that iteration."""
    torch.set_num_threads(1)
    training = build(epochs, directory)
    if kill_in_iteration:
        training.trainer.add_event_handler(
            Events.ITERATION_STARTED(once=kill_in_iteration), lambda: os.kill(os.getpid(), signal.SIGKILL)
        )
    training.trainer.run()
