"""The channels of a case's image: all in one file, or in a file each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from monai.data import MetaTensor

from monai_segdiff.data.cases import Case
from monai_segdiff.data.grid_offset import AFFINE_TOLERANCE, largest_offset, smallest_spacing
from monai_segdiff.data.load import is_raster, load_image
from monai_segdiff.data.readers.voxels import channel_count

__all__ = ["check_channel_files", "image_files_of", "load_case_image", "load_channels"]


def image_files_of(case: Case) -> tuple[Path, ...]:
    """The files of a case's image: one for each channel, one for all of them, or none.

    Args:
        case: the case.
    """
    return case.channel_files or (() if case.image is None else (case.image,))


def check_channel_files(case: Case, channels: Sequence[str]) -> None:
    """Look whether the channels of a case that are files of their own are all there; opens none.

    Args:
        case: the case.
        channels: the data set's channels; none where nothing names them.

    Raises:
        FileNotFoundError: if a file is missing; names the case, the channel and the file.
        ValueError: if there are others than the data set's channels.
    """
    if case.channel_files:
        _check_files(case.channel_files, channels, f"case {case.id!r}")


def load_case_image(case: Case, channels: Sequence[str] = ()) -> MetaTensor:
    """Read a case's image with all channels of its data set.

    Args:
        case: the case; it has an image.
        channels: the data set's channels; none where images have one without a name.

    Returns:
        Tensor (C, *spatial), as :func:`~monai_segdiff.data.load_image` gives it.

    Raises:
        FileNotFoundError: if a file is missing; names the case, the channel and the file.
        ValueError: if a file cannot be read, holds others than the data set's channels, or the channels' files are not
            on one grid; names what is missing, or both files.
    """
    return load_channels(image_files_of(case), channels, case.id)


def load_channels(files: Sequence[str | Path], channels: Sequence[str] = (), case: str | None = None) -> MetaTensor:
    """Read an image from one file of all channels, or from a file for each.

    Args:
        files: the one, or one for each channel in their order.
        channels: names of the channels; none for one without a name.
        case: whose image it is, for messages.

    Returns:
        Tensor (C, *spatial), as :func:`~monai_segdiff.data.load_image` gives it; the metadata are those of the first
        file.

    Raises:
        FileNotFoundError: as :func:`load_case_image`.
        ValueError: as :func:`load_case_image`.
    """
    paths = [Path(file) for file in files]
    whose = f"case {case!r}" if case is not None else str(paths[0])
    if len(paths) == 1:
        return _from_one(paths[0], channels, whose)
    if not channels:
        raise ValueError(f"{whose} {_other_channels(len(paths), channels, 'channels, a file each')}")
    _check_files(paths, channels, whose)
    layers: list[MetaTensor] = []
    for path in paths:
        layers.append(load_image(path))
        _check_grid(layers, paths, channels)
    first = layers[0]
    # One type for all: int32 of one channel and float32 of another meet in what holds both.
    values = torch.cat([layer.as_tensor().to(_common(layers)) for layer in layers])
    meta = {key: value for key, value in first.meta.items() if key != "affine"}
    return MetaTensor(values, affine=first.affine, meta=meta)


def _check_files(paths: Sequence[Path], channels: Sequence[str], whose: str) -> None:
    for index, path in enumerate(paths):
        if not path.is_file():
            name = repr(channels[index]) if index < len(channels) else f"number {index + 1}"
            raise FileNotFoundError(
                f"{whose} lacks its channel {name}, as there is no {path}; add this file, or leave the case out"
            )
    if channels and len(paths) != len(channels):
        named = f"files, {', '.join(path.name for path in paths)}"
        raise ValueError(f"{whose} {_other_channels(len(paths), channels, named)}")


def _from_one(path: Path, channels: Sequence[str], whose: str) -> MetaTensor:
    number = len(channels) or 1
    if number == 1 or is_raster(path):
        return load_image(path, number)
    image = load_image(path, None)
    if len(image) != number:
        raise ValueError(f"{whose} {_other_channels(len(image), channels, f'channels in {path}')}")
    return image


def _other_channels(found: int, channels: Sequence[str], what: str) -> str:
    """What is missing, or too much, in words."""
    named = f"where the data set names {channel_count(len(channels))}, {', '.join(channels)}" if channels else ""
    if found < len(channels):
        missing = ", ".join(map(repr, channels[found:]))
        return f"has {found} {what}, {named}; add the missing {missing}, or leave the case out"
    return (
        f"has {found} {what}, {named or 'and nothing names them'}; name all of them in their order (channels in "
        "dataset.json, or --channels)"
    )


def _check_grid(layers: Sequence[MetaTensor], paths: Sequence[Path], channels: Sequence[str]) -> None:
    """Refuse the last channel if it does not lie on the grid of the first."""
    first, last = layers[0], layers[-1]
    pair = f"channel {channels[len(layers) - 1]!r} ({paths[len(layers) - 1]}) and channel {channels[0]!r} ({paths[0]})"
    remedy = "bring all channels of a case onto one grid"
    if first.shape != last.shape:
        sizes = ("x".join(map(str, layer.shape[1:])) for layer in (last, first))
        raise ValueError(f"{pair} differ in size, {' and '.join(sizes)}; {remedy}")
    offset, voxel = largest_offset(first, last), smallest_spacing(first)
    if not offset <= AFFINE_TOLERANCE * voxel:
        raise ValueError(f"{pair} lie up to {offset:.3g} mm, {offset / voxel:.3g} voxels apart; {remedy}")


def _common(layers: Sequence[MetaTensor]) -> torch.dtype:
    wanted = layers[0].dtype
    for layer in layers[1:]:
        wanted = torch.promote_types(wanted, layer.dtype)
    return wanted
