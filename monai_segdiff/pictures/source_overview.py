"""What was understood of data that are not prepared yet: sides of the body, channels, classes, split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage

from monai_segdiff.data import Case, load_label_map
from monai_segdiff.data.channels import load_case_image
from monai_segdiff.data.load import is_raster, spacing_of
from monai_segdiff.pictures.lettering import edge_letters, lettered, titled
from monai_segdiff.pictures.tiles import class_color, gray_levels, middle_slice

__all__ = ["ShownCase", "source_overview"]

# For each axis across which a slice lies: its name, its two axes, and what lies left, right, above and below.
_PLANES = {2: ("axial", (0, 1), "RLAP"), 1: ("coronal", (0, 2), "RLSI"), 0: ("sagittal", (1, 2), "APSI")}
_FRAME = (255, 255, 0)
_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class ShownCase:
    """A case of the overview.

    Args:
        case: the case, whose files are there.
        name: what its row is called.
        frame: first and last position in voxels per axis of what the network will see; None for all.
    """

    case: Case
    name: str
    frame: Sequence[tuple[float, float]] | None = None


def source_overview(
    shown: Sequence[ShownCase],
    classes: Mapping[str, int | Sequence[int]],
    channels: Sequence[str] = (),
    *,
    axis: int | None = None,
    lines: Sequence[str] = (),
    legend: Mapping[str, str] | None = None,
    tile_size: int = 208,
) -> np.ndarray:
    """Draw a row for each case: slices of the first channel, with classes outlined, then the other channels.

    Of a volume the slices with the largest foreground across each axis are shown, that of the planned axis first, with
    letters for the sides of the body. What lies outside the frame is not seen by the network.

    Args:
        shown: the cases, in their order.
        classes: class name to label id or ids.
        channels: names of the images' channels; none for one without a name.
        axis: across which slices are planned; None for volumes, and for pictures.
        lines: what is written above.
        legend: class name to what stands beside its color; the name by default.
        tile_size: pixels of a tile's sides.

    Returns:
        uint8 pixels, ``(height, width, 3)``.

    Raises:
        ValueError: if a file cannot be read; names it and the remedy.
    """
    rows = [_row(entry, classes, channels, axis, tile_size) for entry in shown]
    columns = max((list(row) for row in rows), key=len)
    blank = np.full((tile_size, tile_size, 3), 255, dtype=np.uint8)
    picture = np.concatenate(
        [np.concatenate([row.get(name, blank) for name in columns], axis=1) for row in rows], axis=0
    )
    said = {(legend or {}).get(name, name): class_color(index) for index, name in enumerate(classes, start=1)}
    return titled(lettered(picture, [entry.name for entry in shown], columns, said), lines)


def _row(
    entry: ShownCase,
    classes: Mapping[str, int | Sequence[int]],
    channels: Sequence[str],
    axis: int | None,
    tile_size: int,
) -> dict[str, np.ndarray]:
    """Tile by title."""
    image, label = load_case_image(entry.case, channels).float(), load_label_map(str(entry.case.label))
    ids = np.zeros(label.shape[1:], np.int64)
    for index, own in enumerate(classes.values(), start=1):
        ids[np.isin(np.asarray(label)[0], own)] = index
    layers = [np.asarray(layer) for layer in image.as_tensor()]
    if ids.ndim == 2:
        letters = "" if is_raster(str(entry.case.image)) else "RLAP"
        return {
            _title("image", number, channels): _tile(
                layer,
                ids if number == 0 else None,
                entry.frame,
                spacing_of(np.asarray(image.affine), 2),
                letters,
                tile_size,
            )
            for number, layer in enumerate(layers)
        }
    first = [2 if axis is None else axis]
    tiles = {}
    for across in [*first, *(other for other in _PLANES if other not in first)]:
        for number, layer in enumerate(layers if across in first else layers[:1]):
            name = _title(_PLANES[across][0], number, channels)
            tiles[name] = _slice_tile(layer, ids, across, entry.frame, image, number == 0, tile_size)
    return tiles


def _title(name: str, number: int, channels: Sequence[str]) -> str:
    return name if number == 0 else channels[number]


def _slice_tile(
    volume: NDArray[np.float32],
    ids: NDArray[np.int64],
    across: int,
    frame: Sequence[tuple[float, float]] | None,
    image: MetaTensor,
    outlined: bool,
    tile_size: int,
) -> np.ndarray:
    _, plane, letters = _PLANES[across]
    at = middle_slice(torch.as_tensor(np.moveaxis(ids, across, -1)))
    spacing = spacing_of(np.asarray(image.affine), 3)[list(plane)]
    seen = None if frame is None else [frame[i] for i in plane]
    return _tile(volume.take(at, across), ids.take(at, across) if outlined else None, seen, spacing, letters, tile_size)


def _tile(
    pixels: NDArray[np.float32],
    ids: NDArray[np.int64] | None,
    frame: Sequence[tuple[float, float]] | None,
    spacing: NDArray[np.float64],
    letters: str,
    tile_size: int,
) -> np.ndarray:
    """A slice with square pixels, as large as the tile allows, as a radiologist looks at it."""
    factors = tile_size / max(np.array(pixels.shape) * spacing) * spacing
    size = np.clip(np.round(np.array(pixels.shape) * factors), 1, tile_size).astype(int)
    index = [
        np.minimum((np.arange(n) + 0.5) * old / n, old - 1).astype(int)
        for n, old in zip(size, pixels.shape, strict=True)
    ]
    low, high = np.percentile(pixels[np.isfinite(pixels)], _PERCENTILES) if np.isfinite(pixels).any() else (0.0, 1.0)
    colored = gray_levels(torch.as_tensor(pixels[np.ix_(*index)])[None], (float(low), float(max(high, low + 1e-6))))
    if ids is not None:
        larger = ids[np.ix_(*index)]
        for label in np.unique(larger[larger > 0]):
            inside = larger == label
            colored[inside & ~ndimage.binary_erosion(inside)] = class_color(int(label))
    if frame is not None:
        _draw_frame(
            colored, [(a * n / old, b * n / old) for (a, b), n, old in zip(frame, size, pixels.shape, strict=True)]
        )
    turned = colored[::-1, ::-1].transpose(1, 0, 2)
    tile = np.zeros((tile_size, tile_size, 3), dtype=np.uint8)
    top, left = ((tile_size - n) // 2 for n in turned.shape[:2])
    tile[top : top + turned.shape[0], left : left + turned.shape[1]] = turned
    tile[-2:], tile[:, -2:] = 255, 255
    return edge_letters(tile, letters)


def _draw_frame(colored: np.ndarray, ends: Sequence[tuple[float, float]]) -> None:
    """The border of what is seen, as far as it lies in the image."""
    (x, x_end), (y, y_end) = (
        (int(np.clip(round(a), 0, n - 1)), int(np.clip(round(b) - 1, 0, n - 1)))
        for (a, b), n in zip(ends, colored.shape[:2], strict=True)
    )
    colored[[x, x_end], y : y_end + 1] = _FRAME
    colored[x : x_end + 1, [y, y_end]] = _FRAME
