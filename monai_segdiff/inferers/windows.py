"""Images larger than a network was trained on: its estimates in overlapping windows, blended at every noise level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.data.utils import dense_patch_slices
from monai.inferers import sliding_window_inference

from monai_segdiff.diffusion import Parameterization
from monai_segdiff.diffusion.denoiser import Denoiser

__all__ = ["Windows", "seam_gradient", "windowed_denoiser"]

_BESIDE = 8  # gradients are compared with those within an eighth of a window


@dataclass(frozen=True)
class Windows:
    """How an image is covered with windows of the size that a network was trained on.

    Args:
        size: voxels of a window per axis.
        overlap: share of a window that the next one covers too, along each axis, 0 to below 1.
        batch_size: windows that go through the network at once, which bounds the memory.

    Raises:
        ValueError: if a number is out of range.
    """

    size: tuple[int, ...]
    overlap: float = 0.5
    batch_size: int = 4

    def __post_init__(self) -> None:
        if not self.size or min(self.size) < 1 or not 0.0 <= self.overlap < 1.0 or self.batch_size < 1:
            raise ValueError(
                "windows need sizes and a batch_size of at least 1 and an overlap from 0 to below 1, got "
                f"{tuple(self.size)}, {self.batch_size} and {self.overlap}."
            )

    def cover(self, shape: Sequence[int]) -> bool:
        """Whether an image needs more than one window.

        Args:
            shape: its spatial shape.

        Raises:
            ValueError: if a window does not fit into it.
        """
        if len(shape) != len(self.size) or any(n < side for n, side in zip(shape, self.size, strict=True)):
            raise ValueError(
                f"windows of size {tuple(self.size)} do not fit into an image of size {tuple(shape)}: pad it."
            )
        return tuple(shape) != tuple(self.size)

    def places(self, shape: Sequence[int]) -> list[tuple[slice, ...]]:
        """Where the windows of an image lie, as MONAI's sliding window has them.

        Args:
            shape: its spatial shape.
        """
        steps = [
            side if side == n else max(1, int(side * (1 - self.overlap)))
            for side, n in zip(self.size, shape, strict=True)
        ]
        return dense_patch_slices(tuple(shape), self.size, steps)


def windowed_denoiser(
    parameterization: Parameterization,
    network: Callable[..., torch.Tensor],
    condition: torch.Tensor | None,
    windows: Windows,
) -> Denoiser:
    """See a network of one size as a denoiser of larger images.

    At every noise level each window of the noisy image gives an estimate of the clean one, under its part of the
    condition, and the estimates are averaged with Gaussian weights (MONAI's ``sliding_window_inference``): windows
    agree while the image forms, as in MultiDiffusion (Bar-Tal et al. 2023, arXiv 2302.08113), where
    finished tiles would not.

    Args:
        parameterization: what the network was trained with.
        network: as ``Parameterization.denoiser`` takes it.
        condition: (B, channels, *spatial) of the image's size, or None.
        windows: how the image is covered.

    Returns:
        ``denoiser(x, sigma) -> x0_hat`` of the image's size.

    Raises:
        ValueError: on the call, if image, condition and windows do not fit each other.
    """

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        if condition is not None and condition.shape[2:] != x.shape[2:]:
            raise ValueError(
                f"windows need a condition of the image's size {tuple(x.shape[2:])}, got {tuple(condition.shape)}: "
                "they are cut from images, and not from latents or under prompts."
            )
        windows.cover(x.shape[2:])
        levels = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).expand(x.shape[0])

        def estimate(part: torch.Tensor, places: Any, condition: torch.Tensor | None = None) -> torch.Tensor:
            own = levels[[place[0].start for place in places]]
            return parameterization.denoiser(network, condition)(part, own)

        blended = sliding_window_inference(
            x,
            windows.size,
            windows.batch_size,
            estimate,
            overlap=windows.overlap,
            mode="gaussian",
            with_coord=True,
            condition=condition,
        )
        assert isinstance(blended, torch.Tensor)
        return blended

    return denoise


def seam_gradient(image: torch.Tensor, windows: Windows) -> float | None:
    """How the gradient across the borders of windows compares with that beside them.

    Args:
        image: (C, *spatial), larger than a window.
        windows: those that it was made with, or that are laid over a real image to compare with.

    Returns:
        Mean absolute difference of neighbors on two sides of a window's border, divided by that of neighbors within an
        eighth of a window from a border: 1 where no seam shows. Anatomy is the same on both, but for chance. None where
        there is no border, or the image is constant.
    """
    shape = image.shape[1:]
    places = windows.places(shape)
    across, beside = [], []
    for axis, (count, side) in enumerate(zip(shape, windows.size, strict=True)):
        ends = {end for place in places for end in (place[axis].start, place[axis].stop) if 0 < end < count}
        if not ends:
            continue
        steps = image.double().diff(dim=axis + 1).abs().movedim(axis + 1, 0).flatten(1)
        index = torch.arange(1, count)  # step i leads from voxel i - 1 to voxel i
        distance = torch.stack([(index - end).abs() for end in sorted(ends)]).amin(0)
        across.append(steps[distance == 0].flatten())
        beside.append(steps[(distance > 0) & (distance <= max(2, side // _BESIDE))].flatten())
    if not across:
        return None
    gradient = float(torch.cat(beside).mean())
    return float(torch.cat(across).mean()) / gradient if gradient > 0 else None
