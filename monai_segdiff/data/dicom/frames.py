"""What a DICOM segmentation says of its frames and segments, held against the frames that are there."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from monai_segdiff.data.dicom.files import import_pydicom
from monai_segdiff.data.dicom.sizes import check_claimed_sizes
from monai_segdiff.documents import first_repeated

__all__ = ["check_frames", "check_values", "described_segments"]


def described_segments(seg: Any) -> list[tuple[int, str]]:
    """Number and label of each segment, without the background that a label map describes, too."""
    background = int(seg.get("PixelPaddingValue") or 0) if seg.get("SegmentationType") == "LABELMAP" else None
    items = [
        (int(item.SegmentNumber), str(item.get("SegmentLabel") or "").strip())
        for item in seg.get("SegmentSequence") or []
    ]
    return [(number, label) for number, label in items if number != background]


def check_frames(file: Path, seg: Any) -> None:
    """Refuse a segmentation whose frames are not as many, or not of those segments, as it says.

    Args:
        file: where it is from, for messages.
        seg: the whole object.

    Raises:
        ValueError: names the file.
    """
    check_claimed_sizes({file: seg}, file.parent)
    if seg.get("NumberOfFrames") in (None, ""):
        raise ValueError(f"{file} does not say how many frames it holds (NumberOfFrames); export it again")
    frames, groups = int(seg.NumberOfFrames), len(seg.get("PerFrameFunctionalGroupsSequence") or [])
    if frames != groups:
        raise ValueError(
            f"{file} speaks of {frames} frames, but says of {groups} where they belong, so that slices are missing or "
            "too many; export it again"
        )
    _check_pixels(file, seg, frames)
    numbers = [int(item.SegmentNumber) for item in seg.get("SegmentSequence") or []]
    if (repeated := first_repeated(numbers)) is not None:
        raise ValueError(f"{file} has two segments of the number {repeated}; export it again")
    used = {
        int(item.ReferencedSegmentNumber)
        for group in [*(seg.get("SharedFunctionalGroupsSequence") or []), *seg.PerFrameFunctionalGroupsSequence]
        for item in group.get("SegmentIdentificationSequence") or []
        if item.get("ReferencedSegmentNumber") is not None
    }
    _check_described(file, used, numbers)


def check_values(file: Path, seg: Any) -> None:
    """Refuse voxels that no segment is described for, and shares of voxels that are more than all of them.

    Args:
        file: where it is from, for messages.
        seg: as highdicom reads it.

    Raises:
        ValueError: names the file.
    """
    if seg.get("SegmentationType") == "LABELMAP":
        numbers = [int(item.SegmentNumber) for item in seg.SegmentSequence]
        found = set(np.unique(seg.pixel_array).tolist())
        _check_described(file, found, [*numbers, int(seg.get("PixelPaddingValue") or 0)])
    if seg.get("SegmentationType") == "FRACTIONAL":
        most, highest = int(seg.get("MaximumFractionalValue") or 0), int(seg.pixel_array.max(initial=0))
        if not 0 < most <= 255 or highest > most:
            raise ValueError(
                f"{file} holds shares up to {highest}, where {most} is to be all of a voxel (MaximumFractionalValue); "
                "export it again"
            )


def _check_described(file: Path, used: Collection[int], described: Collection[int]) -> None:
    if unknown := sorted(set(used) - set(described)):
        listed = ", ".join(map(str, unknown[:10]))
        raise ValueError(f"{file} holds voxels of the segments {listed}, which it does not describe; export it again")


def _check_pixels(file: Path, seg: Any, frames: int) -> None:
    pydicom = import_pydicom()
    pixels = seg.get("PixelData") or b""
    if pydicom.uid.UID(seg.file_meta.TransferSyntaxUID).is_encapsulated:
        found = sum(1 for _ in pydicom.encaps.generate_frames(pixels, number_of_frames=frames))
        if found != frames:
            raise ValueError(
                f"{file} cannot be decoded: it speaks of {frames} frames, but holds {found}; copy it again"
            )
        return
    expected = -(-int(seg.Rows) * int(seg.Columns) * frames * int(seg.BitsAllocated) // 8)
    if len(pixels) not in (expected, expected + expected % 2):
        raise ValueError(
            f"{file} cannot be decoded: it speaks of {frames} frames of {seg.Rows} x {seg.Columns} pixels, which are "
            f"{expected} bytes, but holds {len(pixels)}; copy it again"
        )
