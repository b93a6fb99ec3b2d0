"""Segmentations that hold other frames or segments than they say: never fewer voxels without an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from monai_segdiff.data import read_dicom_seg, read_dicom_series, write_dicom_pair

hd = pytest.importorskip("highdicom")

LABELS = np.zeros((9, 8, 6), dtype=np.uint8)
LABELS[2:5, 1:4, 1:5], LABELS[5:8, 1:4, 2:4] = 1, 2
AFFINE = np.diag([-2.0, -2.0, 5.0, 1.0])
CLASSES = {"liver": 1, "spleen": 2}


@pytest.fixture
def study(tmp_path) -> Path:
    write_dicom_pair(100.0 * LABELS, LABELS, AFFINE, CLASSES, tmp_path / "s", "CT")
    return tmp_path / "s"


def again(study: Path, kind: str, pixels: np.ndarray, **options: Any) -> Path:
    """Write the segmentation as another kind, by highdicom."""
    images = [pydicom.dcmread(file) for file in sorted((study / "image").iterdir())]
    segments = [
        hd.seg.SegmentDescription.from_dataset(item) for item in pydicom.dcmread(study / "seg/seg.dcm").SegmentSequence
    ]
    uids = hd.UID(), 2, hd.UID(), 1, "m", "m", "1", "1"
    seg = hd.seg.Segmentation(images, pixels, kind, segments[: options.pop("segments", 2)], *uids, **options)
    seg.save_as(study / f"{kind.lower()}.dcm")
    return study / f"{kind.lower()}.dcm"


def change(file: Path, by: Callable[[pydicom.Dataset], object]) -> None:
    dataset = pydicom.dcmread(file)
    by(dataset)
    dataset.save_as(file)


def one_frame_less(dataset: pydicom.Dataset) -> None:
    dataset.NumberOfFrames -= 1


def one_group_less(dataset: pydicom.Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:-1]


def both_less(dataset: pydicom.Dataset) -> None:
    one_frame_less(dataset)
    one_group_less(dataset)


def all_more(dataset: pydicom.Dataset) -> None:
    dataset.NumberOfFrames += 1
    dataset.PerFrameFunctionalGroupsSequence.append(dataset.PerFrameFunctionalGroupsSequence[-1])


def another_segment(dataset: pydicom.Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 7


def the_same_number(dataset: pydicom.Dataset) -> None:
    dataset.SegmentSequence[1].SegmentNumber = 1


UNSOUND = {
    "no number of frames": (lambda d: delattr(d, "NumberOfFrames"), "does not say how many frames"),
    "one frame less": (one_frame_less, "speaks of 5 frames, but says of 6 where they belong"),
    "one group less": (one_group_less, "speaks of 6 frames, but says of 5 where they belong"),
    "both less": (both_less, "speaks of 5 frames of 8 x 9 pixels, which are 45 bytes, but holds 54"),
    "all more": (all_more, "speaks of 7 frames of 8 x 9 pixels, which are 63 bytes, but holds 54"),
    "no groups": (lambda d: delattr(d, "PerFrameFunctionalGroupsSequence"), "says of 0 where they belong"),
    "no pixels": (lambda d: delattr(d, "PixelData"), "but holds 0"),
    "fewer rows": (lambda d: setattr(d, "Rows", 4), "speaks of 6 frames of 4 x 9 pixels"),
    "a segment of no description": (another_segment, "holds voxels of the segments 7, which it does not describe"),
    "two segments of one number": (the_same_number, "has two segments of the number 1"),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_other_frames_than_it_says_are_an_error(case, study):
    by, message = UNSOUND[case]
    change(study / "seg/seg.dcm", by)
    for like in (None, read_dicom_series(study / "image")):
        with pytest.raises(ValueError, match=message) as caught:
            read_dicom_seg(study / "seg/seg.dcm", like=like)
        assert "seg.dcm" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_frames_that_are_compressed_are_counted_too(study):
    image = read_dicom_series(study / "image")
    shares = np.stack([LABELS == 1, LABELS == 2], axis=-1).astype(np.float32).transpose(2, 1, 0, 3)
    file = again(study, "FRACTIONAL", shares, transfer_syntax_uid=RLELossless, max_fractional_value=200)
    assert np.array_equal(read_dicom_seg(file, like=image)[0].numpy()[0], LABELS)
    change(file, both_less)
    with pytest.raises(ValueError, match=r"fractional\.dcm cannot be decoded: it speaks of 5 frames, but holds 6"):
        read_dicom_seg(file, like=image)


def test_shares_of_more_than_all_are_refused(study):
    shares = np.stack([LABELS == 1, LABELS == 2], axis=-1).astype(np.float32).transpose(2, 1, 0, 3)
    file = again(study, "FRACTIONAL", shares, max_fractional_value=200)
    for most in (100, 0):
        change(file, lambda dataset, most=most: setattr(dataset, "MaximumFractionalValue", most))
        with pytest.raises(ValueError, match=rf"fractional\.dcm holds shares up to 200, where {most} is to be all"):
            read_dicom_seg(file)


def test_label_maps_are_read_without_their_background(study):
    image = read_dicom_series(study / "image")
    file = again(study, "LABELMAP", LABELS.transpose(2, 1, 0))
    assert [item.SegmentLabel for item in pydicom.dcmread(file).SegmentSequence] == ["Background", "liver", "spleen"]
    read, classes = read_dicom_seg(file, like=image)
    assert classes == CLASSES
    assert np.array_equal(read.numpy()[0], LABELS)


def test_numbers_in_a_label_map_that_no_segment_has(study):
    file = again(study, "LABELMAP", LABELS.transpose(2, 1, 0))
    change(file, lambda dataset: dataset.SegmentSequence.pop())
    with pytest.raises(ValueError, match=r"labelmap\.dcm holds voxels of the segments 2, which it does not describe"):
        read_dicom_seg(file)
