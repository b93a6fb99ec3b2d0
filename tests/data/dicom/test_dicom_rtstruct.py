"""Structure sets filled on their images."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from monai_segdiff.data import read_dicom_series, read_rtstruct, write_dicom_series

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_structures(
    file: Path, image, regions: dict[str, list[tuple[int, list]]], kind: str = "CLOSED_PLANAR"
) -> Path:
    """Write contours, (slice, corners as (x, y) in voxels), as a structure set on a series."""
    rt = Dataset()
    rt.file_meta = FileMetaDataset()
    rt.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    rt.SOPClassUID = rt.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    rt.SOPInstanceUID = rt.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    rt.Modality, rt.SeriesInstanceUID = "RTSTRUCT", generate_uid()
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = image.meta["series_uid"]
    study.RTReferencedSeriesSequence = [series]
    frame.RTReferencedStudySequence, frame.FrameOfReferenceUID = [study], image.meta["frame_of_reference_uid"]
    rt.ReferencedFrameOfReferenceSequence = [frame]
    rt.StructureSetROISequence, rt.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(regions.items(), start=1):
        roi, item = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, item.ReferencedROINumber = number, name, number
        item.ContourSequence = []
        for index, corners in contours:
            contour, reference = Dataset(), Dataset()
            points = np.array([[x, y, index, 1] for x, y in corners]) @ (LPS @ np.asarray(image.affine)).T
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(corners)
            contour.ContourData = [f"{value:.6f}" for value in points[:, :3].ravel()]
            reference.ReferencedSOPInstanceUID = image.meta["sop_uids"][index]
            contour.ContourImageSequence = [reference]
            item.ContourSequence.append(contour)
        rt.StructureSetROISequence.append(roi)
        rt.ROIContourSequence.append(item)
    rt.save_as(file, enforce_file_format=True)
    return file


def square(low: float, high: float) -> list[tuple[float, float]]:
    return [(low, low), (high, low), (high, high), (low, high)]


@pytest.fixture
def image(tmp_path):
    affine = np.diag([0.7, 0.9, 2.5, 1.0])
    affine[:3, 3] = 11, 22, -33
    return read_dicom_series(write_dicom_series(np.zeros((20, 20, 5)), affine, tmp_path / "series", "CT"))


def test_voxels_whose_center_lies_in_a_contour(image, tmp_path):
    file = write_structures(tmp_path / "rt.dcm", image, {"a": [(1, square(3.5, 9.5)), (3, square(3.5, 9.5))]})
    labels, classes = read_rtstruct(file, image)
    expected = np.zeros((20, 20, 5), dtype=bool)
    expected[4:10, 4:10, [1, 3]] = True
    assert classes == {"a": 1}
    assert np.array_equal(labels.numpy()[0] > 0, expected)
    assert np.array_equal(labels.affine, image.affine)


def test_a_contour_within_a_contour_is_a_hole(image, tmp_path):
    regions = {"ring": [(2, square(2.5, 14.5)), (2, square(6.5, 9.5))]}
    labels, _ = read_rtstruct(write_structures(tmp_path / "rt.dcm", image, regions), tmp_path / "series")
    assert int(labels.sum()) == 12**2 - 3**2
    assert int(labels[0, 8, 8, 2]) == 0


@pytest.mark.parametrize("kind", ["CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR"])
def test_contours_of_the_kind_xor_turn_over_what_they_enclose(image, tmp_path, kind):
    regions = {"ring": [(2, square(2.5, 14.5)), (2, square(6.5, 9.5)), (2, square(10.5, 17.5)), (3, square(2.5, 6.5))]}
    labels, _ = read_rtstruct(write_structures(tmp_path / "rt.dcm", image, regions, kind), image)
    assert int(labels[..., 2].sum()) == 12**2 - 3**2 + 7**2 - 2 * 4**2
    assert int(labels[..., 3].sum()) == 4**2


NESTED = {
    "twice the same": ([square(2.5, 9.5)] * 2, 7**2),
    "partly on each other": ([square(2.5, 9.5), square(6.5, 13.5)], 2 * 7**2 - 3**2),
    "an island in a hole": ([square(6.5, 9.5), square(1.5, 15.5), square(4.5, 11.5)], 14**2 - 7**2 + 3**2),
    "a hole in two that overlap": ([square(1.5, 11.5), square(4.5, 15.5), square(6.5, 9.5)], 10**2 + 11**2 - 7**2 - 9),
    "twice the same with a hole": ([square(1.5, 9.5)] * 2 + [square(4.5, 6.5)], 8**2 - 2**2),
    "two holes": ([square(0.5, 15.5), square(2.5, 5.5), square(8.5, 10.5)], 15**2 - 3**2 - 2**2),
    "side by side": ([square(0.5, 4.5), square(8.5, 12.5)], 2 * 4**2),
}


@pytest.mark.parametrize("case", NESTED)
def test_closed_contours_of_one_slice(image, tmp_path, case):
    contours, voxels = NESTED[case]
    for order in (contours, contours[::-1]):
        file = write_structures(tmp_path / "rt.dcm", image, {"a": [(2, corners) for corners in order]})
        assert int(read_rtstruct(file, image)[0].sum()) == voxels


def test_regions_of_one_name_are_united(image, tmp_path):
    regions = {"a": [(2, square(2.5, 9.5))], "b": [(2, square(4.5, 6.5))]}
    file = write_structures(tmp_path / "rt.dcm", image, regions)
    dataset = pydicom.dcmread(file)
    dataset.StructureSetROISequence[1].ROIName = "a"
    dataset.save_as(file)
    labels, classes = read_rtstruct(file, image)
    assert classes == {"a": 1}
    assert int(labels.sum()) == 7**2, "the second region is no hole of the first"


@pytest.mark.parametrize(
    ("corners", "beyond"),
    [([(30, 30), (40, 30), (40, 40), (30, 40)], "20.5"), (square(12.5, 22.0), "2.5"), (square(-3.0, 4.5), "2.5")],
    ids=["wholly", "partly, high", "partly, low"],
)
def test_a_region_beside_the_images_is_refused_by_name(image, tmp_path, corners, beyond):
    """In the plane as across it: no class becomes empty, or loses a part, without a word."""
    file = write_structures(tmp_path / "rt.dcm", image, {"a": [(2, square(3.5, 9.5))], "tumor": [(2, corners)]})
    message = rf"region 'tumor' of .*rt\.dcm has a contour that reaches {re.escape(beyond)} pixels beyond the edge"
    with pytest.raises(ValueError, match=message):
        read_rtstruct(file, image)
    labels, _ = read_rtstruct(file, image, {"a": 1}, drop_others=True)
    assert int(labels.sum()) == 6 * 6, "what is left out may lie anywhere"


@pytest.mark.parametrize("edge", [0.5, 0.99])
def test_a_contour_may_go_around_the_outermost_pixels(image, tmp_path, edge):
    file = write_structures(tmp_path / "rt.dcm", image, {"body": [(2, square(-edge, 19 + edge))]})
    assert int(read_rtstruct(file, image)[0].sum()) == 20 * 20


@pytest.mark.parametrize("corners", [square(4.2, 4.8), [(4, 4)], [(4, 4), (9, 9)]], ids=["between", "point", "line"])
def test_a_region_that_encloses_no_pixel_is_refused_by_name(image, tmp_path, corners):
    file = write_structures(tmp_path / "rt.dcm", image, {"a": [(2, square(3.5, 9.5))], "spot": [(1, corners)]})
    with pytest.raises(ValueError, match=r"region 'spot' of .*rt\.dcm encloses the center of no pixel"):
        read_rtstruct(file, image)
    more = write_structures(tmp_path / "more.dcm", image, {"a": [(2, square(3.5, 9.5)), (1, corners)]})
    assert int(read_rtstruct(more, image)[0].sum()) == 6 * 6, "a region has others"


UNSOUND = {
    "a number that is none": (
        lambda d: setattr(_contour(d), "ContourData", [*_contour(d).ContourData[:-1], "nan"]),
        r"region 'a' of .* no corners of three",
    ),
    "fewer corners than it says": (
        lambda d: setattr(_contour(d), "ContourData", _contour(d).ContourData[:-3]),
        r"region 'a' of .* 3 corners that is to have 4",
    ),
    "a kind that is none": (
        lambda d: setattr(_contour(d), "ContourGeometricType", "ROUND"),
        "region 'a' of .* has a contour of the kind 'ROUND'",
    ),
    "no kind": (
        lambda d: delattr(_contour(d), "ContourGeometricType"),
        "region 'a' of .* has a contour of the kind ''",
    ),
    "two regions of one number": (
        lambda d: d.StructureSetROISequence.append(_named(d, "b")),
        "two regions of the number 1, 'a' and 'b'",
    ),
    "corners of two numbers": (
        lambda d: setattr(_contour(d), "ContourData", ["1"] * 10),
        r"region 'a' of .* 10 numbers",
    ),
    "no corners": (lambda d: delattr(_contour(d), "ContourData"), r"region 'a' of .* no corners"),
    "no region number": (lambda d: delattr(d.ROIContourSequence[0], "ReferencedROINumber"), "does not say its number"),
    "no number of a name": (lambda d: delattr(d.StructureSetROISequence[0], "ROINumber"), "does not say its number"),
}


def _named(dataset: Dataset, name: str) -> Dataset:
    roi = Dataset()
    roi.ROINumber, roi.ROIName = dataset.StructureSetROISequence[0].ROINumber, name
    return roi


def _contour(dataset: Dataset) -> Dataset:
    return dataset.ROIContourSequence[0].ContourSequence[0]


@pytest.mark.parametrize("case", UNSOUND)
def test_unsound_structure_sets_are_named(image, tmp_path, case):
    spoil, message = UNSOUND[case]
    file = write_structures(tmp_path / "rt.dcm", image, {"a": [(2, square(2.5, 9.5))]})
    dataset = pydicom.dcmread(file)
    spoil(dataset)
    dataset.save_as(file)
    with pytest.raises(ValueError, match=message) as caught:
        read_rtstruct(file, image)
    assert str(file) in str(caught.value)


def test_corners_that_are_no_numbers_are_named(image, tmp_path):
    file = write_structures(tmp_path / "rt.dcm", image, {"a": [(2, square(2.5, 9.5))]})
    content = file.read_bytes()
    at = content.index(b"\\", content.index(b"CLOSED_PLANAR")) - 4
    file.write_bytes(content[:at] + b"abcd" + content[at + 4 :])
    with pytest.raises(ValueError, match=r"region 'a' of .*rt\.dcm has a contour whose corners are no numbers"):
        read_rtstruct(file, image)


def test_references_without_uids_prove_nothing(image, tmp_path):
    file = write_structures(tmp_path / "rt.dcm", image, {"a": [(2, square(2.5, 9.5))]})
    dataset = pydicom.dcmread(file)
    frame = dataset.ReferencedFrameOfReferenceSequence[0]
    del frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID
    del _contour(dataset).ContourImageSequence[0].ReferencedSOPInstanceUID
    dataset.save_as(file)
    assert int(read_rtstruct(file, image)[0].sum()) == 7**2


def test_overlaps_names_and_others(image, tmp_path):
    regions = {"GTV": [(2, square(4.5, 8.5))], "Body": [(2, square(0.5, 15.5))], "Couch": [(2, square(16.5, 18.5))]}
    file = write_structures(tmp_path / "rt.dcm", image, regions)
    with pytest.raises(ValueError, match=r"rt\.dcm: segments overlap.*'GTV' and 'Body' \(16 voxels\)"):
        read_rtstruct(file, image)
    labels, classes = read_rtstruct(
        file, image, {"tumor": 2, "body": 1}, names={"GTV": "tumor"}, precedence=["tumor"], drop_others=True
    )
    assert classes == {"tumor": 2, "body": 1}
    assert np.bincount(labels.numpy().ravel())[1:].tolist() == [15**2 - 16, 16]


def test_contours_that_enclose_nothing_are_passed_over(image, tmp_path):
    file = write_structures(tmp_path / "rt.dcm", image, {"marker": [(2, [(3, 3)])]}, kind="POINT")
    with pytest.raises(ValueError, match=r"rt\.dcm holds no closed contour"):
        read_rtstruct(file, image)


def test_other_images_are_refused(image, tmp_path):
    file = write_structures(tmp_path / "rt.dcm", image, {"a": [(4, square(3, 9))]})
    other = read_dicom_series(write_dicom_series(np.zeros((20, 20, 5)), image.affine, tmp_path / "other", "CT"))
    with pytest.raises(ValueError, match=r"rt\.dcm was drawn on other images \(series .*than those of .*other"):
        read_rtstruct(file, other)
    with pytest.raises(ValueError, match=r"series holds 0 structure sets"):
        read_rtstruct(tmp_path / "series", image)
    half = write_structures(tmp_path / "half.dcm", image, {"a": [(2, square(3, 9))]})
    dataset = pydicom.dcmread(half)
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    points = np.array(contour.ContourData, dtype=float).reshape(-1, 3) + np.array([0, 0, 1.2])
    contour.ContourData = [f"{value:.6f}" for value in points.ravel()]
    dataset.save_as(half)
    with pytest.raises(ValueError, match=r"region 'a' of .*half\.dcm has a contour 0\.48 slices off"):
        read_rtstruct(half, image)


@pytest.mark.data
def test_a_real_structure_set(segdiff_data):
    folder = segdiff_data / "dicom_io/rt-utils"
    labels, classes = read_rtstruct(folder / "rt.dcm", [folder / "ct_1.dcm", folder / "ct_2.dcm"])
    assert classes == {"ROI-1": 1}
    # The area of the contours by the shoelace formula; pixels differ from it by half the perimeter at most.
    contours = pydicom.dcmread(folder / "rt.dcm").ROIContourSequence[0].ContourSequence
    areas, perimeter = [], 0.0
    for contour in contours:
        x, y, _ = np.array(contour.ContourData, dtype=float).reshape(-1, 3).T
        areas.append(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)
        perimeter += np.hypot(x - np.roll(x, 1), y - np.roll(y, 1)).sum()
    pixel = 0.488281
    area = max(areas) - min(areas)  # the smaller of its two contours is a hole
    assert abs(int(labels.sum()) * pixel**2 - area) < perimeter * pixel / 2
    assert int(labels[0, ..., 1].sum()) == 0, "drawn on one of the two slices"


@pytest.mark.data
@pytest.mark.parametrize("name", ["invalid_reference_rt", "non_existent_reference_rt"])
def test_real_structure_sets_whose_images_are_missing(segdiff_data, name):
    folder = segdiff_data / "dicom_io/rt-utils"
    series = [folder / "ct_1.dcm", folder / "ct_2.dcm"]
    with pytest.raises(
        ValueError, match=rf"{name}\.dcm has contours on 1 of 3 images that are not in .*skip_missing"
    ) as error:
        read_rtstruct(folder / f"{name}.dcm", series)
    assert re.search(r"e\.g\. 2\.16\.840.*\.995\.90;", str(error.value))
    labels, classes = read_rtstruct(folder / f"{name}.dcm", series, skip_missing=True)
    assert len(classes) == 4
    assert all(int((labels == index).sum()) > 1000 for index in classes.values())
