"""A data set at a glance: some images of some patients, with the outlines of their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from scipy import ndimage

from monai_segdiff.data import Case, SegmentationDataset, load_label_map
from monai_segdiff.data.channels import load_case_image
from monai_segdiff.data.description.channel_names import is_color
from monai_segdiff.evenly import evenly
from monai_segdiff.pictures.lettering import lettered
from monai_segdiff.pictures.tiles import class_color, drawn_channels, gray_levels, middle_slice, picture_grid, upright
from monai_segdiff.transforms import channel_ranges

__all__ = ["dataset_overview"]


def dataset_overview(
    dataset: SegmentationDataset, patients: int = 8, images: int = 6, tile_size: int = 192
) -> np.ndarray:
    """Draw a row for each patient and an image for each column, both evenly spaced over the data set.

    Patients are named beside their rows, classes below. Outlines have the colors of
    :func:`~monai_segdiff.handlers.class_color`. Of a volume the slice with the largest foreground is shown. Red, green
    and blue are one picture, other channels stand side by side, named above.

    Args:
        dataset: with its intensity range; cases without label map are drawn without outlines.
        patients: rows, at most.
        images: columns, at most.
        tile_size: smaller images are enlarged by a whole factor to this many pixels or more.

    Returns:
        uint8 pixels, ``(height, width, 3)``.

    Raises:
        ValueError: if the data set has no images, or no intensity range.
    """
    by_patient: dict[str, list[Case]] = {}
    for cases in dataset.splits.values():
        for case in cases:
            if case.image is not None:
                by_patient.setdefault(case.patient, []).append(case)
    if not by_patient or dataset.intensity_range is None:
        raise ValueError(f"{dataset.root} has no {'intensity range' if by_patient else 'images'} to draw an overview")
    chosen = [sorted(by_patient[name], key=lambda case: case.id) for name in evenly(sorted(by_patient), patients)]
    rows = [[_tile(case, dataset) for case in evenly(cases, images)] for cases in chosen]
    height, width = (max(tile.shape[axis] for row in rows for tile in row) for axis in (0, 1))
    columns = max(len(row) for row in rows)
    blank = np.full((height, width, 3), 255, dtype=np.uint8)
    tiles = [[_pad(t, blank) for t in row] + [blank] * (columns - len(row)) for row in rows]
    synthetic = range(len(rows)) if dataset.settings.get("synthetic") else ()
    legend = {name: class_color(_ids(own)[0]) for name, own in dataset.classes.items()}
    return lettered(
        picture_grid(tiles, tile_size, synthetic=synthetic),
        evenly(sorted(by_patient), patients),
        [" | ".join(dataset.channels)] * columns if len(drawn_channels(dataset.channels)) > 1 else (),
        legend,
    )


def _tile(case: Case, dataset: SegmentationDataset) -> np.ndarray:
    assert dataset.intensity_range is not None
    image = load_case_image(case, dataset.channels).float()
    label = None if case.label is None else load_label_map(case.label)
    at = None
    if image.ndim == 4 and label is not None:
        at = middle_slice(label.as_tensor()[0])
    shown = _upright(image, at)
    pairs = channel_ranges(dataset.intensity_range, len(image))
    # Each channel by its own range; of several that are no colors, side by side.
    layers = [gray_levels(shown[k : k + 1], pair) for k, pair in enumerate(pairs)]
    if is_color(dataset.channels):
        layers = [np.stack([layer[..., 0] for layer in layers], axis=-1)]
    drawn = [layer if label is None else _outlined(layer, label, at, dataset) for layer in layers]
    return np.concatenate(drawn, axis=1)


def _outlined(pixels: np.ndarray, label: MetaTensor, at: int | None, dataset: SegmentationDataset) -> np.ndarray:
    ids = _upright(label, at)[0].numpy()
    for name, own in dataset.classes.items():
        inside = np.isin(ids, [i for other in _within(name, dataset.parents) for i in _ids(dataset.classes[other])])
        pixels[inside & ~ndimage.binary_erosion(inside, border_value=1)] = class_color(_ids(own)[0])
    return pixels


def _within(name: str, parents: Mapping[str, str]) -> set[str]:
    """A class and all classes that lie in it."""
    return {name}.union(*(_within(child, parents) for child, parent in parents.items() if parent == name))


def _ids(ids: int | Sequence[int]) -> list[int]:
    return [ids] if isinstance(ids, int) else list(ids)


def _upright(image: MetaTensor, at: int | None) -> torch.Tensor:
    return upright(image.as_tensor(), torch.as_tensor(image.affine), at)


def _pad(tile: np.ndarray, blank: np.ndarray) -> np.ndarray:
    padded = blank.copy()
    padded[: tile.shape[0], : tile.shape[1]] = tile
    return padded
