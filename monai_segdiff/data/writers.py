"""Generated images and label maps written with the geometry of the label map they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monai_segdiff.data.layout import file_extension
from monai_segdiff.data.load import is_raster
from monai_segdiff.data.nifti import as_stored
from monai_segdiff.data.readers.axes import canonical_shape, from_canonical, usable_affine
from monai_segdiff.data.readers.picture import PICTURE_AFFINE, open_picture
from monai_segdiff.files import atomic_file
from monai_segdiff.transforms.intensities import IntensityRange, channel_ranges

__all__ = ["WRITABLE", "check_format", "check_range", "write_like"]

#: Extensions of the label maps whose images can be written as they are.
WRITABLE = (".nii.gz", ".nii", ".png")


_GRAY_LEVELS = 64  # fewer would show in an image


def check_range(label_path: str | Path, low: float, high: float) -> None:
    """Refuse, before any work, images that a file of the label map's format cannot hold.

    Args:
        label_path: the label map.
        low: the lowest intensity of the images.
        high: the highest one.

    Raises:
        ValueError: for a picture, where the intensities are no gray levels; names it.
    """
    if is_raster(Path(label_path)) and not (low >= 0 and high <= 65535 and high - low >= _GRAY_LEVELS):
        raise ValueError(
            f"{label_path} is a picture, and so would be the images, which holds whole numbers from 0 to 255 or 65535; "
            f"the intensities here go from {low:g} to {high:g}: give the label maps as NIfTI (.nii.gz)"
        )


def check_format(label_path: str | Path, intensity_range: IntensityRange, channels: int = 1) -> None:
    """Refuse, before any work, images whose channels or intensities a file of the label map's format cannot hold.

    Args:
        label_path: the label map.
        intensity_range: of the images, one pair or one for each channel.
        channels: how many they have.

    Raises:
        ValueError: for a picture of other than 1 or 3 channels, or of intensities that are no gray levels or colors;
            names it.
    """
    if is_raster(Path(label_path)) and channels not in (1, 3):
        raise ValueError(
            f"{label_path} is a picture, and so would be the images, which holds 1 channel or 3, and the images have "
            f"{channels}: give the label maps as NIfTI (.nii.gz), which holds any number"
        )
    for low, high in channel_ranges(intensity_range, channels):
        check_range(label_path, low, high)
        if channels == 3 and is_raster(Path(label_path)) and high > 255:
            raise ValueError(
                f"{label_path} is a picture, and so would be the images, whose colors go from 0 to 255; the "
                f"intensities here go from {low:g} to {high:g}: give the label maps as NIfTI (.nii.gz)"
            )


def write_like(array: NDArray[np.generic], label_path: str | Path, out_path: str | Path, channels: int = 1) -> Path:
    """Write an array with the geometry and the file format of a given label map, atomically.

    Args:
        array: voxels, in the axes that :func:`~monai_segdiff.data.load_image` gives those of the label map; a leading
            channel of one is dropped, and axes of length one may be left out. Booleans become uint8, 64-bit types
            32-bit ones. A picture takes values from 0 to 255, or to 65535 (then 16-bit), rounded.
        label_path: NIfTI or PNG file; its axes, affine, voxel size, units and the codes of its header are kept.
        out_path: file to write, with the label map's extension.
        channels: length of the array's first axis where it is one of several channels. In NIfTI they lie behind three
            axes of space, (X, Y, Z, C); a picture has red, green and blue.

    Returns:
        `out_path`.

    Raises:
        ValueError: if the array's shape is not the label map's, the extension differs, the format cannot be written, or
            a value does not fit.
        OSError: if the file cannot be written (full disk, no permission); names it.
    """
    label_path, out_path = Path(label_path), Path(out_path)
    if file_extension(out_path).removesuffix(".gz") != file_extension(label_path).removesuffix(".gz"):
        raise ValueError(f"{out_path} must have the extension of {label_path}, {file_extension(label_path)}")
    if file_extension(label_path) not in WRITABLE:
        raise ValueError(
            f"{out_path} cannot be written: label maps must be {', '.join(WRITABLE)}; convert {label_path}"
        )
    array = np.asarray(array)
    layers = [array] if channels == 1 else list(array)
    if len(layers) != channels:
        raise ValueError(f"an array of shape {array.shape} does not begin with {channels} channels")
    if is_raster(label_path):
        size = open_picture(label_path).size
        picture = _picture([_laid_out(layer, size, PICTURE_AFFINE, label_path) for layer in layers], out_path)
        with atomic_file(out_path) as temporary:
            picture.save(temporary)
        return out_path
    reference = nib.load(label_path)
    affine = usable_affine(reference.affine, min(3, len(reference.shape)))
    flat = [_laid_out(layer, reference.shape, affine, label_path) for layer in layers]
    stored = flat[0] if channels == 1 else as_stored(np.stack([_in_space(layer) for layer in flat]))
    array = _storable(stored, out_path)
    header = reference.header.copy()
    header.set_data_dtype(array.dtype)
    # Keep the codes of both forms; without this nibabel would mark the result as merely aligned.
    image = reference.__class__(array, reference.affine, header)
    image.header.set_slope_inter(1, 0)
    image.header["cal_min"] = image.header["cal_max"] = 0
    with atomic_file(out_path) as temporary:
        nib.save(image, temporary)
    return out_path


def _laid_out(
    array: NDArray[np.generic], shape: tuple[int, ...], affine: NDArray[np.float64], label_path: Path
) -> NDArray[np.generic]:
    """Turn an array from canonical axes to those of a file, adding or dropping axes of length one only."""
    spatial = shape[:3]
    expected = canonical_shape(spatial, affine)
    if array.ndim == len(expected) + 1 and array.shape[0] == 1:
        array = array[0]
    if tuple(n for n in expected if n != 1) != tuple(n for n in array.shape if n != 1):
        raise ValueError(f"array of shape {array.shape} does not have the shape {expected} of {label_path}")
    return from_canonical(array.reshape(expected), affine, spatial).reshape(shape)


def _storable(array: NDArray[np.generic], out_path: Path) -> NDArray[np.generic]:
    """The array in a type that every NIfTI reader knows, with the values it had."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating):
        with np.errstate(over="ignore"):
            stored = array.astype(np.float32)
        if not np.isfinite(stored).all():
            raise ValueError(
                f"{out_path} would hold NaN, infinite or too large values: repair the image that it is made of, or "
                "generate in higher precision (amp_dtype)"
            )
        return stored
    if array.dtype.itemsize < 8:
        return array
    low, high = int(array.min()), int(array.max())
    if low < -(2**31) or high >= 2**31:
        raise ValueError(f"values from {low} to {high} do not fit into {out_path}, which holds 32-bit numbers")
    return array.astype(np.int32)


def _in_space(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """The array without axes behind those of space, all of length one."""
    return array.reshape(array.shape[:3])


def _picture(layers: Sequence[NDArray[np.generic]], out_path: Path) -> Image.Image:
    if len(layers) not in (1, 3):
        raise ValueError(
            f"{out_path} cannot hold {len(layers)} channels, as a picture has 1 or 3; give NIfTI label maps"
        )
    values = np.round(np.stack([np.asarray(layer, dtype=np.float64).T for layer in layers], axis=-1))
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= (65535 if len(layers) == 1 else 255)):
        raise ValueError(
            f"values from {low:g} to {high:g} do not fit into {out_path}; a picture holds 0 to 255 or 65535 in "
            "gray, 0 to 255 in colors; give label maps as NIfTI"
        )
    values = values[..., 0] if len(layers) == 1 else values
    return Image.fromarray(np.ascontiguousarray(values.astype(np.uint8 if high <= 255 else np.uint16)))
