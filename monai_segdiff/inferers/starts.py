"""Where a sampling run begins: at pure noise, or at an image with noise on it."""

from __future__ import annotations

import torch
from monai.utils import convert_to_tensor

from monai_segdiff.diffusion import Parameterization
from monai_segdiff.diffusion.samplers import Noise
from monai_segdiff.inferers.run import RunContext

__all__ = ["ImageStart", "InputStart", "NoiseStart", "check_level", "image_of"]


class NoiseStart:
    """Start from noise at the highest level of the parameterization."""

    def level(self, parameterization: Parameterization) -> float | None:
        """Give ``None``: the parameterization's own highest level."""
        return None

    def state(self, run: RunContext, noise: Noise) -> torch.Tensor:
        """Draw the starting state.

        Args:
            run: the run that begins.
            noise: the run's noise.

        Returns:
            ``sigma_max * noise``, float32, shape ``run.shape``.
        """
        like = torch.empty((), dtype=torch.float32, device=run.device)
        return float(run.sigmas[0]) * noise(run.shape, like)


class ImageStart:
    """Start from an image with noise on it, at a level between none and all.

    The lower the level, the more of the image is kept (SDEdit, Meng et al. 2022, arXiv 2108.01073, Algorithm 1). The
    level is given as the parameterization's own time ``t0`` or as a noise level ``sigma``.

    Args:
        image: what to start from, (B, C, *spatial), or (1, C, *spatial) for every sample of a batch.
        t0: time in (0, 1], turned into a noise level by ``parameterization.sigma(t0)``.
        sigma: noise level above 0, in units of the image's intensities.

    Raises:
        ValueError: when not exactly one of ``t0`` and ``sigma`` is given, or when it is out of range.
    """

    def __init__(self, image: torch.Tensor, t0: float | None = None, sigma: float | None = None) -> None:
        check_level("ImageStart", t0, sigma)
        self.image = image
        self.t0 = t0
        self.sigma = sigma

    def level(self, parameterization: Parameterization) -> float | None:
        """Give the noise level at which the run begins.

        Args:
            parameterization: what turns ``t0`` into a noise level.
        """
        return self.sigma if self.sigma is not None else float(parameterization.sigma(self.t0))

    def state(self, run: RunContext, noise: Noise) -> torch.Tensor:
        """Put noise on the image.

        Args:
            run: the run that begins.
            noise: the run's noise.

        Returns:
            ``image + sigma * noise``, float32, shape ``run.shape``.

        Raises:
            ValueError: when the image does not fit the run.
        """
        image = run.state_of(self.image, "image to start from")
        return image + float(run.sigmas[0]) * noise(run.shape, image)


class InputStart:
    """Start from the inferer's own inputs with noise on them, and call the network without a condition.

    An unconditional model draws under a condition this way: the condition, encoded as an image of the network's range,
    is where the run begins, and the level decides how much of it is kept (SDEdit, arXiv 2108.01073; conditional
    sampling in arXiv 2404.03541, with t0 = 0.4). The level is given as for :class:`ImageStart`.

    Args:
        t0: time in (0, 1], turned into a noise level by ``parameterization.sigma(t0)``.
        sigma: noise level above 0, in units of the image's intensities.

    Raises:
        ValueError: when not exactly one of ``t0`` and ``sigma`` is given, or when it is out of range.

    Example:
        >>> inferer = SamplingInferer(ScoreVE(), num_steps=10, start=InputStart(t0=0.4))
        >>> images = inferer(inputs=encoded_mask, network=unconditional_network)
    """

    def __init__(self, t0: float | None = None, sigma: float | None = None) -> None:
        check_level("InputStart", t0, sigma)
        self.t0 = t0
        self.sigma = sigma

    def at(self, inputs: torch.Tensor) -> ImageStart:
        """Give the start of one run.

        Args:
            inputs: what the inferer was called with, (B, C, *spatial), C being the channels of the image.
        """
        return ImageStart(inputs, self.t0, self.sigma)


def check_level(name: str, t0: float | None, sigma: float | None) -> None:
    """Refuse a level that is given twice, not at all, or out of range.

    Args:
        name: what takes it, for the message.
        t0: time in (0, 1].
        sigma: noise level above 0.

    Raises:
        ValueError: when not exactly one is given, or when it is out of range.
    """
    if (t0 is None) == (sigma is None):
        raise ValueError(f"{name} takes exactly one of t0 and sigma, got t0={t0} and sigma={sigma}.")
    if t0 is not None and not 0.0 < t0 <= 1.0:
        raise ValueError(f"t0 must be above 0 and at most 1, got {t0}.")
    if sigma is not None and not sigma > 0.0:
        raise ValueError(f"sigma must be above 0, got {sigma}.")


def image_of(start: object) -> torch.Tensor:
    """Give the image of a start, after which a run without a condition has its shape.

    Args:
        start: any start.

    Raises:
        ValueError: when it has none.
    """
    image = getattr(start, "image", None)
    if image is None:
        raise ValueError("inputs is None: a run without a condition needs a start that has an image, ImageStart.")
    return convert_to_tensor(image, track_meta=False)
