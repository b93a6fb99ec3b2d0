"""The one reader of images and label maps, for every command and every bundle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from monai_segdiff.data.readers.axes import to_canonical, usable_affine
from monai_segdiff.data.readers.metaimage import read_metaimage
from monai_segdiff.data.readers.nifti import read_nifti
from monai_segdiff.data.readers.nrrd import read_nrrd
from monai_segdiff.data.readers.picture import read_picture
from monai_segdiff.data.readers.tiff import read_tiff
from monai_segdiff.data.readers.voxels import Voxels
from monai_segdiff.errors import UnreadableFileError, reading

__all__ = [
    "READABLE",
    "as_slice",
    "is_flat",
    "is_raster",
    "label_counts",
    "label_ids",
    "load_image",
    "load_label_map",
    "spacing_of",
]

_TIFF = (".tif", ".tiff")
_RASTER = (".png", ".jpg", ".jpeg", *_TIFF)
#: Extensions of the formats that are read, in lower case. DICOM has readers of its own.
READABLE = (".nii.gz", ".nii", *_RASTER, ".nrrd", ".nhdr", ".mha", ".mhd")

_NEARLY = 1e-3  # of an id: what a scale factor of a header, stored with 24 bits, may make of it
_BLOCK = 2**24  # values looked at a time


def is_raster(path: str | Path) -> bool:
    """Whether a file is a plain picture, without a position in space."""
    return Path(path).suffix.lower() in _RASTER


def is_flat(path: str | Path) -> bool:
    """Whether a file is a picture that cannot hold several slices."""
    return is_raster(path) and Path(path).suffix.lower() not in _TIFF


def load_image(path: str | Path, channels: int | None = 1) -> MetaTensor:
    """Read an image in the file's own unit.

    Whatever the format and however the file is laid out, the axes are those that images are prepared in for training:
    right, anterior, superior; see :func:`~monai_segdiff.data.write_like` for the way back. A picture's left is the
    patient's right. Scale factors are applied; colors of a picture become gray values where one channel is wanted.

    Args:
        path: NIfTI, NRRD, MetaImage, PNG, JPEG or TIFF.
        channels: how many it must have, those of NIfTI behind the axes of space, (X, Y, Z, C); None for as many as
            there are. A file of several channels and one slice is a picture of two axes.

    Returns:
        Tensor of shape (channels, *spatial), with the affine from its voxel index to RAS mm; the metadata name the
        file.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if the format needs an extra that is not installed; says which.
        ValueError: if it cannot be read, is damaged by its own checksum, claims more than it holds, or has others than
            the channels that are wanted; names the file and the remedy.
    """
    return _load(Path(path), is_label_map=False, channels=channels)


def load_label_map(path: str | Path) -> MetaTensor:
    """Read a label map, as :func:`load_image` reads an image.

    Values are whole numbers, also where a scale factor of the header makes 0.99999998 of 1. In a picture they are what
    a viewer shows as gray, or the indices of a palette of colors.

    Args:
        path: NIfTI, NRRD, MetaImage, PNG or TIFF.

    Returns:
        Tensor of shape (1, *spatial), uint8 where the ids allow it, else int32 or int64.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if the format needs an extra that is not installed; says which.
        ValueError: for what :func:`load_image` refuses; if values are no whole numbers; for JPEG, whose compression
            changes ids, and for colors that are no ids.
    """
    return _load(Path(path), is_label_map=True)


def _load(path: Path, is_label_map: bool, channels: int | None = 1) -> MetaTensor:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    kind = "a label map" if is_label_map else "an image"
    extension = next((ending for ending in READABLE if path.name.lower().endswith(ending)), None)
    if extension is None:
        raise UnreadableFileError(
            f"{path} cannot be read as {kind} (its name ends in none of {', '.join(READABLE)}); convert it to NIfTI"
        )
    pictures = read_tiff if extension in _TIFF else read_picture
    reader: Callable[..., Voxels] = {
        ".nrrd": read_nrrd,
        ".nhdr": read_nrrd,
        ".mha": read_metaimage,
        ".mhd": read_metaimage,
        ".nii": read_nifti,
        ".nii.gz": read_nifti,
    }.get(extension, partial(pictures, is_label_map=is_label_map))
    with reading(path, kind):
        try:
            voxels = reader(path, channels=channels)
            layers = [voxels.array] if voxels.channels == 1 else list(np.moveaxis(voxels.array, -1, 0))
            affine = usable_affine(voxels.affine, layers[0].ndim)
            turned = [to_canonical(layer, affine) for layer in layers]
            values = turned[0][0][None] if len(turned) == 1 else np.stack([layer for layer, _ in turned])
            if is_label_map:
                values = _as_ids(values)
        except ValueError as error:
            # What is refused on purpose carries its own remedy behind a semicolon.
            reason, semicolon, remedy = str(error).partition("; ")
            if not semicolon:
                raise
            raise UnreadableFileError(f"{path} cannot be read as {kind} ({reason}); {remedy}") from error
    place = turned[0][1]
    meta = {**voxels.facts, "filename_or_obj": str(path), "original_affine": affine}
    return MetaTensor(torch.from_numpy(values), affine=torch.as_tensor(place), meta=meta)


def as_slice(image: MetaTensor, spatial_dims: int | None) -> MetaTensor:
    """Drop the axis of length one of a slice that is stored as a volume.

    Args:
        image: (C, *spatial).
        spatial_dims: number of axes that are wanted; None for those that are there.

    Returns:
        (C, X, Y) of a volume with one slice, where 2 are wanted; else what was given. Its affine has the slice's axes
        first.
    """
    if spatial_dims != 2 or image.ndim != 4 or 1 not in image.shape[1:]:
        return image
    across = 3 - list(image.shape[:0:-1]).index(1)  # the last of them
    kept = [axis for axis in range(3) if axis != across - 1]
    affine = torch.as_tensor(image.affine).clone()
    affine[:, :3] = affine[:, [*kept, across - 1]]
    return MetaTensor(image.as_tensor().squeeze(across), affine=affine, meta=dict(image.meta))


def label_ids(array: NDArray[np.generic]) -> NDArray[np.int64]:
    """Distinct ids of a label map.

    Raises:
        ValueError: if a value is not a whole number (also NaN and infinity).
    """
    flat = array.reshape(-1)
    parts = [np.unique(flat[start : start + _BLOCK]) for start in range(0, max(1, flat.size), _BLOCK)]
    values = np.unique(np.concatenate(parts))
    if values.dtype.kind == "f":
        finite = np.nan_to_num(values, nan=0.5, posinf=0.5, neginf=0.5)
        whole = (np.abs(finite - np.round(finite)) <= _NEARLY) & (np.abs(finite) < 2**53)
        if not whole.all():
            raise ValueError(f"holds values that are no whole numbers, e.g. {float(values[~whole][0]):g}")
    return np.unique(np.round(values).astype(np.int64))


def label_counts(array: NDArray[np.integer], ids: NDArray[np.int64]) -> dict[int, int]:
    """How many voxels have each id but 0.

    Args:
        array: label map of whole numbers.
        ids: its distinct ids, from :func:`label_ids`.
    """
    counts = np.zeros(len(ids), dtype=np.int64)
    flat = array.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        values, found = np.unique(flat[start : start + _BLOCK], return_counts=True)
        counts[np.searchsorted(ids, values)] += found
    return {int(i): int(count) for i, count in zip(ids, counts, strict=True) if i != 0}


def _as_ids(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """The same ids in the smallest type that torch has for them."""
    try:
        ids = label_ids(values)
    except ValueError as error:
        raise ValueError(
            f"it {error}: is it an image, or a label map that was resampled with interpolation?; resample label maps "
            "with nearest neighbor interpolation"
        ) from error
    low, high = (int(ids[0]), int(ids[-1])) if len(ids) else (0, 0)
    target = np.uint8 if low >= 0 and high <= 255 else np.int32 if low >= -(2**31) and high < 2**31 else np.int64
    return np.round(values).astype(target) if values.dtype.kind == "f" else values.astype(target, copy=False)


def spacing_of(affine: NDArray[np.floating], spatial_dims: int) -> NDArray[np.float64]:
    """Voxel size in mm along the array's axes."""
    return np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :spatial_dims], axis=0)
