"""How the images of a data set lie: voxel size, field of view and slicing, as the card of a network has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from monai_segdiff.data.cases import SegmentationDataset
from monai_segdiff.data.load import is_raster, load_label_map, spacing_of
from monai_segdiff.data.readers.axes import canonical_shape, usable_affine

__all__ = ["training_grid"]

_LOOKED_AT = 256
_SAME = 0.01  # voxel sizes that differ by less are one


def training_grid(dataset: SegmentationDataset, image_size: Sequence[int]) -> dict[str, Any]:
    """Say how the training images of a data set lie, for the card of what is trained on them.

    Headers of at most 256 evenly spaced label maps are read.

    Args:
        dataset: the data set.
        image_size: voxels per axis of what the network sees: whole images, or patches of them.

    Returns:
        Entries of a card: ``spacing``, the voxel size in mm where all images have the same; ``field_of_view``, smallest
        and largest length per axis in mm; ``patches``, whether images are larger than what the network sees; and
        ``slice_axis``, along which volumes were sliced. What is unknown, as of pictures, is left out.
    """
    files = [case.label or case.image for case in dataset.splits.get("training", [])]
    known = [file for file in files if file is not None]
    chosen = [known[i] for i in sorted({i * len(known) // _LOOKED_AT for i in range(_LOOKED_AT)})] if known else []
    dims = len(image_size)
    found = [_shape_and_spacing(file, dims) for file in chosen]
    entries: dict[str, Any] = {
        "patches": any(n > side for shape, _ in found for n, side in zip(shape, image_size, strict=True))
    }
    if found and not any(is_raster(file) for file in chosen):
        shapes, sizes = (np.array(part, dtype=np.float64) for part in zip(*found, strict=True))
        lengths = shapes * sizes
        entries["field_of_view"] = [np.round(end, 3).tolist() for end in (lengths.min(axis=0), lengths.max(axis=0))]
        if (sizes.max(axis=0) <= (1 + _SAME) * sizes.min(axis=0)).all():
            entries["spacing"] = np.round(np.median(sizes, axis=0), 5).tolist()
    axis = dataset.settings.get("axis")
    if dims == 2 and axis in (0, 1, 2) and "spacing" in dataset.settings:
        entries["slice_axis"] = axis
    return entries


def _shape_and_spacing(file: Path, dims: int) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Voxels and mm per axis in canonical axes; a slice that is stored as a volume of one has two."""
    if file.name.lower().endswith((".nii", ".nii.gz")):
        stored = nib.load(file)
        own = tuple(stored.shape[:3])
        affine = usable_affine(stored.affine, len(own))
        turned = nib.io_orientation(affine)[: len(own), 0]
        shape = canonical_shape(own, affine)
        sizes = spacing_of(affine, len(own))[np.argsort(turned)]
    else:
        loaded = load_label_map(file)
        shape, sizes = tuple(loaded.shape[1:]), spacing_of(np.asarray(loaded.affine), loaded.ndim - 1)
    while len(shape) > dims and 1 in shape:
        across = len(shape) - 1 - shape[::-1].index(1)
        shape, sizes = shape[:across] + shape[across + 1 :], np.delete(sizes, across)
    return shape[:dims], sizes[:dims]
