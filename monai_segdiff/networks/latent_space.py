"""The latent space of an autoencoder, in which a diffusion model works instead of on images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from monai.utils import convert_to_tensor
from torch import nn

from monai_segdiff.networks.conditions import plain_tensor
from monai_segdiff.networks.weights import unwrapped_network

__all__ = ["LatentSpace"]


class LatentSpace(nn.Module):
    """A frozen autoencoder as a pair of maps between images and latents of about unit variance.

    A latent is the mean of the encoder's posterior, times a scale factor. The mean has no noise, so that latents can be
    cached and runs repeated. The factor is one over the standard deviation of the latents, which gives a diffusion
    model data of the spread that its noise levels are made for (Rombach et al. 2022, arXiv 2112.10752, Appendix G);
    :meth:`fitted` measures it.

    The autoencoder computes where its weights are and in their precision, autocast or not: an error of the decoder is
    one of every image.

    Args:
        autoencoder: MONAI's ``AutoencoderKL``, trained. It is frozen: its weights take no gradients any more, and it
            stays in evaluation mode. Any other autoencoder serves that has its ``encode``, giving (mean, sigma), and
            ``decode``, and the attributes ``spatial_dims``, ``in_channels``, ``latent_channels`` and ``downsampling``.
        scale_factor: what the posterior's mean is multiplied by.

    Attributes:
        downsampling: pixels along each axis for one of the latent, a tuple of ints.
        latent_channels: channels of a latent.

    Raises:
        ValueError: when the scale factor is not a positive number.
    """

    def __init__(self, autoencoder: nn.Module, scale_factor: float = 1.0) -> None:
        super().__init__()
        if not (math.isfinite(scale_factor) and scale_factor > 0.0):
            raise ValueError(f"scale_factor must be a positive number, got {scale_factor}.")
        self.autoencoder: Any = autoencoder.requires_grad_(False).eval()
        self.scale_factor = float(scale_factor)
        encoder = getattr(autoencoder, "encoder", autoencoder)
        self.spatial_dims = int(encoder.spatial_dims)
        self.in_channels = int(encoder.in_channels)
        self.latent_channels = int(self.autoencoder.latent_channels)
        factor = getattr(autoencoder, "downsampling", None)
        # AutoencoderKL halves the image between levels, and its encoder keeps the levels' channels.
        factor = 2 ** (len(encoder.channels) - 1) if factor is None else int(factor)
        self.downsampling: tuple[int, ...] = (factor,) * self.spatial_dims

    @classmethod
    def fitted(cls, autoencoder: nn.Module, images: Iterable[torch.Tensor]) -> LatentSpace:
        """Make the latent space in which the latents of some images have standard deviation 1.

        Args:
            autoencoder: as for the class.
            images: training images, each (C, *spatial); some hundred are enough.

        Returns:
            The latent space; its ``scale_factor`` is one over the standard deviation about their common mean.

        Raises:
            ValueError: when there are no images, or their latents do not vary or are not finite.
        """
        space = cls(autoencoder)
        count, total, squares = 0, 0.0, 0.0
        for image in images:
            latent = space.encode_item(image).double()
            count += latent.numel()
            total += float(latent.sum())
            squares += float(latent.square().sum())
        if not count:
            raise ValueError("the scale factor of a latent space is measured on images, but there are none.")
        variance = squares / count - (total / count) ** 2
        if not (math.isfinite(variance) and variance > 0.0):
            raise ValueError(f"the latents of the images have variance {variance:g}: is the autoencoder trained?")
        return cls(autoencoder, 1.0 / math.sqrt(variance))

    def train(self, mode: bool = True) -> LatentSpace:
        """Set the mode of the module; the autoencoder stays in evaluation mode."""
        super().train(mode)
        self.autoencoder.eval()
        return self

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Map images to latents.

        Args:
            images: (B, C, *spatial), every side a multiple of ``downsampling``.

        Returns:
            Plain tensor (B, latent_channels, *spatial / downsampling), on the images' device.

        Raises:
            ValueError: when the shape does not fit the autoencoder.
        """
        if images.ndim != self.spatial_dims + 2 or images.shape[1] != self.in_channels:
            raise ValueError(
                f"the autoencoder takes {self.spatial_dims}D images of shape (B, {self.in_channels}, *spatial), "
                f"got {tuple(images.shape)}."
            )
        self.latent_shape(images.shape[2:])
        return self.scale_factor * self._compute(lambda x: self.autoencoder.encode(x)[0], plain_tensor(images))

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Map latents to images.

        Args:
            latents: (B, latent_channels, *spatial).

        Returns:
            Plain tensor (B, C, *spatial * downsampling), on the latents' device.

        Raises:
            ValueError: when the shape does not fit the autoencoder.
        """
        if latents.ndim != self.spatial_dims + 2 or latents.shape[1] != self.latent_channels:
            raise ValueError(
                f"the autoencoder has {self.spatial_dims}D latents of shape (B, {self.latent_channels}, *spatial), "
                f"got {tuple(latents.shape)}."
            )
        return self._compute(self.autoencoder.decode, plain_tensor(latents) / self.scale_factor)

    def encode_item(self, image: torch.Tensor) -> torch.Tensor:
        """Map one image of a data set to its latent, to be cached.

        It is what ``monai.transforms.Lambdad`` takes as its function; with ``track_meta=False`` there, the latent stays
        a plain tensor. After a random transform it has to run anew for every draw, and nothing is cached.

        Args:
            image: (C, *spatial).

        Returns:
            Plain float32 tensor (latent_channels, *spatial / downsampling), on the image's device.
        """
        plain = convert_to_tensor(image, dtype=torch.float32, track_meta=False)
        with torch.no_grad():
            return self.encode(plain[None])[0]

    def latent_shape(self, image_size: Sequence[int]) -> tuple[int, ...]:
        """Give the shape of the latent of one image.

        Args:
            image_size: the image's spatial shape.

        Returns:
            (latent_channels, *spatial / downsampling).

        Raises:
            ValueError: when the axes are not as many as the autoencoder's, or a side is no multiple of its factor.
        """
        size = tuple(int(side) for side in image_size)
        fits = len(size) == self.spatial_dims
        if not fits or any(side < 1 or side % factor for side, factor in zip(size, self.downsampling, strict=True)):
            raise ValueError(
                f"every side of the {self.spatial_dims} axes of an image must be a multiple of {self.downsampling}, as "
                f"the autoencoder shrinks it so; got {size}: pad or resize."
            )
        sides = (side // factor for side, factor in zip(size, self.downsampling, strict=True))
        return (self.latent_channels, *sides)

    def check_network(self, network: Any, image_size: Sequence[int] | None = None) -> None:
        """Refuse a diffusion network that does not work on these latents.

        What is compared are the network's attributes ``spatial_dims``, ``in_channels``, ``out_channels`` and, for a
        given image size, ``size_multiple``, those that it has. That two autoencoders of one shape differ in what their
        latents mean, only their hash tells: :func:`~monai_segdiff.networks.load_autoencoder`.

        Args:
            network: the network, wrapped or not.
            image_size: spatial shape of the images that are to be sampled.

        Raises:
            ValueError: when an attribute does not match.
        """
        inner = unwrapped_network(network)
        channels = self.latent_channels
        needs = {"spatial_dims": self.spatial_dims, "in_channels": channels, "out_channels": channels}
        for name, wanted in needs.items():
            found = getattr(inner, name, None)
            if found is not None and int(found) != wanted:
                raise ValueError(
                    f"the diffusion network has {name} {found}, but the autoencoder's latents need {wanted}: network "
                    "and autoencoder do not belong together."
                )
        multiple = int(getattr(inner, "size_multiple", None) or 1)
        if image_size is not None and any(side % multiple for side in self.latent_shape(image_size)[1:]):
            raise ValueError(
                f"images of size {tuple(image_size)} have latents of size {self.latent_shape(image_size)[1:]}, but the "
                f"diffusion network needs multiples of {multiple}: take images whose sides are multiples of "
                f"{tuple(factor * multiple for factor in self.downsampling)}."
            )

    def _compute(self, function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        like = next(self.autoencoder.parameters(), x)
        with torch.autocast(like.device.type, enabled=False):
            return function(x.to(like.device, like.dtype)).to(x.device)
