"""DICOM segmentations read as label maps, through highdicom and by their place in space."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from monai_segdiff.data.dicom.files import (
    DicomSource,
    dicom_files,
    import_highdicom,
    naming_dicom,
    read_dataset_of,
    read_headers,
    reason,
)
from monai_segdiff.data.dicom.frames import check_frames, check_values, described_segments
from monai_segdiff.data.dicom.geometry import LPS_TO_RAS, onto_grid
from monai_segdiff.data.dicom.labels import LabelMapBuilder, label_tensor, vocabulary
from monai_segdiff.data.dicom.sizes import check_grid

__all__ = ["read_dicom_seg", "segment_labels"]

_EPSILON = 1e-6


def read_dicom_seg(
    source: DicomSource,
    classes: Mapping[str, int] | None = None,
    *,
    like: MetaTensor | None = None,
    names: Mapping[str, str] | None = None,
    precedence: Sequence[str] = (),
    drop_others: bool = False,
    threshold: float = 0.5,
) -> tuple[MetaTensor, dict[str, int]]:
    """Read a DICOM segmentation (SEG) as a label map.

    Binary, fractional and label map segmentations are read. Slices that the object leaves out are empty. Voxels are
    brought onto the wanted grid by their place in space, turned and padded, but never resampled: one on a grid of other
    voxels is refused.

    Args:
        source: the object, a folder, or several files; where there are several SEG objects, `like` must be given.
        classes: class name to label id; by default the segments' labels in their order, numbered from 1.
        like: the image that the label map is to lie on, see `read_dicom_series`. By default the grid is the object's
            own, from its first to its last slice, sorted as `read_dicom_series` sorts them.
        names: segment label to class name, where they differ; several segments may be one class, which then consists
            of these only.
        precedence: classes in their order; where segments overlap, the class named first is kept. Overlaps that this
            does not decide are an error.
        drop_others: whether segments that `classes` does not know become background rather than an error.
        threshold: share, above 0 and at most 1, from which on a voxel of a fractional segmentation counts.

    Returns:
        Label map, (1, X, Y, Z), or (1, X, Y) for a single slice or a radiograph, with its RAS affine; and class name to
        label id. Metadata: ``filename_or_obj``, ``frame_of_reference_uid``, ``referenced_series`` (UIDs) and
        ``patient_id``.

    Raises:
        ImportError: if highdicom is missing.
        FileNotFoundError: if there is no DICOM file.
        ValueError: if there is no SEG object, one is damaged, holds other frames than it says or lies in another frame
            of reference than the images, segments are unknown, overlap or are in two objects; names the file and what
            to do.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, got {threshold:g}")
    files = _seg_files(source)
    with naming_dicom(files[0] if len(files) == 1 else files[0].parent, "a DICOM segmentation"):
        return _read(files, classes, like, names, precedence, drop_others, threshold)


def _read(
    files: Sequence[Path],
    classes: Mapping[str, int] | None,
    like: MetaTensor | None,
    names: Mapping[str, str] | None,
    precedence: Sequence[str],
    drop_others: bool,
    threshold: float,
) -> tuple[MetaTensor, dict[str, int]]:
    objects = [(file, _open(file)) for file in files]
    if like is None and len(objects) > 1:
        raise ValueError(
            f"{objects[0][0].parent} holds {len(objects)} segmentations, e.g. {objects[0][0].name} and "
            f"{objects[1][0].name}; give one of them, or the images that they lie on"
        )
    what = ", ".join(str(file) for file, _ in objects)
    labels = {file: [label for _, label in described_segments(seg)] for file, seg in objects}
    class_of, ids = vocabulary((label for own in labels.values() for label in own), classes, names, drop_others, what)
    _check_repeated({file: [label for label in own if label in class_of] for file, own in labels.items()})
    for file, seg in objects:
        if like is not None:
            _check_reference(file, seg, like)
    shape, affine, flat = _grid(objects[0][1], like, objects[0][0])
    builder = LabelMapBuilder(shape, ids, precedence, what)
    for file, seg in objects:
        for label, mask, place in _segments(file, seg, like, set(class_of), threshold):
            target = np.zeros(shape, dtype=bool)
            if place is None:
                _check_size(file, mask, shape)
                target |= mask
            else:
                onto_grid(mask, place, target, affine, f"segment {label!r} of {file}", _slice_distance(seg))
            builder.add(class_of[label], target)
    file, first = objects[0]
    about = {
        "modality": "SEG",
        "frame_of_reference_uid": str(first.get("FrameOfReferenceUID") or ""),
        "referenced_series": _referenced(first)[0],
    }
    return label_tensor(builder.finish(), affine, first, file, flat=flat, **about), ids


def segment_labels(file: Path) -> list[str]:
    """What the segments of a SEG object are called, in their order.

    Raises:
        ValueError: if the file is damaged; names it.
    """
    ((_, header),) = read_headers([file]).items()
    with naming_dicom(file, "a DICOM segmentation"):
        return [label for _, label in described_segments(header)]


def _check_repeated(labels: Mapping[Path, Sequence[str]]) -> None:
    """Refuse objects that hold the same segment: of two readers, or of two versions, one is meant."""
    first: dict[str, Path] = {}
    for file, own in labels.items():
        for label in own:
            if first.setdefault(label.casefold(), file) != file:
                raise ValueError(
                    f"{first[label.casefold()]} and {file} both have a segment {label!r}; keep one of the two, or name "
                    "their segments differently"
                )


def _seg_files(source: DicomSource) -> list[Path]:
    files = dicom_files(source)
    headers = read_headers(files, ["Modality"])
    found = [file for file, header in headers.items() if header.get("Modality") == "SEG"]
    if not found:
        others = sorted({str(header.get("Modality") or "unnamed") for header in headers.values()})
        where = source if isinstance(source, str | Path) else files[0].parent
        raise ValueError(f"{where} holds no DICOM segmentation (SEG), but {', '.join(others)}; check the path")
    return found


def _open(file: Path) -> Any:
    highdicom = import_highdicom()
    dataset = read_dataset_of(file)
    with naming_dicom(file, "a DICOM segmentation"):
        check_frames(file, dataset)
        seg = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
        check_values(file, seg)
        return seg


def _segments(
    file: Path, seg: Any, like: MetaTensor | None, wanted: set[str], threshold: float
) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.float64] | None]]:
    """Label, voxels (X, Y, Z) and RAS affine of each segment; no affine where the object has no place in space."""
    geometry = _geometry(file, seg)
    spatial = geometry is not None
    check_grid(file, geometry.spatial_shape if spatial else (seg.Rows, seg.Columns), () if like is None else like.shape)
    fractional = seg.get("SegmentationType") == "FRACTIONAL"
    # As stored: of shares as fractions, and of a label map taken apart, highdicom makes several times as much.
    whole = seg.get("SegmentationType") == "LABELMAP"
    taken = {"combine_segments": whole, "skip_overlap_checks": True, "rescale_fractional": False}
    share = math.ceil((threshold - _EPSILON) * int(seg.MaximumFractionalValue)) if fractional else 1
    for number, label in described_segments(seg):
        if label not in wanted:
            continue
        images = [] if spatial else [_image_of(file, seg, like)]
        try:
            if spatial:
                volume = seg.get_volume(segment_numbers=[number], **taken)
                values, place = volume.array.reshape(volume.spatial_shape), _ras(volume.affine)
            else:
                frames = seg.get_pixels_by_source_instance(
                    images, segment_numbers=[number], assert_missing_frames_are_empty=True, **taken
                )
                values, place = frames.reshape(frames.shape[:3]), None
        except Exception as error:
            raise ValueError(f"{file} cannot be decoded ({reason(error)}); copy it again") from error
        mask = values == number if whole else values >= max(1, share)
        yield label, mask.transpose(2, 1, 0), place


def _image_of(file: Path, seg: Any, like: MetaTensor | None) -> str:
    """UID of the one radiograph that a segmentation without a place in space was drawn on."""
    sources = [str(uid) for _, _, uid in seg.get_source_image_uids()]
    if like is not None and like.meta.get("sop_uids"):
        sources = [uid for uid in sources if uid in like.meta["sop_uids"]]
    if len(sources) != 1:
        raise ValueError(
            f"{file} refers to {len(sources)} images, of which one is to be taken; give the image that is meant"
        )
    return sources[0]


def _geometry(file: Path, seg: Any) -> Any:
    """The object's own grid, None if it has no place in space."""
    if seg.get("FrameOfReferenceUID") is None:
        return None
    try:
        geometry = seg.get_volume_geometry()
    except Exception as error:
        raise ValueError(f"{file} does not say where its slices lie ({reason(error)}); export it again") from error
    if geometry is None:
        raise ValueError(f"{file} holds slices that are not parallel and evenly spaced; export it again as one volume")
    return geometry


def _grid(seg: Any, like: MetaTensor | None, file: Path) -> tuple[tuple[int, ...], NDArray[np.float64], bool]:
    """Shape (X, Y, Z) and RAS affine of the label map, and whether it is to have two axes only."""
    if like is not None:
        shape = tuple(like.shape[1:])
        return (*shape, *[1] * (3 - len(shape))), np.asarray(like.affine, dtype=np.float64), len(shape) == 2
    geometry = _geometry(file, seg)
    check_grid(file, (seg.Rows, seg.Columns) if geometry is None else geometry.spatial_shape)
    if geometry is None:
        return (int(seg.Columns), int(seg.Rows), 1), np.diag([-1.0, -1.0, 1.0, 1.0]), True
    depth, rows, columns = geometry.spatial_shape
    affine = _ras(geometry.affine)
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    if affine[:3, 2] @ normal < 0:  # in the order of the slices of a series
        affine[:3, 3] += (depth - 1) * affine[:3, 2]
        affine[:3, 2] *= -1
    return (columns, rows, depth), affine, depth == 1


def _slice_distance(seg: Any) -> float | None:
    """Distance of the slices of the grid that an object was drawn on, in mm, as far as it says so."""
    frames = list(seg.get("PerFrameFunctionalGroupsSequence") or [])[:1]
    for group in [*(seg.get("SharedFunctionalGroupsSequence") or []), *frames]:
        for measures in group.get("PixelMeasuresSequence") or []:
            distance = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness")
            return None if distance is None else abs(float(distance))
    return None


def _ras(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """RAS affine of (column, row, slice) from highdicom's of (slice, row, column) in LPS."""
    return LPS_TO_RAS @ np.asarray(affine, dtype=np.float64)[:, [2, 1, 0, 3]]


def _check_size(file: Path, mask: NDArray[np.bool_], shape: tuple[int, ...]) -> None:
    if mask.shape != shape:
        raise ValueError(
            f"{file} has {mask.shape[0]}x{mask.shape[1]} pixels where its image has {shape[0]}x{shape[1]}; give the "
            "image that it was drawn on"
        )


def _check_reference(file: Path, seg: Any, like: MetaTensor) -> None:
    """Refuse a segmentation of other images; blank UIDs, as some tools leave them, prove nothing."""
    series, images = _referenced(seg)
    own, frame = like.meta.get("series_uid"), like.meta.get("frame_of_reference_uid")
    if own and own in series:
        return
    if frame and frame == str(seg.get("FrameOfReferenceUID") or ""):
        return
    if not own and not frame:
        return
    if set(images) & set(like.meta.get("sop_uids", ())):
        return
    raise ValueError(
        f"{file} refers to the series {', '.join(series) or 'without UID'} and lies in another frame of reference than "
        f"the series {own or 'without UID'} of {like.meta.get('filename_or_obj')}; give the images that it was drawn on"
    )


def _referenced(seg: Any) -> tuple[list[str], list[str]]:
    """UIDs of the series and of the images that an object refers to."""
    sequence = seg.get("ReferencedSeriesSequence") or []
    instances = [item for series in sequence for item in series.get("ReferencedInstanceSequence") or []]
    images = [str(item.get("ReferencedSOPInstanceUID") or "") for item in instances]
    series = [str(item.get("SeriesInstanceUID") or "") for item in sequence]
    return [uid for uid in series if uid], [uid for uid in images if uid]
