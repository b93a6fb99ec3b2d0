"""MONAI's own DiffusionInferer behind the call of our inferers, to be measured with the same weights and starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import Scheduler

from monai_segdiff.diffusion import EpsilonVP, Parameterization, SampleNoise, mix_seed
from monai_segdiff.networks import MaskConcatUNet

__all__ = ["MonaiSampling", "check_chain"]


class MonaiSampling:
    """Samples with ``DiffusionInferer(mode="concat")`` and a MONAI scheduler.

    The U-Net inside :class:`MaskConcatUNet` is a MONAI network that takes image and condition in one tensor, in the
    order in which MONAI concatenates them. Its answer is brought to float32, as ours is, so that the scheduler does not
    calculate in half precision.

    Args:
        scheduler: a MONAI scheduler.
        num_steps: its number of steps.
        seed: with a sample's index it gives the sample the start that ours has.
        amp_dtype: type of autocast, or None.
        wrap: what is done to the U-Net before it is called, such as ``torch.compile``.

    Attributes:
        evaluations: evaluations of the network in the last call.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        num_steps: int,
        seed: int = 0,
        amp_dtype: torch.dtype | None = None,
        wrap: Callable[[torch.nn.Module], Any] = lambda unet: unet,
    ) -> None:
        self.scheduler = scheduler
        self.scheduler.set_timesteps(num_steps)
        self.seed = seed
        self.amp_dtype = amp_dtype
        self.wrap = wrap
        self.evaluations = 0
        self._wrapped: tuple[torch.nn.Module, Any] | None = None

    @torch.inference_mode()
    def __call__(self, inputs: torch.Tensor, network: MaskConcatUNet, indices: Sequence[int]) -> torch.Tensor:
        """Sample one image for each condition.

        Args:
            inputs: the condition, (B, channels, *spatial).
            network: the network, in evaluation mode.
            indices: index of each sample.

        Returns:
            The images, (B, 1, *spatial), float32.
        """
        device = next(network.parameters()).device
        condition = torch.as_tensor(inputs).to(device)
        shape = (len(condition), network.out_channels, *condition.shape[2:])
        start = SampleNoise(self.seed, indices)(shape, torch.empty((), device=device))
        torch.manual_seed(mix_seed(self.seed, *indices))  # of the noise of MONAI's stochastic steps
        self.evaluations = 0
        if self._wrapped is None or self._wrapped[0] is not network:
            self._wrapped = (network, self.wrap(network.unet))
        unet = self._wrapped[1]

        def counted(x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
            self.evaluations += 1
            return unet(x, timesteps, context).float()

        autocast = nullcontext() if self.amp_dtype is None else torch.autocast(device.type, dtype=self.amp_dtype)
        with autocast:
            return DiffusionInferer(self.scheduler).sample(
                start, counted, self.scheduler, conditioning=condition, mode="concat", verbose=False
            )


def check_chain(parameterization: Parameterization, scheduler: Scheduler) -> None:
    """Refuse a model that was not trained on the scheduler's chain.

    Raises:
        ValueError: if the model does not predict noise on the same betas.
    """
    adopted = EpsilonVP.from_monai_scheduler(scheduler)
    same = isinstance(parameterization, EpsilonVP) and torch.allclose(
        parameterization.alphas_cumprod, adopted.alphas_cumprod, atol=1e-6
    )
    if not same:
        raise ValueError(
            f"MONAI's schedulers need a model that predicts noise on {type(scheduler).__name__}'s betas, this one is "
            f"{type(parameterization).__name__}: train a bundle with EpsilonVP"
        )
