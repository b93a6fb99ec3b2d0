"""The batch that a trained denoiser is tuned on, so that it needs few evaluations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.inferers import Inferer

from monai_segdiff.diffusion import Parameterization
from monai_segdiff.diffusion.precision import per_sample
from monai_segdiff.engines.pair import plain_pair
from monai_segdiff.inferers import Guidance
from monai_segdiff.inferers.guidance import GuidedDenoiser

__all__ = ["ConsistencyPrepareBatch"]

_SHRINK = 2.0  # from stage to stage the two levels come closer by this factor
_SPREAD = 8.0  # how much closer they are at low levels than at high ones, beside 1


class ConsistencyPrepareBatch(PrepareBatch):
    """Turn clean images and their conditions into the regression problem of easy consistency tuning.

    Each image gets two noise levels t > r and the same noise on both. The network regresses at t what it answers itself
    at r, without a gradient there; at r = 0 that is the clean image. In stages r comes closer to t: in stage k,

        r = max(0, t (1 - 2^-(k + 1) (1 + 8 sigmoid(-t)))).

    In the end the network answers at every level with the end of the path of that state rather than with the mean of
    all ends, and the sampler ``consistency`` needs few evaluations. The loss is the plain mean squared error, as in
    :class:`SegDiffusionPrepareBatch`: the parameterization's own weight sits in its c_out.

    With a teacher and guidance the tuned network answers at that guidance with one evaluation. The state at r is moved
    by the share of the step that guidance adds, (1 - r / t) (D_guided(x_t) - D(x_t)), both of the teacher: in the mean
    over images that gives an Euler step along the guided path.

    Args:
        parameterization: that of the network; its levels are noise levels sigma.
        network: the network in training, which gives its own targets.
        progress: tells how far the tuning is, 0 to 1; four equal stages.
        teacher: the network before tuning, whose weights do not change; for guidance only.
        guidance: what the tuned network shall have built in; None for none.
        inferer: calls the network as the trainer does (autocast); None for a plain call.
        p_mean: mean of ln t.
        p_std: standard deviation of ln t.
        stages: number of stages.
        image_key: key of the clean images in the batch, ``(B, C, *spatial)``.
        condition_key: key of the encoded masks, ``(B, K, *spatial)``, or of prompts, ``(B, L)``.

    Raises:
        ValueError: for guidance without a teacher, or numbers out of their range.

    Source: Geng et al. 2024 (arXiv 2406.14548), section 3.2 for the schedule of r; the loss is that of EDM (arXiv
    2206.00364).
    """

    def __init__(
        self,
        parameterization: Parameterization,
        network: torch.nn.Module,
        progress: Callable[[], float],
        teacher: torch.nn.Module | None = None,
        guidance: Guidance | None = None,
        inferer: Inferer | None = None,
        p_mean: float = -0.9,
        p_std: float = 1.8,
        stages: int = 4,
        image_key: str = "image",
        condition_key: str = "label",
    ) -> None:
        if guidance is not None and teacher is None:
            raise ValueError("guidance needs a teacher: the network before tuning")
        if not (p_std > 0 and stages >= 1):
            raise ValueError(f"p_std must be positive and stages at least 1, got {p_std} and {stages}")
        self.parameterization = parameterization
        self.network = network
        self.progress = progress
        self.teacher = None if teacher is None else teacher.eval().requires_grad_(False)
        self.guidance = guidance
        self.inferer = inferer
        self.p_mean, self.p_std, self.stages = p_mean, p_std, stages
        self.image_key, self.condition_key = image_key, condition_key

    def __call__(
        self,
        batchdata: Mapping[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor], dict[str, torch.Tensor]]:
        """Noise a batch, and ask the network for its targets.

        Args:
            batchdata: what the data loader yields.
            device: where the tensors shall be.
            non_blocking: as in ``torch.Tensor.to``.
            **kwargs: further arguments of ``torch.Tensor.to``.

        Returns:
            The network's input, the target of the loss, positional arguments (the time steps, ``(B,)``) and keyword
            arguments (the condition) of the network.

        Raises:
            KeyError: if the batch lacks one of the keys.
            ValueError: if the shapes of images and condition do not belong together.
        """
        image, condition = plain_pair(batchdata, self.image_key, self.condition_key, 1, device, non_blocking, **kwargs)
        noise = torch.randn_like(image)
        high, low = self.draw_levels(image.shape[0], image.device)
        network_input, timesteps, target = self.parameterization.pair_at(image, noise, high)
        with torch.no_grad():
            end = self._end(image, condition, noise, high, low)
        c_out = self.parameterization.scalings(high).c_out
        # The pair's target is that of the clean image; the difference is formed alone, as it is small at low levels.
        target = target + per_sample(1 / c_out, image) * (end - image)
        return network_input, target, (timesteps,), {"condition": condition}

    def draw_levels(self, n: int, device: torch.device | str | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw the two levels of n images.

        Args:
            n: number of images.
            device: where the levels lie.

        Returns:
            t and r, float64 (n,), with sigma_min <= t <= sigma_max and 0 <= r < t.
        """
        draws = torch.randn(n, device=device, dtype=torch.float64)
        t = (self.p_mean + self.p_std * draws).exp()
        t = t.clamp(self.parameterization.sigma_min, self.parameterization.sigma_max)
        stage = min(int(self.progress() * self.stages), self.stages - 1)
        closeness = _SHRINK ** -(stage + 1) * (1 + _SPREAD * torch.sigmoid(-t))
        r = (t * (1 - closeness)).clamp(min=0)
        return t, torch.where(r < self.parameterization.sigma_min, 0.0, r)

    def _end(
        self, image: torch.Tensor, condition: torch.Tensor | None, noise: torch.Tensor, t: torch.Tensor, r: torch.Tensor
    ) -> torch.Tensor:
        """What the network finds at the lower level, or the state itself at level 0."""
        state = image + per_sample(r, image) * noise
        if self.guidance is not None and self.teacher is not None:
            high = image + per_sample(t, image) * noise
            state = state + per_sample(1 - r / t, image) * self._shift(high, condition, t)
        at_zero = (r == 0).reshape(-1, *[1] * (image.ndim - 1))
        if bool(at_zero.all()):
            return state
        lowest = torch.full_like(r, self.parameterization.sigma_min)  # stands in for 0, and its answer is not used
        denoise = self.parameterization.denoiser(self._call(self.network), condition)
        return torch.where(at_zero, state, denoise(state, torch.where(r == 0, lowest, r)))

    def _shift(self, state: torch.Tensor, condition: torch.Tensor | None, sigma: torch.Tensor) -> torch.Tensor:
        """What guidance adds to the teacher's estimate."""
        assert self.teacher is not None
        network = self._call(self.teacher)
        guided = GuidedDenoiser(self.parameterization, network, condition, self.guidance)
        return guided(state, sigma) - self.parameterization.denoiser(network, condition)(state, sigma)

    def _call(self, network: torch.nn.Module) -> Callable[..., torch.Tensor]:
        inferer = self.inferer
        if inferer is None:
            return network

        def call(x: torch.Tensor, timesteps: torch.Tensor, **keywords: Any) -> torch.Tensor:
            return inferer(x, network, timesteps, **keywords)

        return call
