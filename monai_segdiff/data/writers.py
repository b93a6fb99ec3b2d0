"""Generated images and label maps written with the geometry of the label map they were made from."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monai_segdiff.data.layout import file_extension
from monai_segdiff.data.load import is_raster
from monai_segdiff.data.readers.axes import canonical_shape, from_canonical, usable_affine
from monai_segdiff.data.readers.picture import PICTURE_AFFINE, open_picture
from monai_segdiff.files import atomic_file

__all__ = ["WRITABLE", "check_range", "write_like"]

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
        ValueError: for a format that is not written; for a picture, where the intensities are no gray levels; names it.
    """
    if file_extension(label_path) not in WRITABLE:
        raise ValueError(
            f"{label_path} is a label map in a format that images are not written in: convert it to NIfTI (.nii.gz) or PNG, "
            "such as with the prepare command"
        )
    if is_raster(Path(label_path)) and not (low >= 0 and high <= 65535 and high - low >= _GRAY_LEVELS):
        raise ValueError(
            f"{label_path} is a picture, and so would be the images, which holds whole numbers from 0 to 255 or 65535; "
            f"the intensities here go from {low:g} to {high:g}: give the label maps as NIfTI (.nii.gz)"
        )


def write_like(array: NDArray[np.generic], label_path: str | Path, out_path: str | Path) -> Path:
    """Write an array with the geometry and the file format of a given label map, atomically.

    Args:
        array: voxels, in the axes that :func:`~monai_segdiff.data.load_image` gives those of the label map; a leading
            channel of one is dropped, and axes of length one may be left out. Booleans become uint8, 64-bit types
            32-bit ones. A picture takes values from 0 to 255, or to 65535 (then 16-bit), rounded.
        label_path: NIfTI or PNG file; its axes, affine, voxel size, units and the codes of its header are kept.
        out_path: file to write, with the label map's extension.

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
    if is_raster(label_path):
        picture = _picture(_laid_out(array, open_picture(label_path).size, PICTURE_AFFINE, label_path), out_path)
        with atomic_file(out_path) as temporary:
            picture.save(temporary)
        return out_path
    reference = nib.load(label_path)
    affine = usable_affine(reference.affine, min(3, len(reference.shape)))
    array = _storable(_laid_out(array, reference.shape, affine, label_path), out_path)
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


def _picture(array: NDArray[np.generic], out_path: Path) -> Image.Image:
    values = np.round(np.asarray(array, dtype=np.float64)).T
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 65535):
        raise ValueError(
            f"values from {low:g} to {high:g} do not fit into {out_path}; a picture holds 0 to 255 or 65535; "
            "give label maps as NIfTI"
        )
    return Image.fromarray(np.ascontiguousarray(values.astype(np.uint8 if high <= 255 else np.uint16)))
