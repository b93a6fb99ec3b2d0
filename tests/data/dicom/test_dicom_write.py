"""Synthetic series and segmentations: what other readers, the standard and its checker say of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_attributes import MODULES, SEGMENT
from monai.transforms import LoadImage

from monai_segdiff.data import (
    SyntheticInfo,
    read_dicom_seg,
    read_dicom_series,
    write_dicom_pair,
    write_dicom_seg,
    write_dicom_series,
)

hd = pytest.importorskip("highdicom")

CLASSES = {"liver": 1, "something else": 2, "absent": 3}
TURN = np.array([[0.8, 0.6, 0], [-0.48, 0.64, 0.6], [0.36, -0.48, 0.8]]).T


def volume(modality: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, label map and affine: oblique, with voxels of three sizes, or a radiograph."""
    rng = np.random.default_rng(0)
    shape = (11, 13, 6) if modality in ("CT", "MR") else (11, 13)
    image = rng.normal(0, 400, shape) if modality == "CT" else rng.random(shape)
    labels = np.zeros(shape, dtype=np.uint8)
    box = (slice(2, 5), slice(3, 9), slice(1, 4))[: len(shape)]
    labels[box] = 1
    labels[(slice(6, 9), *box[1:])] = 2
    affine = np.eye(4)
    affine[:3, :3] = TURN * np.array([0.7, 0.9, 2.5]) if len(shape) == 3 else np.diag([0.7, 0.9, 1.0])
    affine[:3, 3] = (-12.3456789, 45.678912345, -1234.56789) if len(shape) == 3 else 0
    return image.astype(np.float32), labels, affine


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[str, tuple[list[Path], Path]]:
    root = tmp_path_factory.mktemp("pairs")
    written = {}
    for modality in ("CT", "MR", "CR", "DX"):
        image, labels, affine = volume(modality)
        written[modality] = write_dicom_pair(image, labels, affine, CLASSES, root / modality, modality)
    return written


def world(affine, index) -> np.ndarray:
    return (np.asarray(affine) @ [*index, *[0] * (3 - len(index)), 1])[:3]


@pytest.mark.parametrize("modality", ["CT", "MR", "CR", "DX"])
def test_every_voxel_is_where_it_was_within_half_a_step(pairs, modality):
    image, labels, affine = volume(modality)
    files, seg = pairs[modality]
    read = read_dicom_series(files)
    read_labels, classes = read_dicom_seg(seg, CLASSES, like=read)
    header = pydicom.dcmread(files[0])
    slope = 1 / 32767 if modality == "DX" else float(header.RescaleSlope)
    back = np.linalg.inv(affine) @ np.asarray(read.affine)
    if modality in ("CR", "DX"):  # only the voxel size is kept: turned to be shown upright
        assert np.allclose(read.affine, np.diag([-0.7, -0.9, 1, 1]))
        back[:3, 3] = [image.shape[0] - 1, image.shape[1] - 1, 0]
    assert np.abs(back - np.round(back)).max() < 1e-3
    for index in np.ndindex(*read.shape[1:]):
        there = tuple(np.round(back @ [*index, *[0] * (3 - len(index)), 1]).astype(int)[: image.ndim])
        assert abs(float(read[0][index]) - image[there]) <= slope / 2 * 1.001 + 1e-6
        assert int(read_labels[0][index]) == labels[there]
        if image.ndim == 3:
            assert np.abs(world(read.affine, index) - world(affine, there)).max() < 1e-3
    assert classes == CLASSES


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_itk_and_monai_read_the_same(pairs, modality):
    pytest.importorskip("itk")
    files, _ = pairs[modality]
    ours = read_dicom_series(files)
    theirs = LoadImage(reader="ITKReader", image_only=True, ensure_channel_first=True)(files[0].parent)
    assert np.allclose(theirs.affine, ours.affine, atol=1e-3)
    assert np.allclose(theirs.numpy(), ours.numpy(), atol=1e-3)
    theirs = LoadImage(reader="PydicomReader", image_only=True, ensure_channel_first=True)(files[0].parent)
    assert np.allclose(theirs.affine, ours.affine, atol=1e-3)
    assert np.allclose(theirs.numpy(), ours.numpy(), atol=1e-3)


@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_itk_reads_radiographs(pairs, modality):
    itk = pytest.importorskip("itk")
    files, _ = pairs[modality]
    image = itk.imread(str(files[0]), itk.F)
    ours = read_dicom_series(files)
    values = np.squeeze(itk.array_from_image(image)).T
    if modality == "DX":  # ITK gives the stored numbers, whose meaning the real world value mapping has
        mapping = pydicom.dcmread(files[0]).RealWorldValueMappingSequence[0]
        values = values * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
    assert np.allclose(values, ours.numpy()[0], atol=1e-4)
    assert np.allclose(list(image.GetSpacing())[:2], [0.7, 0.9])


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_highdicom_finds_the_segments_on_the_images(pairs, modality):
    files, file = pairs[modality]
    images = [pydicom.dcmread(f) for f in files]
    seg = hd.seg.segread(file)
    assert {uid for _, _, uid in seg.get_source_image_uids()} <= {image.SOPInstanceUID for image in images}
    assert {series for _, series, _ in seg.get_source_image_uids()} == {images[0].SeriesInstanceUID}
    assert seg.FrameOfReferenceUID == images[0].FrameOfReferenceUID
    assert seg.StudyInstanceUID == images[0].StudyInstanceUID
    grid = hd.get_volume_from_series(images)
    matched = seg.get_volume(combine_segments=True).match_geometry(grid, tol=1e-3)
    ours, _ = read_dicom_seg(file, like=read_dicom_series(files))
    assert np.array_equal(matched.array[:: 1 if _ascends(images) else -1].transpose(2, 1, 0), ours.numpy()[0])


def _ascends(images: list) -> bool:
    volume = hd.get_volume_from_series(images)
    return bool(np.cross(volume.affine[:3, 2], volume.affine[:3, 1]) @ volume.affine[:3, 0] > 0)


def marked_objects(pairs) -> list[tuple[str, pydicom.Dataset]]:
    found = []
    for modality, (files, seg) in pairs.items():
        found += [(modality, pydicom.dcmread(file)) for file in files] + [("SEG", pydicom.dcmread(seg))]
    return found


def test_every_object_is_marked_as_synthetic_and_is_nobodys(pairs):
    for kind, dataset in marked_objects(pairs):
        assert dataset.SyntheticData == "YES"
        assert dataset.ContentQualification == "RESEARCH"
        assert list(dataset.ImageType)[:2] == ["DERIVED", "PRIMARY" if kind == "SEG" else "SECONDARY"]
        assert "generated by a diffusion model" in dataset.DerivationDescription
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.DeidentificationMethod
        assert str(dataset.PatientName).startswith("SYNTHETIC")
        assert dataset.SeriesDescription.startswith("SYNTHETIC - not for diagnostic use")
        assert dataset.ImageComments.startswith("SYNTHETIC - not for diagnostic use")
        purposes = [item.PurposeOfReferenceCodeSequence[0] for item in dataset.ContributingEquipmentSequence]
        assert [(p.CodeValue, p.CodingSchemeDesignator) for p in purposes].count(("109100", "DCM")) == 1
        assert f"{dataset.PatientBirthDate}{dataset.PatientSex}" == ""


@pytest.mark.parametrize("kind", MODULES)
def test_attributes_of_type_1_and_2(pairs, kind):
    datasets = [dataset for name, dataset in marked_objects(pairs) if name == kind]
    assert len(datasets) == {"CT": 6, "MR": 6, "CR": 1, "DX": 1, "SEG": 4}[kind]
    for dataset in datasets:
        in_space = "FrameOfReferenceUID" in dataset  # which radiographs and their segmentations are not
        for module in MODULES[kind]:
            if in_space or "FrameOfReferenceUID" not in module.get(1, []):
                _check(dataset, module)
        for segment in dataset.get("SegmentSequence", []):
            _check(segment, SEGMENT)
    if kind == "SEG":
        assert sum("FrameOfReferenceUID" in dataset for dataset in datasets) == 2


def test_attributes_that_highdicoms_tables_of_the_standard_demand(pairs):
    """Another list than ours of what is of type 1 and 2 in the modules that are mandatory."""
    tables = pytest.importorskip("highdicom._standard_utils")
    for _, dataset in marked_objects(pairs):
        modules = tables.get_iod_module_map()[tables.get_sop_class_iod_map()[dataset.SOPClassUID]]
        mandatory = [module["key"] for module in modules if module["usage"] == "M"]
        assert len(mandatory) > 7
        for module in mandatory:
            own = [a for a in tables.get_module_attribute_map()[module] if not a["path"]]
            types = {int(t): [a["keyword"] for a in own if a["type"] == t] for t in "12"}
            _check(dataset, types)


def _check(dataset: pydicom.Dataset, module: dict[int, list[str]]) -> None:
    for keyword in [*module.get(1, []), *module.get(2, [])]:
        assert keyword in dataset, f"{keyword} is missing"
    for keyword in module.get(1, []):
        assert not dataset[keyword].is_empty, f"{keyword} has no value"


@pytest.mark.parametrize("modality", ["CT", "MR", "CR", "DX"])
def test_dciodvfy_finds_no_error(pairs, modality):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy checks DICOM objects: `apt-get install dicom3tools` runs this test")
    for file in (pairs[modality][0][0], pairs[modality][1]):
        done = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, timeout=900)
        errors = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("Error")]
        # It is older than this attribute, which CP-1962 brought into the standard.
        unknown = re.compile(r"Error - Attribute with an even group number is not a recognized .*\(0x0008,0x001c\)")
        assert [line for line in errors if not unknown.match(line)] == []
        assert "not a DICOM" not in done.stderr


def test_uids_are_new_or_decided_by_a_seed(tmp_path):
    image, labels, affine = volume("CT")

    def uids(name: str, **options) -> list[str]:
        files, seg = write_dicom_pair(image, labels, affine, CLASSES, tmp_path / name, "CT", **options)
        datasets = [pydicom.dcmread(file) for file in (*files, seg)]
        return [
            str(d[k].value)
            for d in datasets
            for k in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
        ]

    a, b = uids("a"), uids("b")
    assert not set(a) & set(b)
    assert len(set(a)) == 6 + 1 + 1 + 2 + 1, "images, segmentation, study, series, frame of reference"
    assert all(pydicom.uid.UID(uid).is_valid for uid in a)
    assert uids("c", info=SyntheticInfo(uid_seed="x")) == uids("d", info=SyntheticInfo(uid_seed="x"))


def _pair(folder: Path, modality: str = "CT", **changes) -> dict[str, bytes]:
    """Files of a pair by the UIDs of their objects."""
    image, labels, affine = volume(modality)
    given = {"image": image, "labels": labels, "affine": affine, "classes": CLASSES, "seed": "x"} | changes
    info = SyntheticInfo(uid_seed=given.pop("seed"), **given.pop("info", {}))
    files, seg = write_dicom_pair(*given.values(), folder, modality, info=info)
    return {str(pydicom.dcmread(file).SOPInstanceUID): file.read_bytes() for file in (*files, seg)}


@pytest.mark.parametrize("modality", ["CT", "DX"])
def test_the_same_content_is_the_same_bytes_whenever_it_is_written(tmp_path, modality):
    first = _pair(tmp_path / "a", modality)
    time.sleep(0.01)  # the clock has moved on
    assert _pair(tmp_path / "b", modality) == first


def test_an_object_of_another_content_has_another_uid(tmp_path):
    """With the same seed: whatever in pixels, places, names or versions differs."""
    image, labels, affine = volume("CT")
    other, marked = image.copy(), labels.copy()
    other[0, 0, 0] += 100
    marked[0, 0, 0] = 1
    shifted = affine.copy()
    shifted[0, 3] += 1
    written = _pair(tmp_path / "first")
    changes = {
        "pixels": {"image": other},
        "labels": {"labels": marked},
        "place": {"affine": shifted},
        "names": {"classes": {"liver": 1, "another": 2}},
        "patient": {"info": {"patient_id": "SYN2"}},
        "origin": {"info": {"generator": "another"}},
    }
    for name, change in changes.items():
        for uid, content in _pair(tmp_path / name, **change).items():
            assert written.setdefault(uid, content) == content, name
    assert len(written) == 7 * 7 - 2 * 6, "only images of other labels or names are the same ones"


def test_another_version_writes_other_objects(tmp_path, monkeypatch):
    first = _pair(tmp_path / "a")
    monkeypatch.setattr("monai_segdiff.data.dicom.iods.__version__", "0.0.1")
    assert not set(first) & set(_pair(tmp_path / "b"))


def test_texts_that_dicom_cannot_hold_are_made_fit(tmp_path):
    image, labels, affine = volume("CT")
    long, odd = "x" * 20_000, "a\\b\n\tc\x00d\ud800"
    for number, text in enumerate((long, odd)):
        info = SyntheticInfo(generator=text, derivation=text, description=text)
        files, seg = write_dicom_pair(image, labels, affine, CLASSES, tmp_path / str(number), "CT", info=info)
        for file in (files[0], seg):
            dataset = pydicom.dcmread(file)
            for value in (dataset.SeriesDescription, dataset.DerivationDescription, dataset.ImageComments):
                assert isinstance(value, str), "one value"
                assert value.isprintable()
            assert len(dataset.SeriesDescription) <= 64
            assert len(dataset.DerivationDescription) <= 1024
    assert "a b c d" in pydicom.dcmread(files[0]).SeriesDescription


def test_a_patient_has_one_id_and_one_name(tmp_path):
    image, labels, affine = volume("CT")
    info = SyntheticInfo(patient_id="Doe^John=x")
    files, _ = write_dicom_pair(image, labels, affine, CLASSES, tmp_path / "a", "CT", info=info)
    dataset = pydicom.dcmread(files[0])
    assert dataset.PatientID == "Doe^John=x"
    assert dataset.PatientName.family_name == "SYNTHETIC"
    assert dataset.PatientName.given_name == "Doe John x"
    for patient in ("", "x" * 65, "a\\b", "a\nb", " a"):
        with pytest.raises(ValueError, match=r"the patient .* cannot be written"):
            SyntheticInfo(patient_id=patient)


def test_source_segmentation_is_referred_to(pairs, tmp_path):
    image, labels, affine = volume("MR")
    source = pydicom.dcmread(pairs["CT"][1])
    files, seg = write_dicom_pair(image, labels, affine, CLASSES, tmp_path / "a", "MR", source=pairs["CT"][1])
    for file in (*files, seg):
        (item,) = pydicom.dcmread(file).SourceImageSequence
        assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert item.ReferencedSOPClassUID == source.SOPClassUID
        assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"


def test_an_empty_label_map_and_whole_numbers(tmp_path):
    image = np.arange(24, dtype=np.int16).reshape(4, 3, 2) * 100
    files, seg = write_dicom_pair(image, np.zeros(image.shape), np.eye(4), {"liver": 1}, tmp_path / "a", "MR")
    assert np.array_equal(np.sort(read_dicom_series(files).numpy().ravel()), image.ravel())
    read, classes = read_dicom_seg(seg, like=read_dicom_series(files))
    assert int(read.sum()) == 0
    assert classes == {"liver": 1}


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    image, labels, affine = volume("CT")
    labels[0, 0, 0] = 9
    with pytest.raises(ValueError, match=r"ids \[9\] that are in no class"):
        write_dicom_pair(image, labels, affine, CLASSES, tmp_path / "a", "CT")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "own.txt").write_text("mine")
    with pytest.raises(OSError, match="full"):
        write_dicom_series(image, affine, tmp_path / "full", "CT")
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["own.txt"]
    assert [file.name for file in tmp_path.iterdir()] == ["full"]


SHEARED = np.eye(4) + np.eye(4, k=1) * [[0.5], [0], [0], [0]]
REFUSED = {
    "another modality": (np.ones((4, 4, 4)), np.eye(4), "PT", "modality must be one of CT, MR, CR, DX"),
    "no HU": (np.random.default_rng(0).random((4, 4, 4)), np.eye(4), "CT", "from .* are no HU"),
    "NaN": (np.full((4, 4, 4), np.nan), np.eye(4), "MR", "NaN or infinite"),
    "channels": (np.ones((2, 4, 4, 4)), np.eye(4), "MR", r"one channel is expected, got shape \(2, 4, 4, 4\)"),
    "a volume as radiograph": (np.ones((4, 4, 4)), np.eye(4), "DX", "expected"),
    "sheared": (np.ones((4, 4, 4)), SHEARED, "MR", "sheared"),
    "flat": (np.ones((4, 4, 4)), np.diag([1.0, 1, 0, 1]), "MR", "no length"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_dicom_cannot_hold_is_refused(kind, tmp_path):
    image, affine, modality, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        write_dicom_series(image, affine, tmp_path / "a", modality)
    assert not list(tmp_path.iterdir())


def test_labels_that_do_not_lie_on_the_series_are_refused(pairs, tmp_path):
    _, labels, affine = volume("CT")
    files = pairs["CT"][0]
    moved = affine.copy()
    moved[0, 3] += 1
    with pytest.raises(ValueError, match=r"lies 1 mm off the series"):
        write_dicom_seg(labels, moved, CLASSES, files, tmp_path / "seg.dcm")
    with pytest.raises(ValueError, match=r"has size \(11, 13, 5\), the series in"):
        write_dicom_seg(labels[..., :5], None, CLASSES, files, tmp_path / "seg.dcm")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- real images, written and read again


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["ct/totalseg_dicom/dicom", "dicom_io/dcmqi/ct-3slice", "dicom_io/breast_mr_p1_24slices"]
)
def test_real_volumes_come_back(segdiff_data, tmp_path, name):
    image = read_dicom_series(segdiff_data / name)
    again = read_dicom_series(write_dicom_series(image, image.affine, tmp_path / "a", image.meta["modality"]))
    assert np.array_equal(again.numpy(), image.numpy()), "whole numbers are kept"
    assert np.abs(np.asarray(again.affine) - np.asarray(image.affine)).max() < 1e-3


@pytest.mark.data
def test_a_real_radiograph_comes_back(segdiff_data, tmp_path):
    image = read_dicom_series(segdiff_data / "dicom_io/highdicom/dx_image.dcm")
    for modality in ("CR", "DX"):
        again = read_dicom_series(write_dicom_series(image, image.affine, tmp_path / modality, modality))
        assert np.array_equal(again.numpy(), image.numpy())
        assert np.allclose(again.affine, image.affine, atol=1e-3)


@pytest.mark.data
def test_a_real_segmentation_comes_back(segdiff_data, tmp_path):
    folder = segdiff_data / "dicom_io/dcmqi"
    image = read_dicom_series(folder / "ct-3slice")
    for name, order in (("liver.dcm", []), ("partial_overlaps.dcm", ["GREEN", "ORANGE"])):
        labels, classes = read_dicom_seg(folder / name, like=image, precedence=order)
        files, seg = write_dicom_pair(image, labels, image.affine, classes, tmp_path / name, "CT", source=folder / name)
        again, found = read_dicom_seg(seg, like=read_dicom_series(files))
        assert np.array_equal(again.numpy(), labels.numpy())
        assert found == classes


@pytest.mark.data
def test_31_organs_of_a_scan_without_uids_come_back(segdiff_data, tmp_path):
    """Labels in NIfTI on a compressed scan: written as DICOM in its place, read again by name."""
    folder = segdiff_data / "ct/totalseg_dicom"
    image = read_dicom_series(folder / "dicom")
    labels = LoadImage(image_only=True, ensure_channel_first=True)(folder / "seg.nii.gz")
    step = 4  # pixels, so that the test takes seconds
    labels, image = labels[:, ::step, ::step], image[:, ::step, ::step]
    affine = np.asarray(image.affine)
    ids = [int(i) for i in np.unique(labels.numpy()) if i]
    classes = {f"organ {i}": i for i in ids}
    assert len(ids) > 20
    _, seg = write_dicom_pair(image, labels, affine, classes, tmp_path / "a", "CT")
    again, _ = read_dicom_seg(seg, classes, like=read_dicom_series(tmp_path / "a/image"))
    assert np.array_equal(again.numpy(), labels.numpy().astype(np.uint8))
