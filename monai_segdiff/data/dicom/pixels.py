"""Stored pixels of DICOM images as values in their unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_segdiff.data.dicom.files import DECODERS, import_pydicom, naming_dicom, read_dataset_of, reason

__all__ = ["pixel_values"]


def pixel_values(file: Path) -> NDArray[np.float32]:
    """Read one image in its unit.

    Args:
        file: a CT, MR, CR or DX image of one frame.

    Returns:
        Values, (rows, columns): in HU for CT, otherwise rescaled where the file says how.

    Raises:
        ImportError: if pydicom is missing.
        ValueError: if it is damaged, is not gray, or does not say what its values are; names the file.
    """
    dataset = read_dataset_of(file)
    with naming_dicom(file, "an image"):
        return _in_unit(file, dataset)


def _in_unit(file: Path, dataset: Any) -> NDArray[np.float32]:
    slope, intercept = _rescaling(file, dataset)
    if dataset.get("ModalityLUTSequence"):
        raise ValueError(f"{file} has a table of its values (Modality LUT), which is not applied; export it without it")
    if (shown := str(dataset.get("PhotometricInterpretation") or "")) not in ("MONOCHROME1", "MONOCHROME2", ""):
        raise ValueError(f"{file} is a {shown} image where a gray one is expected; export it in gray")
    pixels = _stored(file, dataset)
    if pixels.ndim != 2:
        raise ValueError(f"{file} has {pixels.ndim} dimensions where one gray image is expected; export it in gray")
    real = None
    if dataset.get("Modality") == "DX" and "RealWorldValueMappingSequence" in dataset:
        real = _real_world(dataset.RealWorldValueMappingSequence)
    if real is not None:  # quantities, however they are shown
        slope, intercept = real
    elif dataset.get("Modality") in ("CR", "DX") and shown == "MONOCHROME1":
        # Over the whole range of stored values; a rescaling that is linear may come before or after.
        bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation)
        pixels = (-1 if signed else 2**bits - 1) - pixels.astype(np.int64)
    factor, offset = float(1 if slope is None else slope), float(intercept or 0)
    values = pixels.astype(np.float32)
    with np.errstate(all="ignore"):
        values *= factor
        values += offset
    if not factor or not np.isfinite(values).all():
        raise ValueError(
            f"{file} has values of {factor:g} times what is stored plus {offset:g}, which are none; export it again"
        )
    return values


def _stored(file: Path, dataset: Any) -> NDArray[Any]:
    compressed = import_pydicom().uid.UID(str(dataset.file_meta.get("TransferSyntaxUID") or "1.2")).is_compressed
    try:
        pixels: NDArray[Any] = dataset.pixel_array
    except Exception as error:
        remedy = f"if a decoder is missing: {DECODERS}" if compressed else "copy it again"
        raise ValueError(f"{file} cannot be decoded ({reason(error)}); {remedy}") from error
    # A byte or so of padding is no harm, a row of pixels too many is an image of another size.
    if not compressed and (more := len(dataset.PixelData) - pixels.nbytes) >= pixels[0].nbytes:
        raise ValueError(
            f"{file} cannot be decoded: it holds {more} bytes more than its {dataset.Rows} x {dataset.Columns} pixels "
            "are; copy it again"
        )
    return pixels


def _rescaling(file: Path, dataset: Any) -> tuple[Any, Any]:
    """Slope and intercept, each None if the file does not say it."""
    try:
        slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
        for value in (slope, intercept):
            float(value or 0)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} has a rescaling that is no number ({reason(error)}); export it again") from error
    if dataset.get("Modality") == "CT" and (slope is None or intercept is None):
        raise ValueError(f"{file} has no RescaleSlope and RescaleIntercept, so its values are not HU; export it again")
    return slope, intercept


def _real_world(mappings: Any) -> tuple[Any, Any] | None:
    """A DX image has no rescaling of its own, but may say what its stored values mean."""
    if not mappings:
        return None
    found = mappings[0].get("RealWorldValueSlope"), mappings[0].get("RealWorldValueIntercept")
    return None if None in found else found
