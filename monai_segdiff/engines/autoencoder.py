"""One iteration of the training of an autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys
from torch import nn

from monai_segdiff.inferers.autocast import autocast_dtype
from monai_segdiff.losses import AutoencoderLoss

__all__ = ["AutoencoderUpdate"]


class AutoencoderUpdate:
    """What a stock ``SupervisedTrainer`` does with a batch to train MONAI's ``AutoencoderKL``.

    Hand it over as ``SupervisedTrainer(iteration_update=...)``. It fires the events of a stock iteration, so
    gradient clipping, learning rate schedules, moving averages and checks of the loss attach as ever. After
    :class:`~monai_segdiff.engines.RegressionPrepareBatch` input and target may differ: so the anatomy controller of
    XReal (arXiv 2403.09240) learns to turn a mask into an image. (MONAI's ``AdversarialTrainer`` has no divergence of a
    latent and no step to begin at.)

    From iteration ``adversarial_start + 1`` on the discriminator tells targets from predictions, and the network is
    told. Until then the discriminator is not touched, and nothing of the network depends on its presence. Its loss is
    known before anything is updated, so that a check can stop the training before either network is spoiled.

    Args:
        loss: the loss of network and discriminator, on the device of the network.
        discriminator: maps images to logits of any shape, or to a list whose last entry they are, as MONAI's
            ``PatchDiscriminator``. It sees targets and predictions in one batch; give it a normalization that works by
            image. None for no adversarial training.
        discriminator_optimizer: steps the discriminator.
        adversarial_start: iterations of the whole training before the adversarial part begins, at least 0.
        max_grad_norm: largest norm of the discriminator's gradient, positive; None for any.
        amp_dtype: precision of both networks, ``"bfloat16"``, or ``"float32"`` or None to run them as they are; losses
            are computed in float32.

    Raises:
        ValueError: where only one of discriminator and optimizer is given, for a number out of its range, or an
            unknown precision.

    Example:
        >>> update = AutoencoderUpdate(AutoencoderLoss(adversarial_weight=0))
        >>> trainer = SupervisedTrainer(..., iteration_update=update, prepare_batch=RegressionPrepareBatch())
    """

    def __init__(
        self,
        loss: AutoencoderLoss,
        discriminator: nn.Module | None = None,
        discriminator_optimizer: torch.optim.Optimizer | None = None,
        adversarial_start: int = 0,
        max_grad_norm: float | None = None,
        amp_dtype: str | None = None,
    ) -> None:
        if (discriminator is None) != (discriminator_optimizer is None):
            raise ValueError("a discriminator needs an optimizer of its own, and that optimizer a discriminator")
        if adversarial_start < 0:
            raise ValueError(f"adversarial_start must be at least 0, not {adversarial_start}")
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(f"max_grad_norm must be positive, not {max_grad_norm}")
        self.loss = loss
        self.discriminator = discriminator
        self.discriminator_optimizer = discriminator_optimizer
        self.adversarial_start = adversarial_start
        self.max_grad_norm = max_grad_norm
        self.dtype = autocast_dtype(amp_dtype)

    def __call__(self, engine: Engine, batchdata: Mapping[str, torch.Tensor]) -> Any:
        """Train on a batch.

        Args:
            engine: a ``SupervisedTrainer`` whose network returns prediction, posterior mean and its standard deviation.
            batchdata: what the data loader yields.

        Returns:
            ``image`` (the input), ``label`` (the target) and ``pred``, all (B, C, *spatial); ``loss`` and its parts
            ``reconstruction``, ``kl``, ``adversarial``, ``discriminator`` and, if there is such a network,
            ``perceptual``: scalars. In a list of items, if the trainer decollates.

        Raises:
            ValueError: if the trainer scales its loss (``amp``) or accumulates gradients, or if prediction and target
                differ in shape.
        """
        _check_trainer(engine)
        inputs, target = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        engine.state.output = output = {CommonKeys.IMAGE: inputs, CommonKeys.LABEL: target}
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=engine.optim_set_to_none)
        with self._autocast(inputs):
            prediction, mean, std = engine.inferer(inputs, engine.network)
        if prediction.shape != target.shape:
            raise ValueError(
                f"the network gives {tuple(prediction.shape)} for a target of {tuple(target.shape)}: the sides of the "
                "image must be multiples of its downsampling, and out_channels those of the image"
            )
        output[CommonKeys.PRED] = prediction.float()
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)

        adversarial = self._is_adversarial(engine)
        losses = self.loss(prediction, target, mean, std, self._judge(prediction) if adversarial else None)
        discriminator_loss = self._discriminator_loss(target, prediction) if adversarial else target.new_zeros(())
        output[CommonKeys.LOSS] = losses.pop("loss")
        output.update({name: part.detach() for name, part in losses.items()})
        output["discriminator"] = discriminator_loss.detach()
        engine.fire_event(IterationEvents.LOSS_COMPLETED)

        output[CommonKeys.LOSS].backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.optimizer.step()
        if adversarial:
            self._step_discriminator(discriminator_loss)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)  # where a trainer decollates its output
        return engine.state.output

    def _is_adversarial(self, engine: Engine) -> bool:
        wanted = self.discriminator is not None and self.loss.adversarial_weight > 0
        return wanted and engine.state.iteration > self.adversarial_start

    def _judge(self, prediction: torch.Tensor) -> torch.Tensor:
        """Logits through which the network learns, and not the discriminator."""
        assert self.discriminator is not None
        # A parallel wrapper would wait for gradients of weights that get none here.
        parallel = (nn.parallel.DistributedDataParallel, nn.DataParallel)
        discriminator = self.discriminator.module if isinstance(self.discriminator, parallel) else self.discriminator
        discriminator.train().requires_grad_(False)
        with self._autocast(prediction):
            logits = _logits(discriminator(prediction))
        discriminator.requires_grad_(True)
        return logits

    def _discriminator_loss(self, target: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
        assert self.discriminator is not None
        both = torch.cat([target, prediction.detach().to(target.dtype)])
        with self._autocast(both):
            real, fake = _logits(self.discriminator(both)).split(len(target))
        return self.loss.discriminator_loss(real, fake)

    def _step_discriminator(self, loss: torch.Tensor) -> None:
        assert self.discriminator is not None
        assert self.discriminator_optimizer is not None
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.discriminator.parameters(), self.max_grad_norm)
        self.discriminator_optimizer.step()

    def _autocast(self, like: torch.Tensor) -> Any:
        return nullcontext() if self.dtype is None else torch.autocast(like.device.type, dtype=self.dtype)


def _logits(output: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    return output[-1] if isinstance(output, (list, tuple)) else output


def _check_trainer(engine: Engine) -> None:
    if engine.scaler is not None:
        raise ValueError("AutoencoderUpdate does not scale losses: leave amp off and give amp_dtype='bfloat16'")
    # trainers before MONAI 1.6 have no accumulation
    if getattr(engine, "accumulation_steps", 1) != 1:
        raise ValueError("AutoencoderUpdate steps in every iteration: leave accumulation_steps at 1")
