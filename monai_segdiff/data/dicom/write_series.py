"""Synthetic images written as DICOM series: CT, MR, CR and DX, marked as synthetic, of nobody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from monai_segdiff.data.dicom.files import DicomSource, import_pydicom
from monai_segdiff.data.dicom.geometry import LPS_TO_RAS
from monai_segdiff.data.dicom.iods import new_image
from monai_segdiff.data.dicom.scaling import choose_scaling
from monai_segdiff.data.dicom.series import MODALITIES
from monai_segdiff.data.dicom.synthetic import SyntheticInfo, give_uids, mark_synthetic, source_references
from monai_segdiff.files import atomic_folder

__all__ = ["as_slices", "fill_series", "naming", "row_direction", "write_dicom_series"]


def write_dicom_series(
    image: ArrayLike | torch.Tensor,
    affine: ArrayLike | torch.Tensor,
    folder: str | os.PathLike[str],
    modality: str,
    *,
    source: DicomSource | None = None,
    info: SyntheticInfo | None = None,
) -> list[Path]:
    """Write a synthetic image as a DICOM series.

    Slices lie as radiologists see them: rows run to the left or to posterior, columns to posterior or down. Values are
    stored within half a step of the rescaling. Every object is marked as synthetic and holds no patient's data. The
    folder appears complete or not at all.

    Args:
        image: (X, Y, Z) or (X, Y), with or without a leading axis of one; CT in HU. Slices are cut along the last axis.
        affine: (4, 4), index to RAS mm, with right angles; the third column of a single slice gives its thickness.
        folder: folder to create; may exist and be empty.
        modality: "CT", "MR", "CR" or "DX"; the last two for an image of two axes. They have no place in space: of the
            affine only the voxel size is written.
        source: DICOM segmentation that the image was made for; the objects refer to it.
        info: what the objects say of their origin, and their UIDs.

    Returns:
        The files, in the order of the slices from `read_dicom_series`.

    Raises:
        ImportError: if pydicom is missing.
        ValueError: if modality, shape, affine or values do not fit.
        OSError: if the folder cannot be written, or is not empty.
    """
    with atomic_folder(Path(folder)) as temporary, naming(Path(folder), temporary):
        files = fill_series(image, affine, temporary, modality, source=source, info=info or SyntheticInfo())
    return [Path(folder) / file.name for file in files]


def fill_series(
    image: ArrayLike | torch.Tensor,
    affine: ArrayLike | torch.Tensor,
    folder: Path,
    modality: str,
    *,
    source: DicomSource | None,
    info: SyntheticInfo,
    number: int = 1,
) -> list[Path]:
    """`write_dicom_series` into a folder that exists, as the series of a number."""
    if modality not in MODALITIES:
        raise ValueError(f"modality must be one of {', '.join(MODALITIES)}, got {modality!r}")
    import_pydicom()
    slices, grid = as_slices(image, affine, radiograph=modality in ("CR", "DX"))
    references = source_references(source)
    scaling = choose_scaling(slices, modality)
    images = []
    for index, plane in enumerate(slices):
        dataset = new_image(modality, info, index + 1, scaling)
        mark_synthetic(dataset, info, references)
        dataset.SeriesNumber = number
        _place(dataset, grid, index, modality)
        dataset.Rows, dataset.Columns = plane.shape
        dataset.PixelData = scaling.store(plane).astype("<u2").tobytes()
        images.append(dataset)
    give_uids(images, info, modality)
    files = [folder / f"IM{number:04d}.dcm" for number in range(1, len(images) + 1)]
    for file, dataset in zip(files, images, strict=True):
        dataset.save_as(file, enforce_file_format=True)
    return files


@contextmanager
def naming(target: Path, temporary: Path | None = None) -> Iterator[None]:
    """Make errors of values name what is being written.

    Args:
        target: the file or folder.
        temporary: what it is called until it is complete.

    Raises:
        ValueError: what the block raised.
    """
    try:
        yield
    except ValueError as error:
        text = str(error) if temporary is None else str(error).replace(str(temporary), str(target))
        raise ValueError(text if str(target) in text else f"cannot write {target}: {text}") from error


def as_slices(
    image: ArrayLike | torch.Tensor, affine: ArrayLike | torch.Tensor, radiograph: bool
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Turn an array so that its slices lie as radiologists see them.

    Args:
        image: (X, Y, Z) or (X, Y), with or without a leading axis of one.
        affine: (4, 4), index to RAS mm.
        radiograph: whether it is one, whose second axis runs along the body.

    Returns:
        (slices, rows, columns), and the RAS affine of (column, row, slice).

    Raises:
        ValueError: if shape or affine do not fit.
    """
    array = np.asarray(image.detach().cpu() if isinstance(image, torch.Tensor) else image)
    place = np.asarray(affine, dtype=np.float64)
    if array.ndim == 4 or (array.ndim == 3 and radiograph) or (array.ndim == 3 and array.shape[0] == 1):
        if array.shape[0] != 1 and not (radiograph and array.shape[-1] == 1):
            raise ValueError(f"an image of one channel is expected, got shape {array.shape}")
        array = array[0] if array.shape[0] == 1 else array
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or 0 in array.shape or (radiograph and array.shape[2] != 1):
        raise ValueError(f"an image of {'two' if radiograph else 'two or three'} axes is expected, got {array.shape}")
    if place.shape != (4, 4) or not np.isfinite(place).all():
        raise ValueError("affine must be a finite matrix (4, 4)")
    place, sizes = place.copy(), np.linalg.norm(place[:3, :3], axis=0)
    if sizes.min() <= 0:
        raise ValueError("affine has an axis of no length; give the voxel size in mm")
    directions = place[:3, :3] / sizes
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-3:
        raise ValueError("affine is sheared, which DICOM images cannot be; resample the image first")
    for axis in (0, 1):
        main = int(np.abs(place[:3, axis]).argmax())
        # RAS: rows and columns run to the left, to posterior or down.
        if place[main, axis] > 0:
            array = np.flip(array, axis)
            place[:3, 3] += (array.shape[axis] - 1) * place[:3, axis]
            place[:3, axis] *= -1
    if np.cross(place[:3, 0], place[:3, 1]) @ place[:3, 2] < 0:
        array = np.flip(array, 2)
        place[:3, 3] += (array.shape[2] - 1) * place[:3, 2]
        place[:3, 2] *= -1
    return np.ascontiguousarray(array.transpose(2, 1, 0)), place


def _place(dataset: Any, grid: NDArray[np.float64], index: int, modality: str) -> None:
    """Say where an image lies."""
    lps = LPS_TO_RAS @ grid
    width, height, depth = np.linalg.norm(lps[:3, :3], axis=0)
    row, column = lps[:3, 0] / width, lps[:3, 1] / height
    dataset.PixelSpacing = _numbers([height, width])
    if modality in ("CR", "DX"):
        dataset.ImagerPixelSpacing = dataset.PixelSpacing
        dataset.PatientOrientation = [_letter(row), "F"]
        return
    dataset.ImageOrientationPatient = _numbers([*row, *column])
    dataset.ImagePositionPatient = _numbers(lps[:3, 3] + index * lps[:3, 2])
    dataset.SliceThickness = _numbers([depth])[0]
    if modality == "MR":
        dataset.SpacingBetweenSlices = _numbers([depth])[0]


def row_direction(grid: NDArray[np.float64]) -> str:
    """Where the rows of a picture run to, as a letter of its patient orientation.

    Args:
        grid: RAS affine of (column, row, slice), from `as_slices`.
    """
    return _letter((LPS_TO_RAS @ grid)[:3, 0])


def _letter(direction: NDArray[np.float64]) -> str:
    main = int(np.abs(direction).argmax())
    return ("LPH" if direction[main] > 0 else "RAF")[main]


def _numbers(values: Any) -> list[Any]:
    """Decimal strings (DS), 16 characters at most."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(value) + 0.0) for value in values]
