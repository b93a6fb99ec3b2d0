"""Generated images and label maps written with the geometry of the label map they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monai_segdiff.data.layout import file_extension
from monai_segdiff.data.load import is_flat, load_label_map
from monai_segdiff.data.nifti import as_stored, save_nifti
from monai_segdiff.data.readers.axes import canonical_shape, from_canonical, own_shape, usable_affine
from monai_segdiff.data.readers.picture import PICTURE_AFFINE, open_picture
from monai_segdiff.data.readers.voxels import require_module
from monai_segdiff.data.volume_formats import write_metaimage, write_nrrd
from monai_segdiff.files import atomic_file
from monai_segdiff.transforms.intensities import IntensityRange, channel_ranges

__all__ = ["FORMATS", "check_writable", "extension_of", "write_like"]

#: Formats that images and label maps are written in, and their extensions.
FORMATS = {"nifti": ".nii.gz", "png": ".png", "nrrd": ".nrrd", "mha": ".mha"}
_NIFTI = (".nii.gz", ".nii")
_SAME_FORMAT = {".nhdr": ".nrrd", ".mhd": ".mha"}  # in one file
_NEEDED = {".nrrd": ("nrrd", "pynrrd"), ".mha": ("itk", "itk-io")}

_GRAY_LEVELS = 64  # fewer would show in an image
_MOST_GRAY, _MOST_COLOR = 65535, 255


def extension_of(label_path: str | Path) -> str:
    """Extension of the format that images for a label map are written in: its own where it can be, else NIfTI's.

    Args:
        label_path: the label map.
    """
    own = file_extension(label_path)
    own = _SAME_FORMAT.get(own, own)
    return own if own in (*_NIFTI, *FORMATS.values()) else FORMATS["nifti"]


def check_writable(
    label_path: str | Path, extension: str | None, intensity_range: IntensityRange, channels: int = 1
) -> None:
    """Refuse, before any work, images that a format cannot hold.

    Args:
        label_path: the label map that they are made for.
        extension: of the format; None for that of the label map.
        intensity_range: of the images, one pair or one for each channel.
        channels: how many they have.

    Raises:
        ImportError: if the format needs what is not installed.
        ValueError: for PNG, if there are other than 1 or 3 channels, intensities are no gray levels or colors, or the
            label map is a volume; names it.
    """
    ending = extension or extension_of(label_path)
    if ending in _NEEDED:
        require_module(Path(label_path).with_suffix(ending), *_NEEDED[ending])
    if ending != ".png":
        return
    if wrong := _unfit_for_picture(intensity_range, channels):
        if extension is None:
            raise ValueError(
                f"{label_path} is a picture, and so would be the images, {wrong}: give the label maps as NIfTI "
                "(.nii.gz), which holds them"
            )
        raise ValueError(f"PNG is a picture, {wrong}: choose another format (--format) than png for {label_path}")
    if not is_flat(label_path) and sum(n != 1 for n in load_label_map(label_path).shape[1:]) > 2:
        raise ValueError(
            f"{label_path} is a volume, and PNG holds one slice: write NIfTI, NRRD or MHA (--format nifti)"
        )


def _unfit_for_picture(intensity_range: IntensityRange, channels: int) -> str:
    """What a picture holds, and the images have instead; empty where they fit."""
    if channels not in (1, 3):
        return f"which holds 1 channel or 3, and the images have {channels}"
    most, holds = (
        (_MOST_GRAY, f"which holds whole numbers from 0 to {_MOST_COLOR} or {_MOST_GRAY}")
        if channels == 1
        else (_MOST_COLOR, f"whose colors go from 0 to {_MOST_COLOR}")
    )
    for low, high in channel_ranges(intensity_range, channels):
        if not (low >= 0 and high <= most and high - low >= _GRAY_LEVELS):
            return f"{holds}; the intensities here go from {low:g} to {high:g}"
    return ""


def write_like(array: NDArray[np.generic], label_path: str | Path, out_path: str | Path, channels: int = 1) -> Path:
    """Write an array with the geometry of a given label map, atomically, in the format that the new file's name says.

    Args:
        array: voxels, in the axes that :func:`~monai_segdiff.data.load_image` gives those of the label map; a leading
            channel of one is dropped, and axes of length one may be left out. Booleans become uint8, 64-bit types
            32-bit ones. A picture takes values from 0 to 255, or to 65535 (then 16-bit), rounded.
        label_path: the label map; its axes, affine and voxel size are kept, and from NIfTI to NIfTI units and the codes
            of its header.
        out_path: file to write: NIfTI, PNG, NRRD or MetaImage (.mha).
        channels: length of the array's first axis where it is one of several channels. In NIfTI they lie behind three
            axes of space, (X, Y, Z, C); a picture has red, green and blue.

    Returns:
        `out_path`.

    Raises:
        ImportError: if the format needs what is not installed.
        ValueError: if the array's shape is not the label map's, the format cannot be written or hold a volume, or a
            value does not fit.
        OSError: if the file cannot be written (full disk, no permission); names it.
    """
    label_path, out_path, array = Path(label_path), Path(out_path), np.asarray(array)
    extension = file_extension(out_path)
    if extension not in (*_NIFTI, *FORMATS.values()):
        raise ValueError(f"{out_path} cannot be written: choose one of {', '.join((*_NIFTI, *FORMATS.values()))}")
    layers = [array] if channels == 1 else list(array)
    if len(layers) != channels:
        raise ValueError(f"an array of shape {array.shape} does not begin with {channels} channels")
    if extension == ".png":
        return _write_picture(layers, label_path, out_path)
    if extension in _NIFTI and file_extension(label_path) in _NIFTI:
        return _write_nifti(layers, label_path, out_path)
    reference = load_label_map(label_path)
    affine = np.asarray(reference.meta["original_affine"], dtype=np.float64)
    shape = own_shape(reference.shape[1:], affine)
    flat = _storable(np.stack([_laid_out(layer, shape, affine, label_path) for layer in layers]), out_path)
    if extension in _NIFTI:
        return save_nifti(out_path, as_stored(flat), affine)
    require_module(out_path, *_NEEDED[extension])
    return (write_nrrd if extension == ".nrrd" else write_metaimage)(out_path, flat, affine)


def _write_picture(layers: Sequence[NDArray[np.generic]], label_path: Path, out_path: Path) -> Path:
    shape: tuple[int, ...]
    if is_flat(label_path):
        shape = open_picture(label_path).size
    else:
        layers = [np.squeeze(layer) for layer in layers]
        if layers[0].ndim != 2:
            raise ValueError(f"{out_path} cannot hold the volume that {label_path} is: write NIfTI, NRRD or MHA")
        shape = own_shape(layers[0].shape, PICTURE_AFFINE)
    picture = _picture([_laid_out(layer, shape, PICTURE_AFFINE, label_path) for layer in layers], out_path)
    with atomic_file(out_path) as temporary:
        picture.save(temporary)
    return out_path


def _write_nifti(layers: Sequence[NDArray[np.generic]], label_path: Path, out_path: Path) -> Path:
    reference = nib.load(label_path)
    affine = usable_affine(reference.affine, min(3, len(reference.shape)))
    flat = [_laid_out(layer, reference.shape, affine, label_path) for layer in layers]
    stored = flat[0] if len(flat) == 1 else as_stored(np.stack([_in_space(layer) for layer in flat]))
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
    if not (low >= 0 and high <= (_MOST_GRAY if len(layers) == 1 else _MOST_COLOR)):
        raise ValueError(
            f"values from {low:g} to {high:g} do not fit into {out_path}; a picture holds 0 to 255 or 65535 in "
            "gray, 0 to 255 in colors; give label maps as NIfTI"
        )
    values = values[..., 0] if len(layers) == 1 else values
    return Image.fromarray(np.ascontiguousarray(values.astype(np.uint8 if high <= _MOST_COLOR else np.uint16)))
