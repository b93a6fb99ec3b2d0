"""Synthetic pictures in colors as DICOM: visible light images, or secondary captures where a modality is gray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from monai_segdiff.data.dicom.files import DicomSource, dicom_files, read_dataset_of
from monai_segdiff.data.dicom.iods import new_color_image
from monai_segdiff.data.dicom.synthetic import SyntheticInfo, give_uids, mark_synthetic, source_references
from monai_segdiff.data.dicom.write_series import as_slices, row_direction

__all__ = ["color_picture", "fill_color"]

_MOST = 255


def fill_color(
    image: ArrayLike | torch.Tensor,
    affine: ArrayLike | torch.Tensor,
    folder: Path,
    modality: str,
    *,
    source: DicomSource | None,
    info: SyntheticInfo,
) -> list[Path]:
    """Write a picture in colors into a folder that exists.

    Args:
        image: (3, X, Y), red, green and blue from 0 to 255; rounded.
        affine: (4, 4), index to RAS mm; only the directions of its axes count.
        folder: the folder.
        modality: "ES", "XC" or "GM" for an object of visible light; any other for a secondary capture (RGB is not
            allowed in CT, MR, CR and DX images: PS3.3, C.8).
        source: DICOM segmentation that the image was made for.
        info: what the object says of its origin, and its UIDs.

    Returns:
        The file.

    Raises:
        ValueError: if shape, affine or values do not fit.
    """
    array = np.asarray(image.detach().cpu() if isinstance(image, torch.Tensor) else image, dtype=np.float64)
    if array.ndim != 3 or len(array) != 3:
        raise ValueError(f"a picture of red, green and blue and of two axes is expected, got shape {array.shape}")
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= _MOST):
        raise ValueError(f"colors go from 0 to {_MOST}, and these from {array.min():g} to {array.max():g}")
    turned = [as_slices(layer, affine, radiograph=True) for layer in array]
    pixels = np.stack([slices[0] for slices, _ in turned], axis=-1).round().astype(np.uint8)
    dataset = new_color_image(modality, info)
    mark_synthetic(dataset, info, source_references(source))
    dataset.PatientOrientation = [row_direction(turned[0][1]), "F"]
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    give_uids([dataset], info, modality)
    file = folder / "IM0001.dcm"
    dataset.save_as(file, enforce_file_format=True)
    return [file]


def color_picture(source: DicomSource) -> Any:
    """The header of the one picture in colors among DICOM files, or None where they are something else.

    Args:
        source: a folder, a file, or several files.
    """
    files = dicom_files(source)
    if len(files) != 1:
        return None
    dataset = read_dataset_of(files[0])
    return dataset if str(dataset.get("PhotometricInterpretation") or "") == "RGB" else None
