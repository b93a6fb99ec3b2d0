"""Images and label maps as pixels of a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Collection, Sequence

import nibabel as nib
import numpy as np
import torch

from monai_segdiff.data.description.channel_names import is_color
from monai_segdiff.pictures.lettering import burn_in

__all__ = [
    "class_color",
    "color_labels",
    "drawn_channels",
    "enlarged",
    "gray_levels",
    "middle_slice",
    "picture_grid",
    "upright",
]

_GOLDEN_ANGLE = 0.381966  # of a turn: successive hues stay apart however many there are


def class_color(label: int) -> tuple[int, int, int]:
    """The color of a label id, the same in every picture; 0 (background) is black.

    Args:
        label: id of the class, at least 0.

    Returns:
        Red, green and blue, 0-255.
    """
    if label == 0:
        return 0, 0, 0
    hue = (0.55 + (label - 1) * _GOLDEN_ANGLE) % 1.0
    # three brightnesses in turn help where hues are hard to tell apart
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.65, (1.0, 0.75, 0.9)[label % 3])
    return round(255 * red), round(255 * green), round(255 * blue)


def color_labels(labels: torch.Tensor) -> np.ndarray:
    """Draw a label map.

    Args:
        labels: label ids, ``(height, width)``.

    Returns:
        uint8 pixels, ``(height, width, 3)``.
    """
    ids, inverse = np.unique(labels.cpu().numpy().astype(np.int64), return_inverse=True)
    colors = np.array([class_color(int(label)) for label in ids], dtype=np.uint8)
    return colors[inverse.reshape(labels.shape)]


def drawn_channels(channels: Sequence[str]) -> dict[str, slice]:
    """What is drawn of an image: red, green and blue as one picture, other channels one by one.

    Args:
        channels: names of the image's channels; none for one without a name.

    Returns:
        Channels of each picture by what is written behind the image's own name; nothing where there is one picture.
    """
    if len(channels) <= 1 or is_color(channels):
        return {"": slice(0, max(1, len(channels)))}
    return {f" {name}": slice(index, index + 1) for index, name in enumerate(channels)}


def gray_levels(image: torch.Tensor, image_range: tuple[float, float] = (-1.0, 1.0)) -> np.ndarray:
    """Draw an image.

    Args:
        image: ``(C, height, width)``; three channels are red, green and blue, else the first one is shown.
        image_range: values drawn black and white; what lies outside is clipped, and NaN is black.

    Returns:
        uint8 pixels, ``(height, width, 3)``.
    """
    shown = image if image.shape[0] == 3 else image[:1].expand(3, -1, -1)
    low, high = image_range
    scaled = (shown.float().clamp(low, high) - low) * (255 / (high - low))
    # What NaN is as a whole number depends on the processor.
    return scaled.nan_to_num(0).clamp(0, 255).round().byte().permute(1, 2, 0).cpu().numpy()


def middle_slice(labels: torch.Tensor) -> int:
    """The slice along the last axis of a volume that shows most.

    Args:
        labels: label ids, ``(height, width, depth)``.

    Returns:
        Index of the slice with the largest foreground.
    """
    return int((labels != 0).flatten(0, 1).sum(0).argmax())


def upright(array: torch.Tensor, affine: torch.Tensor | None, at: int | None = None) -> torch.Tensor:
    """Turn a slice the way radiologists look at it; of a volume the slice that is asked for.

    Rows run downwards from anterior to posterior, or from superior; columns from the patient's right to left, or from
    anterior. A file without position in space, such as PNG, is only transposed: its first axis is x.

    Args:
        array: (C, X, Y) or (C, X, Y, Z).
        affine: (4, 4) voxel index to RAS position, or None.
        at: slice of a volume along its last axis; the middle one by default.

    Returns:
        (C, height, width).
    """
    if array.ndim == 4:
        array = array[..., array.shape[-1] // 2 if at is None else at]
    if affine is not None:
        codes = nib.orientations.aff2axcodes(affine.numpy())[:2]
        array = array.flip([axis for axis, code in enumerate(codes, start=1) if code in ("R", "A", "S")])
        # An axis along the body's length, or else from front to back, is the vertical one.
        if codes[0] in ("S", "I") or (codes[0] in ("A", "P") and codes[1] in ("L", "R")):
            return array
    return array.transpose(1, 2)


def enlarged(tile: np.ndarray, tile_size: int = 128) -> np.ndarray:
    """Enlarge a tile without smoothing.

    Args:
        tile: ``(height, width, 3)``.
        tile_size: the smallest whole factor is taken that makes the longer side reach this many pixels.
    """
    factor = max(1, -(-tile_size // max(tile.shape[:2])))
    return tile.repeat(factor, axis=0).repeat(factor, axis=1)


def picture_grid(
    rows: Sequence[Sequence[np.ndarray]], tile_size: int = 128, gap: int = 2, synthetic: Collection[int] = ()
) -> np.ndarray:
    """Set tiles of one size side by side, small ones enlarged without smoothing.

    Args:
        rows: tiles by row, uint8, each ``(height, width, 3)``.
        tile_size: tiles are enlarged by the smallest whole factor that makes their longer side reach this many pixels.
        gap: white pixels between tiles.
        synthetic: numbers of the rows whose tiles get the word "synthetic" burnt in.

    Returns:
        uint8 pixels, ``(height, width, 3)``.
    """
    lines = []
    for number, row in enumerate(rows):
        tiles = [enlarged(tile, tile_size) for tile in row]
        tiles = [burn_in(tile) for tile in tiles] if number in synthetic else tiles
        padded = [np.pad(tile, ((0, gap), (0, gap), (0, 0)), constant_values=255) for tile in tiles]
        lines.append(np.concatenate(padded, axis=1))
    return np.concatenate(lines, axis=0)[: -gap or None, : -gap or None]
