"""CT series in DICOM files read as volumes in HU; what is doubtful about their geometry is an error.

MONAI's reader stacks a folder's files by instance number, whatever series they belong to and wherever they lie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

__all__ = ["is_dicom", "read_ct_series"]

_INSTALL = "python -m pip install 'monai-segdiff[dicom]'"
_HEADER = (
    "Modality",
    "ImageType",
    "SeriesInstanceUID",
    "SeriesDescription",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "RescaleSlope",
    "RescaleIntercept",
)
_SAME = ("ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
_STEP_TOLERANCE = 0.05  # of the distance of slices: scanners round positions
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

Slices = Mapping[Path, Any]  # file to header


def is_dicom(file: Path) -> bool:
    """Whether a file is a DICOM file, by its content or its name."""
    if file.suffix.lower() in (".dcm", ".dicom", ".ima"):
        return True
    with open(file, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def read_ct_series(files: Sequence[Path], folder: str | Path) -> MetaTensor:
    """Read the one CT series among the DICOM files of a folder.

    Objects that are no CT images (segmentations, structure sets, reports) and localizers are passed over. Slices are
    put in order by their position. Where series UIDs are blank, as some tools leave them, the files without one count
    as one series, and its geometry must prove it.

    Args:
        files: the DICOM files.
        folder: where they are, for messages and metadata.

    Returns:
        float32 tensor in HU, (1, X, Y, Z), X along rows and Y along columns of the slices, with its RAS affine.

    Raises:
        ImportError: if pydicom is missing.
        ValueError: if a file is damaged, or the files are not one CT series of evenly spaced, parallel slices; names
            the files and what to do.
    """
    pydicom = _import_pydicom()
    headers = {}
    for file in sorted(files):
        try:
            headers[file] = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_HEADER))
        except Exception as error:
            raise ValueError(f"{file} cannot be read as DICOM ({_reason(error)}); copy it again") from error
    slices = _only_series(headers, folder)
    ordered, affine = _geometry(slices, folder)
    first = slices[ordered[0]]
    volume = torch.empty((1, int(first.Columns), int(first.Rows), len(ordered)))
    for index, file in enumerate(ordered):
        volume[0, :, :, index] = torch.from_numpy(_hounsfield(pydicom, file).T)
    return MetaTensor(volume, affine=torch.as_tensor(affine), meta={"filename_or_obj": str(folder)})


def _import_pydicom() -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise ImportError(f"reading DICOM needs pydicom: {_INSTALL}") from error
    return pydicom


def _only_series(headers: Slices, folder: str | Path) -> Slices:
    """The images of the one CT series."""
    images = {
        file: header
        for file, header in headers.items()
        if header.get("Modality") == "CT" and "LOCALIZER" not in list(header.get("ImageType") or [])
    }
    if not images:
        counts = Counter(header.get("Modality") or "unnamed" for header in headers.values())
        found = ", ".join(f"{count} {modality}" for modality, count in counts.items())
        raise ValueError(f"{folder} holds no CT images, but {found} files; give CT in HU")
    series: dict[str, list[Path]] = {}
    for file, header in images.items():
        series.setdefault(str(header.get("SeriesInstanceUID") or ""), []).append(file)
    if len(series) > 1:
        described = "; ".join(
            f"{uid or 'without UID'} ({images[members[0]].get('SeriesDescription') or 'no description'}, "
            f"{len(members)} files, e.g. {members[0].name})"
            for uid, members in series.items()
        )
        raise ValueError(
            f"{folder} holds {len(series)} CT series: {described}; keep the one to use, move the others away"
        )
    multiframe = next((file for file, header in images.items() if int(header.get("NumberOfFrames") or 1) > 1), None)
    if multiframe is not None:
        raise ValueError(f"{multiframe} is a multi-frame object; convert it to NIfTI first (dcm2niix does)")
    return images


def _geometry(slices: Slices, folder: str | Path) -> tuple[list[Path], NDArray[np.float64]]:
    """Files in their order in space, and the RAS affine of (column, row, slice)."""
    names = list(slices)
    first = slices[names[0]]
    for file, header in slices.items():
        for tag in ("ImagePositionPatient", *_SAME):
            if header.get(tag) is None:
                raise ValueError(f"{file} has no {tag}, so its place in space is unknown; export the series again")
        for tag in _SAME:
            if not np.allclose(header[tag].value, first[tag].value, atol=1e-4):
                raise ValueError(
                    f"{file} has {tag} {header[tag].value}, but {names[0]} has {first[tag].value}; "
                    "keep slices of one orientation and size only"
                )
    if len(names) < 2:
        raise ValueError(f"{names[0]} is a single slice; a volume needs at least two ({folder})")
    row, column = np.asarray(first.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    normal = np.cross(row, column)
    positions = np.array([slices[file].ImagePositionPatient for file in names], dtype=np.float64)
    order = np.argsort(positions @ normal)
    ordered, positions = [names[i] for i in order], positions[order]
    steps = np.diff(positions @ normal)
    usual = float(np.median(steps))
    closest, widest = int(steps.argmin()), int(steps.argmax())
    if steps[closest] < 1e-3:
        raise ValueError(
            f"{ordered[closest]} and {ordered[closest + 1]} lie at the same position; are there two scans in {folder}?"
        )
    if np.abs(steps - usual).max() > _STEP_TOLERANCE * usual:
        at = widest if steps[widest] - usual > usual - steps[closest] else closest
        raise ValueError(
            f"{ordered[at]} and {ordered[at + 1]} are {steps[at]:.3g} mm apart where the other slices are "
            f"{usual:.3g} mm apart; add the missing slices, or keep those of even distance"
        )
    height, width = np.asarray(first.PixelSpacing, dtype=np.float64)  # between rows, between columns
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * width, column * height
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(ordered) - 1)
    affine[:3, 3] = positions[0]
    return ordered, _LPS_TO_RAS @ affine


def _hounsfield(pydicom: Any, file: Path) -> NDArray[np.float32]:
    """One slice in HU, (rows, columns)."""
    dataset = pydicom.dcmread(file)
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None:
        raise ValueError(f"{file} has no RescaleSlope and RescaleIntercept, so its values are not HU; export it again")
    try:
        pixels = dataset.pixel_array
    except Exception as error:
        raise ValueError(f"{file} cannot be decoded ({_reason(error)}); if a decoder is missing: {_INSTALL}") from error
    return pixels.astype(np.float32) * float(slope) + float(intercept)


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
