"""The sampling run in the latent space of an autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch

from monai_segdiff.diffusion import Parameterization
from monai_segdiff.inferers.guidance import Guidance
from monai_segdiff.inferers.network_call import Network
from monai_segdiff.inferers.run import Constraint, Start
from monai_segdiff.inferers.sampling import SamplingInferer
from monai_segdiff.inferers.starts import InputStart
from monai_segdiff.networks import LatentSpace

__all__ = ["LatentSamplingInferer"]


class LatentSamplingInferer(SamplingInferer):
    """Sample latents with a denoising network, and decode them to images.

    It is :class:`SamplingInferer` with the state in a latent space (Rombach et al. 2022, arXiv 2112.10752), of 2D or 3D
    images, for any parameterization and sampler. Starts, and the references of constraints, are given as images and
    encoded. Regions of constraints are given at the resolution of the latents, and ``callback`` and ``clip`` see
    latents.

    The condition is a prompt, (B, L), or a spatial mask at the resolution of the images, for a network such as
    ``MaskConcatUNet`` with ``condition_downsampling``.

    Args:
        parameterization: what the network was trained with, on the latents of ``latent_space``.
        latent_space: maps images to latents and back. It is moved to the network's device.
        sampler: as for :class:`SamplingInferer`.
        num_steps: as for :class:`SamplingInferer`.
        seed: as for :class:`SamplingInferer`.
        start: as for :class:`SamplingInferer`.
        guidance: as for :class:`SamplingInferer`; ``MaskGuidance`` guides on prompts too.
        constraints: as for :class:`SamplingInferer`.
        image_size: spatial shape of the images, for conditions that do not have one, which are prompts.
        **options: further keyword arguments of :class:`SamplingInferer`, except ``image_channels``.

    Raises:
        ValueError: for what :class:`SamplingInferer` refuses, or an image size that the autoencoder cannot take.
    """

    takes_prompts: ClassVar[bool] = True

    def __init__(
        self,
        parameterization: Parameterization,
        latent_space: LatentSpace,
        sampler: str | Callable[..., torch.Tensor] = "dpmpp_2m",
        num_steps: int = 20,
        seed: int = 0,
        start: Start | InputStart | None = None,
        guidance: Guidance | None = None,
        constraints: Sequence[Constraint] = (),
        *,
        image_size: Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            parameterization,
            sampler,
            num_steps,
            seed,
            start,
            guidance,
            constraints,
            image_channels=latent_space.latent_channels,
            **options,
        )
        self.latent_space = latent_space
        self.image_size = None if image_size is None else tuple(int(side) for side in image_size)
        if self.image_size is not None:
            latent_space.latent_shape(self.image_size)

    def state_shape(self, template: torch.Tensor, network: Network) -> tuple[int, ...]:
        """Give the shape of the sampler's state, that of the latents.

        Args:
            template: the condition, (B, L) or at the images' resolution (B, channels, *spatial); or, without one, the
                image to start from.
            network: the denoising network.

        Raises:
            ValueError: when the condition is a prompt and there is no image size, or image size, latent space and
                network do not fit each other.
        """
        if template.ndim == 2 and self.image_size is None:
            raise ValueError("prompts have no spatial shape: give LatentSamplingInferer the image_size.")
        image_size = self.image_size if template.ndim == 2 else template.shape[2:]
        assert image_size is not None
        self.latent_space.check_network(network, image_size)
        return (template.shape[0], *self.latent_space.latent_shape(image_size))

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Map images to latents.

        Args:
            image: (n, C, *spatial).
        """
        return self.latent_space.encode(image)

    def decode(self, state: torch.Tensor) -> torch.Tensor:
        """Map latents to images.

        Args:
            state: (B, latent_channels, *spatial).
        """
        return self.latent_space.decode(state)

    @contextmanager
    def _prepared(self, network: Network, device: torch.device) -> Iterator[None]:
        self.latent_space.to(device)  # before inference mode, in which moved weights could never be trained again
        with super()._prepared(network, device):
            yield
