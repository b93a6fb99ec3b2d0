"""What every reader of this package gives, and what it refuses before it takes memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ONE_EACH",
    "Voxels",
    "channel_count",
    "channels_last",
    "check_claimed_size",
    "gathered",
    "plain_numbers",
    "require_module",
    "shape_text",
    "voxels_beside",
]

_SUSPICIOUS_BYTES = 2**29  # what may be small once it is packed: an empty label map of 512 x 512 x 2000
_SUSPICIOUS_RATIO = 100
_LARGEST_RATIO = 1032  # of deflate; nothing else that is read here packs more tightly
_SPARE = 2**20  # bytes that may follow the voxels
ONE_EACH = "store one of them per file, or name the data set's channels (channels, --channels)"
_ALL_CHANNELS = "give the file that holds all of them, or name those that there are (channels, --channels)"


@dataclass(frozen=True)
class Voxels:
    """What a file holds, in the file's own axes.

    Args:
        array: voxels, (X, Y) or (X, Y, Z); of several channels with these as a further last axis.
        affine: voxel index to RAS position in mm, (4, 4).
        facts: what else is known of the file.
        channels: how many channels the last axis holds; 1 where there is no such axis.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    facts: dict[str, Any] = field(default_factory=dict)
    channels: int = 1


def check_claimed_size(claimed: int, held: int, packed: bool = False) -> None:
    """Refuse a file whose header asks for more than the file can hold, before memory is taken for it.

    Args:
        claimed: bytes of voxels that the header asks for.
        held: bytes that are there.
        packed: whether what is there is compressed.

    Raises:
        ValueError: saying how much is asked for and how much is there.
    """
    says = f"its header asks for {_size(claimed)} of voxels, and the file holds {_size(held)}"
    if claimed > (held * _LARGEST_RATIO + _SPARE if packed else held):
        raise ValueError(f"{says}: it is cut short, or its header is damaged")
    if packed and claimed > _SUSPICIOUS_BYTES and claimed > held * _SUSPICIOUS_RATIO:
        raise ValueError(f"{says}, compressed {claimed // max(1, held)} times: unpack it first, if that is right")


def gathered(blocks: Iterable[bytes], most: int) -> bytes:
    """Join the blocks of a stream to its end, where its checksum is, refusing one that does not end.

    Args:
        blocks: of the unpacked stream.
        most: bytes that it should have, at most; a little more may follow.

    Raises:
        ValueError: if it is longer.
    """
    content = bytearray()
    for block in blocks:
        content += block
        if len(content) > most + max(_SPARE, most // 10):
            raise ValueError(f"it unpacks to more than the {_size(most)} that its header asks for")
    return bytes(content)


def channels_last(array: NDArray[Any], spatial_dims: int, wanted: int | None = 1) -> tuple[NDArray[Any], int]:
    """Bring what lies behind the axes of space into one last axis, or into none where there is one channel.

    A file has no way to say that it holds several channels of a picture but as a volume of one slice; that axis goes.

    Args:
        array: (X, Y[, Z], ...).
        spatial_dims: number of the axes of space, at most.
        wanted: number of channels; None for as many as there are.

    Returns:
        The array, and its number of channels.

    Raises:
        ValueError: if there are others than wanted, no axes of space, or no voxels.
    """
    beyond = math.prod(array.shape[spatial_dims:])
    if wanted == 1 and beyond > 1:
        raise ValueError(f"it has {beyond} channels or time points; {ONE_EACH}")
    if wanted not in (None, beyond):
        raise ValueError(f"it has {channel_count(beyond)}, and {wanted} are wanted; {_ALL_CHANNELS}")
    if 0 in array.shape or array.ndim < 2:
        raise ValueError(f"it has size {'x'.join(map(str, array.shape)) or '1'}, which is no image")
    space = array.shape[:spatial_dims]
    if beyond == 1:
        return array.reshape(space), 1
    if sum(n > 1 for n in array.shape[spatial_dims:]) > 1:
        raise ValueError(f"it has channels and time points, {shape_text(array.shape)}; store one time point per file")
    flat = space[:2] if len(space) == 3 and space[2] == 1 else space
    return array.reshape(*flat, beyond), beyond


def channel_count(channels: int) -> str:
    """Write a number of channels."""
    return "1 channel" if channels == 1 else f"{channels} channels"


def plain_numbers(array: NDArray[Any], colors: bool = False) -> NDArray[Any]:
    """Real numbers in the machine's byte order and in a type that torch computes with.

    Args:
        array: as it was read.
        colors: whether red, green and blue of a voxel become a further axis, rather than being refused.

    Raises:
        ValueError: for colors and complex numbers.
    """
    if colors and array.dtype.names is not None and len(array.dtype.names) == 3:
        array = np.stack([array[name] for name in array.dtype.names], axis=-1)
    if array.dtype.fields is not None:
        raise ValueError("it holds colors; store one gray value, or one label id, per voxel")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"it holds values of type {array.dtype}; store real numbers")
    targets = {"u2": np.int32, "u4": np.int64, "u8": np.int64, "f2": np.float32, "f16": np.float64, "f12": np.float64}
    target = targets.get(array.dtype.str[1:], array.dtype.newbyteorder("="))
    if array.dtype.str[1:] == "u8" and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError("it holds whole numbers above 2^63; store smaller ones")
    return np.ascontiguousarray(array, dtype=target)


def voxels_beside(path: Path, name: str) -> bytes:
    """What the file holds that a header names for its voxels; a path that leads elsewhere is not followed.

    Args:
        path: the header's file.
        name: what it says.

    Raises:
        ValueError: for anything but the name of a file in the same folder.
    """
    if Path(name).name != name or "%" in name or name.split(" ")[0] == "LIST":
        raise ValueError(f"its voxels are in {name!r}; save header and voxels in one file")
    file = path.with_name(name)
    if not file.is_file():
        raise ValueError(f"its voxels are in {name!r}, which is not beside it; add that file")
    return file.read_bytes()


def shape_text(shape: Sequence[int]) -> str:
    """Write a size, such as 512x512x80."""
    return "x".join(map(str, shape))


def require_module(path: Path, module: str, package: str) -> None:
    """Refuse a file whose format needs what is not installed.

    Raises:
        ImportError: naming the file and the package.
    """
    if find_spec(module) is None:
        raise ImportError(f"{path}: reading {path.suffix} needs {package}: python -m pip install {package}")


def _size(count: int) -> str:
    for unit, size in (("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
