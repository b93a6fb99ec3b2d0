"""Generated images and label maps written with the geometry of the label map they were made from."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monai_segdiff.data.layout import file_extension
from monai_segdiff.data.load import is_raster
from monai_segdiff.files import atomic_file

__all__ = ["write_like"]


def write_like(array: NDArray[np.generic], label_path: str | Path, out_path: str | Path) -> Path:
    """Write an array with the geometry and the file format of a given label map, atomically.

    Args:
        array: voxels, axes as MONAI's `LoadImage` gives those of the label map (x first in a picture); a leading
            channel of one is dropped. Booleans become uint8, 64-bit types 32-bit ones. A picture takes values from 0 to
            255, or to 65535 (then 16-bit), rounded.
        label_path: NIfTI or PNG file; affine, voxel size, units and the codes of its header are kept.
        out_path: file to write, with the label map's extension.

    Returns:
        `out_path`.

    Raises:
        ValueError: if the array's shape is not the label map's, the extension differs, or a value does not fit.
        OSError: if the file cannot be written (full disk, no permission); names it.
    """
    label_path, out_path = Path(label_path), Path(out_path)
    if file_extension(out_path).removesuffix(".gz") != file_extension(label_path).removesuffix(".gz"):
        raise ValueError(f"{out_path} must have the extension of {label_path}, {file_extension(label_path)}")
    array = np.asarray(array)
    if is_raster(label_path):
        with Image.open(label_path) as reference:
            array = _fit(array, reference.size, label_path)
        picture = _picture(array, out_path)
        with atomic_file(out_path) as temporary:
            picture.save(temporary)
        return out_path
    reference = nib.load(label_path)
    array = _storable(_fit(array, reference.shape, label_path))
    header = reference.header.copy()
    header.set_data_dtype(array.dtype)
    # Keep the codes of both forms; without this nibabel would mark the result as merely aligned.
    image = reference.__class__(array, reference.affine, header)
    image.header.set_slope_inter(1, 0)
    image.header["cal_min"] = image.header["cal_max"] = 0
    with atomic_file(out_path) as temporary:
        nib.save(image, temporary)
    return out_path


def _fit(array: NDArray[np.generic], shape: tuple[int, ...], label_path: Path) -> NDArray[np.generic]:
    """Bring the array to the label map's shape by adding or dropping axes of length one only."""
    if array.ndim == len(shape) + 1 and array.shape[0] == 1:
        array = array[0]
    squeezed = tuple(n for n in shape if n != 1), tuple(n for n in array.shape if n != 1)
    if squeezed[0] != squeezed[1]:
        raise ValueError(f"array of shape {array.shape} does not have the shape {tuple(shape)} of {label_path}")
    return array.reshape(shape)


def _storable(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """The array in a type that every NIfTI reader knows."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating):
        return array.astype(np.float32)
    return array.astype(np.int32) if array.dtype.itemsize == 8 else array


def _picture(array: NDArray[np.generic], out_path: Path) -> Image.Image:
    values = np.round(np.asarray(array, dtype=np.float64)).T
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 65535):
        raise ValueError(
            f"values from {low:g} to {high:g} do not fit into {out_path}; a picture holds 0 to 255 or 65535; "
            "give label maps as NIfTI"
        )
    return Image.fromarray(np.ascontiguousarray(values.astype(np.uint8 if high <= 255 else np.uint16)))
