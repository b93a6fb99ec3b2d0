"""What the networks with a condition check and do alike."""

from __future__ import annotations

import torch
from monai.data import MetaTensor

__all__ = [
    "check_condition_channels",
    "checked_condition",
    "checked_image",
    "concat_condition",
    "plain_tensor",
    "require_condition_channels",
    "required_condition",
    "space_to_depth",
]


def plain_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without MONAI's metadata, which slow the convolutions down and make compiled networks compile anew."""
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def check_condition_channels(condition_channels: int) -> None:
    """Refuse a negative number of channels; 0 stands for a network without condition."""
    if condition_channels < 0:
        raise ValueError(f"condition_channels must not be negative, got {condition_channels}.")


def require_condition_channels(condition_channels: int, instead: str) -> None:
    """Refuse less than one channel, for a network that makes no sense without a condition.

    Args:
        condition_channels: channels of the encoded mask.
        instead: the network to use without masks.

    Raises:
        ValueError: where there is no channel.
    """
    if condition_channels < 1:
        raise ValueError(
            f"condition_channels must be at least 1, got {condition_channels}; without masks use {instead}."
        )


def checked_image(x: torch.Tensor, spatial_dims: int, in_channels: int, size_multiple: int) -> torch.Tensor:
    """The image as a plain tensor, refused where a network cannot take it.

    Args:
        x: the noisy image, (B, in_channels, *spatial).
        spatial_dims: number of spatial axes.
        in_channels: channels of the image.
        size_multiple: power of 2 of which every side has to be a multiple.

    Raises:
        ValueError: where axes, channels or sides do not fit.
    """
    x = plain_tensor(x)
    if x.ndim != spatial_dims + 2 or x.shape[1] != in_channels:
        raise ValueError(
            f"this network takes {spatial_dims}D images of shape (B, {in_channels}, *spatial), got {tuple(x.shape)}."
        )
    if any(size % size_multiple for size in x.shape[2:]):
        raise ValueError(
            f"every side must be a multiple of {size_multiple}, as the network halves the image "
            f"{size_multiple.bit_length() - 1} times; got {tuple(x.shape[2:])}: pad or resize."
        )
    return x


def space_to_depth(image: torch.Tensor, factor: int) -> torch.Tensor:
    """Move every block of pixels into the channels of one, so that an image gets smaller and nothing is lost.

    In 2D it is ``torch.nn.functional.pixel_unshuffle``, which has no 3D form.

    Args:
        image: (B, C, *spatial), every side a multiple of the factor.
        factor: side of the blocks.

    Returns:
        (B, C * factor ** dims, *spatial / factor); channel c becomes a run of channels, one a place in the block.
    """
    dims = image.ndim - 2
    split = [part for size in image.shape[2:] for part in (size // factor, factor)]
    blocks = image.reshape(*image.shape[:2], *split)
    places = [3 + 2 * axis for axis in range(dims)]
    outer = [2 + 2 * axis for axis in range(dims)]
    channels = image.shape[1] * factor**dims
    return blocks.permute(0, 1, *places, *outer).reshape(image.shape[0], channels, *split[::2])


def checked_condition(
    x: torch.Tensor, condition: torch.Tensor | None, condition_channels: int, downsampling: int = 1
) -> torch.Tensor | None:
    """The condition as a plain tensor in the image's dtype.

    Args:
        x: the noisy image, (B, C, *spatial).
        condition: the encoded mask, (B, condition_channels, *spatial * downsampling), of any dtype; None only where
            condition_channels is 0.
        condition_channels: channels of the encoded mask.
        downsampling: how many pixels of the encoded mask lie along each side of one of x.

    Returns:
        The same shape; None for a network without condition.

    Raises:
        ValueError: where the condition is missing, not wanted, or of another shape.
    """
    if condition is None:
        if condition_channels:
            raise ValueError(
                f"this network needs a condition of {condition_channels} channels and got none; to generate without a "
                "mask pass the null condition of the encoder."
            )
        return None
    if condition_channels == 0:
        raise ValueError("this network takes no condition (condition_channels is 0) and got one.")
    expected = (x.shape[0], condition_channels, *(size * downsampling for size in x.shape[2:]))
    if tuple(condition.shape) != expected:
        raise ValueError(
            f"expected a condition of shape {expected}, got {tuple(condition.shape)}: the classes and the encoding "
            "must be those the network was made for."
        )
    return plain_tensor(condition).to(x.dtype)


def required_condition(x: torch.Tensor, condition: torch.Tensor | None, condition_channels: int) -> torch.Tensor:
    """The same for a network that cannot do without a condition."""
    checked = checked_condition(x, condition, condition_channels)
    assert checked is not None
    return checked


def concat_condition(
    x: torch.Tensor, condition: torch.Tensor | None, condition_channels: int, downsampling: int = 1
) -> torch.Tensor:
    """Append the condition's channels to the image's.

    Args:
        x: the noisy image, (B, C, *spatial).
        condition: as for :func:`checked_condition`.
        condition_channels: channels of the encoded mask.
        downsampling: as for :func:`checked_condition`; above 1 the mask enters by :func:`space_to_depth`.

    Returns:
        (B, C + condition_channels * downsampling ** dims, *spatial), in the dtype of x.

    Raises:
        ValueError: where the condition is missing, not wanted, or of another shape.
    """
    checked = checked_condition(x, condition, condition_channels, downsampling)
    if checked is None:
        return x
    return torch.cat([x, checked if downsampling == 1 else space_to_depth(checked, downsampling)], dim=1)
