"""Contours of DICOM structure sets filled on the grid of the images that they were drawn on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from monai_segdiff.data.dicom.contours import fill_polygon, join_contours
from monai_segdiff.data.dicom.files import DicomSource, dicom_files, naming_dicom, read_headers, reason
from monai_segdiff.data.dicom.geometry import LPS_TO_RAS
from monai_segdiff.data.dicom.labels import LabelMapBuilder, label_tensor, vocabulary
from monai_segdiff.data.dicom.series import read_dicom_series
from monai_segdiff.errors import UnreadableFileError

__all__ = ["read_rtstruct", "roi_names"]

_CLOSED, _XOR = "CLOSEDPLANAR", "CLOSEDPLANARXOR"  # PS3.3 C.8.8.6.3, however they are spelled
_OPEN = ("POINT", "OPENPLANAR", "OPENNONPLANAR")  # which enclose nothing
_FEWEST = 3  # corners that enclose something
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

    A pixel belongs to a region if its center lies in the contour. Of closed contours (CLOSED_PLANAR) of one region in
    one slice, one that lies within another is a hole, and one within a hole an island; the others are united. Those of
    the kind CLOSEDPLANAR_XOR turn over what they enclose, as the standard has it. Points and open lines, which enclose
    nothing, are passed over, and so are closed contours of less than three corners. Slices between contours stay empty.
    Regions of one name are united.

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
            that are missing, or regions are unknown, overlap, reach beyond the images or enclose no pixel; names the
            file and what to do.
    """
    file = _only_file(source)
    image = series if isinstance(series, MetaTensor) else read_dicom_series(series)
    ((_, structures),) = read_headers([file]).items()
    with naming_dicom(file, "a structure set"):
        regions = _regions(file, structures)
        contours = [contour for _, own in regions for contour in own]
        _check_images(file, structures, contours, image, skip_missing)
        class_of, ids = vocabulary((name for name, _ in regions), classes, names, drop_others, file)
        known = set(image.meta.get("sop_uids", ()))
        shape = (*image.shape[1:], *[1] * (4 - image.ndim))
        to_index = np.linalg.inv(np.asarray(image.affine, dtype=np.float64)) @ LPS_TO_RAS
        builder = LabelMapBuilder(shape, ids, precedence, file)
        for name, own in regions:
            if name in class_of:
                kept = [c for c in own if not (skip_missing and set(_references(c)) - known)]
                builder.add(class_of[name], _filled(kept, shape, to_index, f"region {name!r} of {file}"))
        about = {
            "modality": "RTSTRUCT",
            "frame_of_reference_uid": image.meta.get("frame_of_reference_uid", ""),
            "referenced_series": referenced_series(structures),
        }
        flat = image.ndim == 3
        return label_tensor(builder.finish(), image.affine, structures, file, flat=flat, **about), ids


def roi_names(file: Path) -> list[str]:
    """Names of the regions of a structure set that enclose something, in their order.

    Raises:
        ValueError: if the file is damaged; names it.
    """
    ((_, structures),) = read_headers([file]).items()
    with naming_dicom(file, "a structure set"):
        return list(dict.fromkeys(name for name, _ in _regions(file, structures)))


def referenced_series(structures: Any) -> list[str]:
    """UIDs of the series that a structure set was drawn on, as far as it says so."""
    return [
        str(series.SeriesInstanceUID)
        for frame in structures.get("ReferencedFrameOfReferenceSequence") or []
        for study in frame.get("RTReferencedStudySequence") or []
        for series in study.get("RTReferencedSeriesSequence") or []
        if series.get("SeriesInstanceUID")
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


def _regions(file: Path, structures: Any) -> list[tuple[str, list[Any]]]:
    """Name and closed contours of each region that has some."""
    try:
        rois = structures.get("StructureSetROISequence") or []
        name_of: dict[int, str] = {}
        for roi in rois:
            name = str(roi.get("ROIName") or "").strip()
            if (other := name_of.setdefault(int(roi.ROINumber), name)) != name:
                raise UnreadableFileError(
                    f"{file} has two regions of the number {roi.ROINumber}, {other!r} and {name!r}; export it again"
                )
        regions = []
        for item in structures.get("ROIContourSequence") or []:
            closed = [contour for contour in item.get("ContourSequence") or [] if _kind(contour) in (_CLOSED, _XOR)]
            number = int(item.ReferencedROINumber)
            name = name_of.get(number, f"region {number}")
            for contour in item.get("ContourSequence") or []:
                if (kind := _kind(contour)) not in (_CLOSED, _XOR, *_OPEN):
                    raise UnreadableFileError(
                        f"region {name!r} of {file} has a contour of the kind {kind!r}, so that nobody knows what it "
                        "encloses; export it again"
                    )
            if closed:
                regions.append((name, closed))
    except UnreadableFileError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{file} has a region that does not say its number ({reason(error)}); export it again") from (
            error
        )
    return regions


def _kind(contour: Any) -> str:
    return str(contour.get("ContourGeometricType") or "").upper().replace("_", "").strip()


def _references(contour: Any) -> list[str]:
    uids = [image.get("ReferencedSOPInstanceUID") for image in contour.get("ContourImageSequence") or []]
    return [str(uid) for uid in uids if uid]


def _check_images(file: Path, structures: Any, contours: Sequence[Any], image: MetaTensor, skip_missing: bool) -> None:
    if not contours:
        raise ValueError(f"{file} holds no closed contour, so there is nothing to fill; check the file")
    where = image.meta.get("filename_or_obj")
    own, known = image.meta.get("series_uid"), set(image.meta.get("sop_uids", ()))
    wanted = list(dict.fromkeys(uid for contour in contours for uid in _references(contour)))
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


def _filled(
    contours: Sequence[Any], shape: tuple[int, ...], to_index: NDArray[np.float64], what: str
) -> NDArray[np.bool_]:
    """What the contours of a region enclose."""
    mask = np.zeros(shape, dtype=bool)
    pixels = shape[0], shape[1]
    closed: dict[int, list[NDArray[np.float64]]] = {}
    for contour in contours:
        points = _points(contour, what)
        if len(points) < _FEWEST:
            continue
        plane, corners = _place(points, shape, to_index, what)
        if _kind(contour) == _XOR:
            mask[:, :, plane] ^= fill_polygon(pixels, corners)
        else:
            closed.setdefault(plane, []).append(corners)
    for plane, parts in closed.items():
        mask[:, :, plane] |= join_contours(pixels, parts)
    if contours and not mask.any():
        raise ValueError(
            f"{what} encloses the center of no pixel, so that nothing would be left of it; draw it again, or leave it "
            "out (drop_others, --drop-other-labels)"
        )
    return mask


def _place(
    points: NDArray[np.float64], shape: tuple[int, ...], to_index: NDArray[np.float64], what: str
) -> tuple[int, NDArray[np.float64]]:
    """The slice that a contour lies in, and its corners there, in pixels."""
    index = points @ to_index[:3, :3].T + to_index[:3, 3]
    plane = round(float(index[:, 2].mean()))
    off = float(np.abs(index[:, 2] - plane).max())
    if off > _OFF_PLANE:
        raise ValueError(
            f"{what} has a contour {off:.2g} slices off the nearest slice at {points[0].tolist()} mm; give the series "
            "that it was drawn on"
        )
    if not 0 <= plane < shape[2]:
        raise ValueError(
            f"{what} has a contour at {points[0].tolist()} mm, outside the images; give the whole series that it was "
            "drawn on"
        )
    # Less than a pixel beyond the outermost centers, no further center is enclosed.
    beyond = np.maximum(-index[:, :2], index[:, :2] - np.array(shape[:2]) + 1).max(axis=1)
    if beyond.max() >= 1:
        raise ValueError(
            f"{what} has a contour that reaches {beyond.max() - 0.5:.3g} pixels beyond the edge of its slice, at "
            f"{points[beyond.argmax()].tolist()} mm; give the images that it was drawn on, or leave it out "
            "(drop_others, --drop-other-labels)"
        )
    return plane, index[:, :2]


def _points(contour: Any, what: str) -> NDArray[np.float64]:
    """Corners, (N, 3), in mm."""
    try:
        numbers = np.atleast_1d(np.asarray(contour.get("ContourData"), dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} has a contour whose corners are no numbers ({reason(error)}); export it again") from (
            error
        )
    if not len(numbers) or len(numbers) % 3 or not np.isfinite(numbers).all():
        raise ValueError(
            f"{what} has a contour of {len(numbers)} numbers, which are no corners of three each; export it again"
        )
    count = contour.get("NumberOfContourPoints")
    if count not in (None, "") and int(count) != len(numbers) // 3:
        raise ValueError(
            f"{what} has a contour of {len(numbers) // 3} corners that is to have {count}; export it again"
        )
    return numbers.reshape(-1, 3)
