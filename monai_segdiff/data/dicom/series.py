"""Image series in DICOM files read as volumes; what is doubtful about their geometry is an error.

MONAI's reader stacks a folder's files by instance number, whatever series they belong to and wherever they lie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from monai_segdiff.data.dicom.files import DicomSource, dicom_files, is_dicom, naming_dicom, read_headers
from monai_segdiff.data.dicom.geometry import PLANE, affine_of_slice, check_numbers, order_slices
from monai_segdiff.data.dicom.pixels import pixel_values
from monai_segdiff.data.dicom.sizes import SIZES, check_claimed_sizes

__all__ = ["MODALITIES", "is_dicom", "read_ct_series", "read_dicom_series"]

MODALITIES = ("CT", "MR", "CR", "DX")
_HEADER = (
    "Modality",
    "ImageType",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "SeriesDescription",
    "ImagePositionPatient",
    "ImagerPixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
    *SIZES,
    *PLANE,
)

Slices = Mapping[Path, Any]  # file to header


def read_dicom_series(source: DicomSource, modality: str | None = None) -> MetaTensor:
    """Read the one series of CT, MR, CR or DX images among DICOM files.

    Objects that are no such images (segmentations, structure sets, reports) and localizers are passed over. Slices are
    put in order by their position. Where series UIDs are blank, as some tools leave them, the files without one count
    as one series, and its geometry must prove it.

    Args:
        source: a folder, which is searched at any depth, a file, or several files.
        modality: "CT", "MR", "CR" or "DX", where images of others are to be passed over, too.

    Returns:
        float32 tensor, X along rows and Y along columns of the slices: (1, X, Y, Z) with the RAS affine; (1, X, Y) for
        a single slice, whose affine has its normal, as long as the slice is thick, in the third column; (1, X, Y) for a
        radiograph, which has no place in space: X runs to the patient's left, Y down, and the origin is 0. CT is in HU;
        MR, CR and DX are rescaled where the file says how. Radiographs whose lowest value is shown white (MONOCHROME1)
        are turned around, so that what is bright is high, unless the file maps them to real world values. Metadata:
        ``filename_or_obj``, ``modality``, ``patient_id``, ``study_uid``, ``series_uid``, ``frame_of_reference_uid``
        (empty where unknown), and, by slice, ``files`` and ``sop_uids``.

    Raises:
        ImportError: if pydicom is missing.
        FileNotFoundError: if there is no DICOM file.
        ValueError: if a file is damaged, or the images are not one series of evenly spaced, parallel slices or one
            radiograph; names the files and what to do.
    """
    if modality is not None and modality not in MODALITIES:
        raise ValueError(f"modality must be one of {', '.join(MODALITIES)}, got {modality!r}")
    files = dicom_files(source)
    where = source if isinstance(source, str | Path) else files[0].parent
    with naming_dicom(where, "a series of images"):
        return _read(files, where, MODALITIES if modality is None else (modality,))


def _read(files: Sequence[Path], where: Any, modalities: Collection[str]) -> MetaTensor:
    slices = _only_series(read_headers(files, _HEADER), where, modalities)
    first = next(iter(slices.values()))
    if first.Modality in ("CR", "DX"):
        return _radiograph(slices, where)
    if len(slices) > 1:
        return _volume(slices, where)
    ((file, header),) = slices.items()
    for tag in ("ImagePositionPatient", *PLANE):
        if header.get(tag) is None:
            raise ValueError(f"{file} has no {tag}, so its place in space is unknown; export the series again")
    check_numbers(file, header)
    affine = affine_of_slice(header)
    if not np.isfinite(affine).all():
        raise ValueError(f"{file} has SliceThickness {header.get('SliceThickness')}, which is no size; export it again")
    return _tensor(pixel_values(file)[None], affine, slices, [file], where)


def read_ct_series(files: Sequence[Path], folder: str | Path) -> MetaTensor:
    """Read the one CT series among the DICOM files of a folder as a volume; see `read_dicom_series`.

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
    with naming_dicom(folder, "a CT series"):
        slices = _only_series(read_headers(files, _HEADER), folder, ("CT",))
        if len(slices) < 2:
            raise ValueError(f"{next(iter(slices))} is a single slice; a volume needs at least two ({folder})")
        return _volume(slices, folder)


def _only_series(headers: Slices, folder: Any, modalities: Collection[str]) -> Slices:
    """The images of the one series."""
    images = {
        file: header
        for file, header in headers.items()
        if header.get("Modality") in modalities and "LOCALIZER" not in list(header.get("ImageType") or [])
    }
    kind = " or ".join(modalities)
    if not images:
        counts = Counter(header.get("Modality") or "unnamed" for header in headers.values())
        found = ", ".join(f"{count} {modality}" for modality, count in counts.items())
        wanted = "CT in HU" if kind == "CT" else f"a series of {kind} images"
        raise ValueError(f"{folder} holds no {kind} images, but {found} files; give {wanted}")
    series: dict[str, list[Path]] = {}
    for file, header in images.items():
        series.setdefault(str(header.get("SeriesInstanceUID") or ""), []).append(file)
    if len(series) > 1:
        described = "; ".join(
            f"{uid or 'without UID'} ({images[members[0]].get('SeriesDescription') or 'no description'}, "
            f"{len(members)} files, e.g. {members[0].name})"
            for uid, members in series.items()
        )
        shown = "CT" if kind == "CT" else "image"
        raise ValueError(
            f"{folder} holds {len(series)} {shown} series: {described}; keep the one to use, move the others away"
        )
    multiframe = next((file for file, header in images.items() if int(header.get("NumberOfFrames") or 1) > 1), None)
    if multiframe is not None:
        raise ValueError(f"{multiframe} is a multi-frame object; convert it to NIfTI first (dcm2niix does)")
    check_claimed_sizes(images, folder)
    return images


def _volume(slices: Slices, folder: Any) -> MetaTensor:
    ordered, affine = order_slices(slices, folder)
    first = slices[ordered[0]]
    volume = np.empty((len(ordered), int(first.Rows), int(first.Columns)), dtype=np.float32)
    for index, file in enumerate(ordered):
        volume[index] = pixel_values(file)
    return _tensor(volume, affine, slices, ordered, folder)


def _radiograph(slices: Slices, folder: Any) -> MetaTensor:
    if len(slices) > 1:
        names = ", ".join(file.name for file in list(slices)[:3])
        raise ValueError(f"{folder} holds {len(slices)} radiographs ({names}, ...); give one of them")
    ((file, header),) = slices.items()
    check_numbers(file, header)
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing") or (1.0, 1.0)
    affine = np.diag([-float(spacing[1]), -float(spacing[0]), 1.0, 1.0])
    return _tensor(pixel_values(file)[None], affine, slices, [file], folder)


def _tensor(
    planes: NDArray[np.float32], affine: NDArray[np.float64], slices: Slices, ordered: Sequence[Path], folder: Any
) -> MetaTensor:
    """Planes (slice, row, column) as a tensor, (1, column, row, slice)."""
    first = slices[ordered[0]]
    array = planes.transpose(2, 1, 0) if len(planes) > 1 else planes[0].T
    meta = {
        "filename_or_obj": str(folder),
        "modality": str(first.Modality),
        "files": [str(file) for file in ordered],
        "sop_uids": [str(slices[file].get("SOPInstanceUID") or "") for file in ordered],
    }
    for key, keyword in {
        "patient_id": "PatientID",
        "study_uid": "StudyInstanceUID",
        "series_uid": "SeriesInstanceUID",
        "frame_of_reference_uid": "FrameOfReferenceUID",
    }.items():
        meta[key] = str(first.get(keyword) or "")
    values = torch.from_numpy(np.ascontiguousarray(array[None]))
    return MetaTensor(values, affine=torch.as_tensor(affine), meta=meta)
