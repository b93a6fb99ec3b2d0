"""Contours of DICOM structure sets filled on the grid of the images that they were drawn on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from monai_segdiff.data.dicom_files import DicomSource, dicom_files, read_headers
from monai_segdiff.data.dicom_geometry import LPS_TO_RAS
from monai_segdiff.data.dicom_labels import LabelMapBuilder, vocabulary
from monai_segdiff.data.dicom_series import read_dicom_series

__all__ = ["read_rtstruct", "roi_names"]

_OFF_PLANE = 0.3  # of the distance of slices: how far a contour may lie from its slice


def read_rtstruct(
    source: DicomSource,
    series: MetaTensor | DicomSource,
    classes: Mapping[str, int] | None = None,
    *,
    names: Mapping[str, str] | None = None,
    precedence: Sequence[str] = (),
    drop_others: bool = False,
    skip_missing: bool = False,
) -> tuple[MetaTensor, dict[str, int]]:
    """Read a DICOM structure set (RTSTRUCT) as a label map.

    A pixel belongs to a region if its center lies in the contour. Of contours of one region in one slice an inner one
    is a hole. Points and open lines, which enclose nothing, are passed over. Slices between contours stay empty.

    Args:
        source: the structure set, or a folder that holds one.
        series: the images it was drawn on, see `read_dicom_series`: read already, or their folder or files.
        classes: class name to label id; by default the names of the regions in their order, numbered from 1.
        names: region name to class name, where they differ; several regions may be one class.
        precedence: classes in their order; where regions overlap, the class named first is kept. Overlaps that this
            does not decide are an error.
        drop_others: whether regions that `classes` does not know become background rather than an error.
        skip_missing: whether contours on images that are not in the series are left out rather than an error.

    Returns:
        Label map on the grid of the series, and class name to label id.

    Raises:
        ImportError: if pydicom is missing.
        FileNotFoundError: if there is no DICOM file.
        ValueError: if there is not exactly one structure set, it is damaged, was drawn on other images, or on images
            that are missing, or regions are unknown or overlap; names the file and what to do.
    """
    file = _only_file(source)
    image = series if isinstance(series, MetaTensor) else read_dicom_series(series)
    ((_, structures),) = read_headers([file]).items()
    regions = _contours(structures)
    _check_images(file, structures, regions, image, skip_missing)
    class_of, ids = vocabulary(regions, classes, names, drop_others, file)
    shape = (*image.shape[1:], *[1] * (4 - image.ndim))
    builder = LabelMapBuilder(shape, ids, precedence, file)
    known = set(image.meta.get("sop_uids", ()))
    to_index = np.linalg.inv(np.asarray(image.affine, dtype=np.float64)) @ LPS_TO_RAS
    for name, contours in regions.items():
        if name not in class_of:
            continue
        mask = np.zeros(shape, dtype=bool)
        for contour in contours:
            if not (skip_missing and set(_references(contour)) - known):
                _fill(mask, contour, to_index, f"region {name!r} of {file}")
        builder.add(class_of[name], mask)
    array = builder.finish()
    meta = {
        "filename_or_obj": str(file),
        "modality": "RTSTRUCT",
        "patient_id": str(structures.get("PatientID") or ""),
        "frame_of_reference_uid": image.meta.get("frame_of_reference_uid", ""),
        "referenced_series": referenced_series(structures),
    }
    values = torch.from_numpy(np.ascontiguousarray(array[..., 0] if image.ndim == 3 else array))[None]
    return MetaTensor(values, affine=image.affine, meta=meta), ids


def roi_names(file: Path) -> list[str]:
    """Names of the regions of a structure set that enclose something, in their order.

    Raises:
        ValueError: if the file is damaged; names it.
    """
    ((_, structures),) = read_headers([file]).items()
    return list(_contours(structures))


def referenced_series(structures: Any) -> list[str]:
    """UIDs of the series that a structure set was drawn on, as far as it says so."""
    return [
        str(series.SeriesInstanceUID)
        for frame in structures.get("ReferencedFrameOfReferenceSequence") or []
        for study in frame.get("RTReferencedStudySequence") or []
        for series in study.get("RTReferencedSeriesSequence") or []
    ]


def _only_file(source: DicomSource) -> Path:
    files = dicom_files(source)
    where = source if isinstance(source, str | Path) else files[0].parent
    headers = read_headers(files, ["Modality"])
    found = [file for file, header in headers.items() if header.get("Modality") == "RTSTRUCT"]
    if len(found) != 1:
        listed = f", e.g. {', '.join(file.name for file in found[:3])}" if found else ""
        raise ValueError(f"{where} holds {len(found)} structure sets (RTSTRUCT){listed}; give exactly one")
    return found[0]


def _contours(structures: Any) -> dict[str, list[Any]]:
    """Closed contours of each region, by its name."""
    name_of = {int(roi.ROINumber): str(roi.ROIName).strip() for roi in structures.get("StructureSetROISequence") or []}
    regions: dict[str, list[Any]] = {}
    for item in structures.get("ROIContourSequence") or []:
        closed = [
            contour
            for contour in item.get("ContourSequence") or []
            if str(contour.get("ContourGeometricType")).startswith("CLOSED_PLANAR")
        ]
        if closed:
            number = int(item.ReferencedROINumber)
            regions.setdefault(name_of.get(number, f"region {number}"), []).extend(closed)
    return regions


def _references(contour: Any) -> list[str]:
    return [str(image.ReferencedSOPInstanceUID) for image in contour.get("ContourImageSequence") or []]


def _check_images(
    file: Path, structures: Any, regions: Mapping[str, Sequence[Any]], image: MetaTensor, skip_missing: bool
) -> None:
    if not regions:
        raise ValueError(f"{file} holds no closed contour, so there is nothing to fill; check the file")
    where = image.meta.get("filename_or_obj")
    own, known = image.meta.get("series_uid"), set(image.meta.get("sop_uids", ()))
    wanted = list(dict.fromkeys(u for contours in regions.values() for c in contours for u in _references(c)))
    missing = [uid for uid in wanted if uid not in known]
    if wanted and len(missing) == len(wanted):
        drawn_on = ", ".join(referenced_series(structures)) or "unknown"
        raise ValueError(
            f"{file} was drawn on other images (series {drawn_on}) than those of {where} (series {own or 'without UID'}"
            "); give the series that it was drawn on"
        )
    if missing and not skip_missing:
        raise ValueError(
            f"{file} has contours on {len(missing)} of {len(wanted)} images that are not in {where}, e.g. "
            f"{missing[0]}; add the images, or leave these contours out (skip_missing)"
        )
    if not wanted:
        series, frames = referenced_series(structures), _frames(structures)
        frame = image.meta.get("frame_of_reference_uid")
        if (own and series and own not in series) and (frame and frame not in frames):
            raise ValueError(
                f"{file} was drawn on the series {', '.join(series)}, not on {own} of {where}; give the series that "
                "it was drawn on"
            )


def _frames(structures: Any) -> list[str]:
    frames = structures.get("ReferencedFrameOfReferenceSequence") or []
    return [str(frame.get("FrameOfReferenceUID") or "") for frame in frames]


def _fill(mask: NDArray[np.bool_], contour: Any, to_index: NDArray[np.float64], what: str) -> None:
    """Turn the pixels within a contour over, so that a contour within a contour is a hole."""
    points = np.asarray(contour.ContourData, dtype=np.float64).reshape(-1, 3)
    index = points @ to_index[:3, :3].T + to_index[:3, 3]
    plane = round(float(index[:, 2].mean()))
    off = float(np.abs(index[:, 2] - plane).max())
    if off > _OFF_PLANE:
        raise ValueError(
            f"{what} has a contour {off:.2g} slices off the nearest slice at {points[0].tolist()} mm; give the series "
            "that it was drawn on"
        )
    if not 0 <= plane < mask.shape[2]:
        raise ValueError(
            f"{what} has a contour at {points[0].tolist()} mm, outside the images; give the whole series that it was "
            "drawn on"
        )
    mask[:, :, plane] ^= polygon2mask(mask.shape[:2], index[:, :2])
