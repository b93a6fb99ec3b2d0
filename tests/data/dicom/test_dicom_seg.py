"""DICOM segmentations as label maps: real ones, against their twins in another format, and made ones."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch

from monai_segdiff.data import dicom_files, read_dicom_seg, read_dicom_series, write_dicom_seg, write_dicom_series

hd = pytest.importorskip("highdicom")

CLASSES = {"liver": 1, "spleen": 2, "kidneys": 3}


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A CT series in `series`, its segmentation `seg.dcm`, and the labels in the order of the series' voxels."""
    labels = np.zeros((9, 8, 10), dtype=np.uint8)
    labels[2:5, 1:4, 3:6], labels[5:8, 1:4, 3:8] = 1, 2
    affine = np.diag([-0.7, -0.9, 2.5, 1.0])
    affine[:3, 3] = 11, 22, -33
    files = write_dicom_series(40.0 * labels, affine, tmp_path / "series", "CT")
    write_dicom_seg(labels, affine, CLASSES, files, tmp_path / "seg.dcm")
    return tmp_path, labels


def rewrite(file: Path, change) -> None:
    dataset = pydicom.dcmread(file)
    change(dataset)
    dataset.save_as(file)


# ---------------------------------------------------------------- made ones


def test_empty_slices_come_back_on_the_grid_of_the_images(study):
    folder, labels = study
    image = read_dicom_series(folder / "series")
    read, classes = read_dicom_seg(folder / "seg.dcm", like=image)
    assert classes == CLASSES, "also the one that is nowhere"
    assert read.dtype == torch.uint8
    assert np.array_equal(read.numpy()[0], labels)
    assert torch.equal(read.affine, image.affine)
    assert len(pydicom.dcmread(folder / "seg.dcm").PerFrameFunctionalGroupsSequence) == 8, "3 + 5 of 30 slices"


def test_without_images_it_has_its_own_grid_in_the_order_of_a_series(study):
    folder, labels = study
    read, _ = read_dicom_seg(folder / "seg.dcm")
    assert np.array_equal(read.numpy()[0], labels[:, :, 3:8])
    affine = np.diag([-0.7, -0.9, 2.5, 1.0])
    affine[:3, 3] = 11, 22, -33 + 3 * 2.5
    assert np.allclose(read.affine, affine, atol=1e-3)


@pytest.mark.parametrize(
    "turn", [np.eye(3), np.diag([-1, -1, -1]), np.diag([1, -1, -1])[[2, 0, 1]]], ids=["same", "mirrored", "permuted"]
)
def test_a_reference_in_another_orientation_gets_the_same_voxels_in_space(study, turn):
    folder, labels = study
    image = read_dicom_series(folder / "series")
    shape = np.array(labels.shape)
    size = tuple(np.abs(turn.T @ shape).astype(int))
    to_image = np.eye(4)  # index of the reference to that of the series
    to_image[:3, :3], to_image[:3, 3] = turn, -np.minimum(turn @ (np.array(size) - 1), 0)
    like = type(image)(torch.zeros((1, *size)), affine=image.affine @ torch.as_tensor(to_image), meta=image.meta)
    read, _ = read_dicom_seg(folder / "seg.dcm", like=like)
    volume = hd.seg.segread(folder / "seg.dcm").get_volume(combine_segments=True)
    lps = np.diag([-1.0, -1, 1, 1]) @ np.asarray(like.affine)
    matched = volume.match_geometry(hd.VolumeGeometry(lps, size, "PATIENT"), tol=1e-3)
    assert np.array_equal(read.numpy()[0], matched.array)
    assert int((read > 0).sum()) == int((labels > 0).sum())


def test_slices_further_apart_than_those_of_the_images_leave_gaps(study):
    folder, labels = study

    def every_other(dataset) -> None:
        pixels = dataset.pixel_array
        positions = [
            float(f.PlanePositionSequence[0].ImagePositionPatient[2]) for f in dataset.PerFrameFunctionalGroupsSequence
        ]
        keep = [i for i, z in enumerate(positions) if round((z + 33) / 2.5) in (3, 5, 7)]
        dataset.PerFrameFunctionalGroupsSequence = [dataset.PerFrameFunctionalGroupsSequence[i] for i in keep]
        dataset.NumberOfFrames = len(keep)
        dataset.PixelData = np.packbits(pixels[keep].ravel(), bitorder="little").tobytes()
        del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices

    rewrite(folder / "seg.dcm", every_other)
    read, _ = read_dicom_seg(folder / "seg.dcm", like=read_dicom_series(folder / "series"))
    expected = labels.copy()
    expected[:, :, [4, 6]] = 0
    assert np.array_equal(read.numpy()[0], expected)


@pytest.mark.parametrize("factors", [(2, 2, 1), (1, 1, 2)], ids=["pixels", "slices"])
def test_a_segmentation_on_a_coarser_grid_is_refused(tmp_path, factors):
    """Its voxels would be marked on the finer one with holes between them."""
    fine, coarse = np.eye(4), np.diag([*map(float, factors), 1.0])
    labels = np.zeros((8, 8, 6), dtype=np.uint8)
    labels[2:6, 2:6, 1:5] = 1
    files = write_dicom_series(40.0 * labels, coarse, tmp_path / "coarse", "CT")
    file = write_dicom_seg(labels, coarse, {"liver": 1}, files, tmp_path / "seg.dcm")
    drawn_on = read_dicom_series(files)
    image = read_dicom_series(write_dicom_series(np.zeros((20, 20, 20)), fine, tmp_path / "fine", "CT"))
    image.meta["series_uid"], image.meta["sop_uids"] = drawn_on.meta["series_uid"], drawn_on.meta["sop_uids"]
    with pytest.raises(ValueError, match=r"segment 'liver' of .*seg\.dcm lies on another grid .* nothing is resampled"):
        read_dicom_seg(file, like=image)
    assert int(read_dicom_seg(file, like=drawn_on)[0].sum()) == 4 * 4 * 4


def test_names_ids_and_what_is_left_out_are_the_users(study):
    folder, labels = study
    file = folder / "seg.dcm"
    read, classes = read_dicom_seg(
        file, {"organ": 7}, names=dict.fromkeys(("liver", "spleen"), "organ"), drop_others=True
    )
    assert classes == {"organ": 7}
    assert np.array_equal(read.numpy()[0] == 7, labels[:, :, 3:8] > 0)
    read, _ = read_dicom_seg(file, {"SPLEEN": 300}, drop_others=True)
    assert np.array_equal(read.numpy()[0] == 300, labels[:, :, 3:8] == 2)
    with pytest.raises(ValueError, match=r"seg\.dcm has unknown segments 'spleen', 'kidneys'; the classes are liver"):
        read_dicom_seg(file, {"liver": 1})
    with pytest.raises(ValueError, match="distinct ids of at least 1"):
        read_dicom_seg(file, {"liver": 1, "spleen": 1, "kidneys": 0})


def test_several_objects_are_one_label_map(study):
    folder, labels = study
    series = sorted((folder / "series").iterdir())
    for name, value in (("liver", 1), ("spleen", 2)):
        write_dicom_seg(labels == value, None, {name: 1}, series, folder / "segs" / f"{name}.dcm")
    like = read_dicom_series(series)
    read, classes = read_dicom_seg(folder / "segs", like=like)
    assert classes == {"liver": 1, "spleen": 2}
    assert np.array_equal(read.numpy()[0], labels)
    with pytest.raises(ValueError, match=r"holds 2 segmentations, e\.g\. liver\.dcm and spleen\.dcm"):
        read_dicom_seg(folder / "segs")


def test_two_objects_with_the_same_segment_are_refused(study):
    """Of two readers, say: which of them is meant cannot be known."""
    folder, labels = study
    series = sorted((folder / "series").iterdir())
    for reader, name in (("one", "liver"), ("two", "Liver")):
        write_dicom_seg(labels == 1, None, {name: 1, reader: 2}, series, folder / "segs" / f"{reader}.dcm")
    like = read_dicom_series(series)
    with pytest.raises(ValueError, match=r"segs/one\.dcm and .*segs/two\.dcm both have a segment 'Liver'; keep one"):
        read_dicom_seg(folder / "segs", {"liver": 1, "one": 2, "two": 3}, like=like)
    read, _ = read_dicom_seg(folder / "segs", {"one": 2, "two": 3}, like=like, drop_others=True)
    assert int(read.sum()) == 0, "what is left out may be there twice"


def test_the_segments_of_a_class_are_those_that_are_named(study):
    folder, labels = study
    read, _ = read_dicom_seg(folder / "seg.dcm", {"liver": 1}, names={"spleen": "liver"}, drop_others=True)
    assert np.array_equal(read.numpy()[0] == 1, labels[:, :, 3:8] == 2)


def test_a_radiograph_has_a_label_map_without_a_place(tmp_path):
    labels = np.zeros((12, 10), dtype=np.uint8)
    labels[2:5, 3:7], labels[6:9, 3:7] = 1, 2
    affine = np.diag([-0.2, -0.3, 1.0, 1.0])
    files = write_dicom_series(labels / 2.0, affine, tmp_path / "dx", "DX")
    file = write_dicom_seg(labels, affine, {"a": 1, "b": 2}, files, tmp_path / "seg.dcm")
    image = read_dicom_series(tmp_path / "dx")
    read, _ = read_dicom_seg(file, like=image)
    assert np.array_equal(read.numpy()[0], labels)
    assert torch.equal(read.affine, image.affine)
    assert np.array_equal(read_dicom_seg(file)[0].numpy()[0], labels)
    other = write_dicom_series(labels / 2.0, affine, tmp_path / "other", "DX")
    with pytest.raises(ValueError, match=r"seg\.dcm refers to the series .* give the images that it was drawn on"):
        read_dicom_seg(file, like=read_dicom_series(other))


BROKEN = {
    "cut short": (lambda f: f.write_bytes(f.read_bytes()[:-40]), r"seg\.dcm cannot be (decoded|read)"),
    "no DICOM": (lambda f: f.write_bytes(b"hello"), r"seg\.dcm cannot be read as DICOM"),
    "no segmentation": (lambda f: rewrite(f, lambda d: setattr(d, "Modality", "SR")), r"holds no DICOM segmentation"),
    "unnamed": (
        lambda f: rewrite(f, lambda d: delattr(d.SegmentSequence[0], "SegmentLabel")),
        r"seg\.dcm (has a segment without a name|cannot be read)",
    ),
    "no series": (
        lambda f: rewrite(f, lambda d: delattr(d.ReferencedSeriesSequence[0], "SeriesInstanceUID")),
        r"seg\.dcm cannot be read as a DICOM segmentation \(.*SeriesInstanceUID",
    ),
    "nameless": (lambda f: rewrite(f, lambda d: setattr(d.SegmentSequence[0], "SegmentLabel", "")), "without a name"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_damaged_objects_are_named(study, kind):
    folder, _ = study
    spoil, message = BROKEN[kind]
    spoil(folder / "seg.dcm")
    with pytest.raises(ValueError, match=message) as caught:
        read_dicom_seg(folder / "seg.dcm")
    assert str(folder) in str(caught.value)


def test_images_that_it_was_not_drawn_on_are_refused(study, tmp_path):
    folder, labels = study
    affine = np.diag([-0.7, -0.9, 2.5, 1.0])
    affine[:3, 3] = 11, 22, -33
    other = read_dicom_series(write_dicom_series(40.0 * labels, affine, tmp_path / "other", "CT"))
    with pytest.raises(ValueError, match=r"seg\.dcm refers to the series .*lies in another frame of reference"):
        read_dicom_seg(folder / "seg.dcm", like=other)
    image = read_dicom_series(folder / "series")
    part = type(image)(image[..., :5], affine=image.affine, meta=image.meta)
    with pytest.raises(ValueError, match=r"segment 'liver' of .*seg\.dcm has 9 of its 27 voxels outside the images"):
        read_dicom_seg(folder / "seg.dcm", like=part)
    shifted = image.affine.clone()
    shifted[0, 3] += 0.3
    moved = type(image)(image.as_tensor(), affine=shifted, meta=image.meta)
    with pytest.raises(ValueError, match=r"lies on another grid than the images .*off by up to 0\.43 voxels"):
        read_dicom_seg(folder / "seg.dcm", like=moved)


def test_a_folder_without_dicom(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(tmp_path))} holds no DICOM files"):
        dicom_files(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_dicom_seg(tmp_path / "nowhere")


def test_without_highdicom_the_extra_is_named(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'monai-segdiff[dicom]'")):
        read_dicom_seg(study[0] / "seg.dcm")


# ---------------------------------------------------------------- real ones


def nrrd_of(file: Path) -> np.ndarray:
    return pytest.importorskip("nrrd").read(str(file))[0]


@pytest.mark.data
def test_the_liver_equals_its_twin_in_nrrd(segdiff_data):
    folder = segdiff_data / "dicom_io/dcmqi"
    image = read_dicom_series(folder / "ct-3slice")
    read, classes = read_dicom_seg(folder / "liver.dcm", like=image)
    assert classes == {"Liver": 1}
    assert np.array_equal(read.numpy()[0] > 0, nrrd_of(folder / "liver_seg.nrrd") > 0)
    assert int(read.sum()) == 107098
    assert np.array_equal(read_dicom_seg(folder / "liver.dcm")[0].numpy(), read.numpy())


@pytest.mark.data
@pytest.mark.parametrize("name", ["23x38x3", "24x38x3"])
def test_sizes_that_are_no_multiples_of_8_equal_their_twin(segdiff_data, name):
    folder = segdiff_data / "dicom_io/dcmqi" / name
    twin = segdiff_data / "dicom_io/dcmqi" / name / "nrrd/label.nrrd"
    read, _ = read_dicom_seg(folder / "seg/label.seg")
    assert np.array_equal(read.numpy()[0] > 0, nrrd_of(twin) > 0)


@pytest.mark.data
def test_overlaps_are_refused_by_name_or_decided_by_the_user(segdiff_data):
    folder = segdiff_data / "dicom_io/dcmqi"
    like = read_dicom_series(folder / "ct-3slice")
    file = folder / "partial_overlaps.dcm"
    with pytest.raises(
        ValueError, match=r"partial_overlaps\.dcm: segments overlap.*'GREEN' and 'ORANGE' \(3017 voxels"
    ):
        read_dicom_seg(file, like=like)
    own = _segments_by_highdicom(file)
    for order in (["GREEN", "ORANGE", "PURPLE"], ["PURPLE", "ORANGE", "GREEN"]):
        read, classes = read_dicom_seg(file, like=like, precedence=order)
        expected = np.zeros(read.shape[1:], dtype=np.uint8)
        for name in [*(name for name in classes if name not in order), *reversed(order)]:
            expected[own[name]] = classes[name]
        assert np.array_equal(read.numpy()[0], expected)
    with pytest.raises(ValueError, match="names BLACK"):
        read_dicom_seg(file, like=like, precedence=["BLACK"])


def _segments_by_highdicom(file: Path) -> dict[str, np.ndarray]:
    seg = hd.seg.segread(file)
    stacked = seg.get_volume().array[::-1].transpose(2, 1, 0, 3).astype(bool)
    return {item.SegmentLabel: stacked[..., index] for index, item in enumerate(seg.SegmentSequence)}


@pytest.mark.data
def test_fractions_count_from_a_threshold(segdiff_data):
    file = segdiff_data / "dicom_io/highdicom/seg_image_ct_true_fractional.dcm"
    values = hd.seg.segread(file).get_volume().array[..., 0][::-1].transpose(2, 1, 0)
    for threshold in (0.25, 0.5, 0.75, 1.0):
        read, _ = read_dicom_seg(file, threshold=threshold)
        assert np.array_equal(read.numpy()[0] > 0, values >= threshold - 1e-6), threshold
    assert len({int(read_dicom_seg(file, threshold=t)[0].sum()) for t in (0.25, 1.0)}) == 2
    with pytest.raises(ValueError, match="threshold"):
        read_dicom_seg(file, threshold=0.0)


@pytest.mark.data
def test_other_real_objects(segdiff_data):
    folder = segdiff_data / "dicom_io/highdicom"
    single, _ = read_dicom_seg(
        folder / "seg_image_ct_binary_single_frame.dcm", like=read_dicom_series(folder / "ct_image.dcm")
    )
    assert single.shape == (1, 128, 128)
    assert int(single.sum()) == 1832
    radiograph, _ = read_dicom_seg(folder / "seg_image_cr_binary.dcm")
    assert radiograph.shape == (1, 16, 16)
    gapped = folder / "seg_image_ct_binary_overlap.dcm"
    with pytest.raises(ValueError, match="'first segment' and 'second segment'"):
        read_dicom_seg(gapped)
    read, _ = read_dicom_seg(gapped, precedence=["second segment"])
    assert read.shape == (1, 16, 16, 165), "8 frames far apart"
    assert np.bincount(read.numpy().ravel()).tolist()[1:] == [48, 16]
    with pytest.raises(ValueError, match="holds no DICOM segmentation"):
        read_dicom_seg(folder / "sr_document.dcm")


@pytest.mark.data
def test_a_truncated_real_object(segdiff_data, tmp_path):
    file = shutil.copy(segdiff_data / "dicom_io/dcmqi/liver.dcm", tmp_path)
    Path(file).write_bytes(Path(file).read_bytes()[:60000])
    with pytest.raises(ValueError, match=rf"{re.escape(str(file))} cannot be (read|decoded)"):
        read_dicom_seg(file)
