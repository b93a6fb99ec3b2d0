from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_segdiff.data import make_ct_phantoms
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.data.radiographs.volumes import find_volumes, read_volume

HU = np.linspace(-1000, 1000, 4 * 5 * 6).reshape(4, 5, 6).astype(np.float32)
AFFINE = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])


def put(file: Path, array: np.ndarray = HU) -> Path:
    return save_nifti(file, array, AFFINE)


def test_files_sub_folders_and_series_are_found_by_name(tmp_path, write_series):
    put(tmp_path / "knee b.nii.gz")
    put(tmp_path / "s0001" / "ct.nii")
    put(tmp_path / "s0001" / "segmentations" / "femur.nii.gz")
    write_series(tmp_path / "p1" / "study" / "series", HU)
    (tmp_path / "README.txt").write_text("read me")
    (tmp_path / ".hidden.nii").write_text("")
    (tmp_path / "notes").mkdir()
    found = {volume.name: volume for volume in find_volumes(tmp_path)}
    assert list(found) == ["knee_b", "p1", "s0001"]
    assert [v.path.name for v in found.values()] == ["knee b.nii.gz", "p1", "ct.nii"]
    assert [len(v.files) for v in found.values()] == [1, 6, 1]
    assert [v.patient for v in found.values()] == ["knee_b", "p1", "s0001"]
    assert [read_volume(volume).shape[1:] for volume in found.values()] == [(5, 4, 6), (4, 5, 6), (5, 4, 6)]


def test_a_disc_of_series_holds_its_table_of_contents_and_what_macos_leaves(tmp_path, write_series):
    files = write_series(tmp_path / "p1", HU)
    for table in (tmp_path / "DICOMDIR", tmp_path / "p1" / "DICOMDIR"):
        table.write_bytes(bytes(128) + b"DICM")
    (tmp_path / "p1" / "._1.dcm").write_bytes(b"Mac OS X")
    (found,) = find_volumes(tmp_path)
    assert found.files == tuple(sorted(files))
    assert read_volume(found).shape == (1, 4, 5, 6)


def test_a_volume_keeps_values_affine_and_file(tmp_path):
    file = put(tmp_path / "a.nii.gz")
    volume = read_volume(find_volumes(tmp_path)[0])
    assert volume.dtype == torch.float32
    expected = nib.as_closest_canonical(nib.load(file))
    assert np.array_equal(volume.as_tensor()[0], expected.dataobj)
    assert np.allclose(volume.affine, expected.affine)
    assert volume.meta["filename_or_obj"] == str(file)


def test_a_data_set_gives_its_images_or_label_maps_and_patients(tmp_path):
    dataset = make_ct_phantoms(tmp_path / "ct", patients=3, size=8, spatial_dims=3, progress=False)
    for labels, part in ((False, "imagesTr"), (True, "labelsTr")):
        found = find_volumes(dataset.root, labels=labels)
        assert [v.path for v in found] == sorted((dataset.root / part).iterdir())
        assert [v.patient for v in found] == ["phantom0000", "phantom0001", "phantom0002"]


def test_a_table_says_whose_volumes_they_are(tmp_path):
    for name in ("p1_left", "p1_right", "p2_left"):
        put(tmp_path / "ct" / f"{name}.nii.gz")
    table = tmp_path / "patients.csv"
    table.write_text("volume,patient\np1_left,p1\np1_right,p1\np2_left,p2\n")
    assert [v.patient for v in find_volumes(tmp_path / "ct", patients=table)] == ["p1", "p1", "p2"]
    table.write_text("volume,patient\np1_left,p1\n")
    with pytest.raises(ValueError, match=r"patients\.csv names no patient for case 'p1_right', 'p2_left' \(2 such"):
        find_volumes(tmp_path / "ct", patients=table)


def test_the_fingerprint_tells_a_changed_source(tmp_path):
    file = put(tmp_path / "a.nii")
    first = find_volumes(tmp_path)[0].fingerprint
    assert find_volumes(tmp_path)[0].fingerprint == first
    os.utime(file, (1, 1))
    assert find_volumes(tmp_path)[0].fingerprint != first


def test_what_is_no_volume_is_refused_by_file(tmp_path, write_series):
    with pytest.raises(FileNotFoundError, match=r"gone is not a folder"):
        find_volumes(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty holds no volumes: put"):
        find_volumes(tmp_path / "empty")
    put(tmp_path / "twins" / "a.nii")
    put(tmp_path / "twins" / "A" / "ct.nii.gz")
    with pytest.raises(ValueError, match=r"twins/A/ct\.nii\.gz and .*twins/a\.nii have the same name 'a'"):
        find_volumes(tmp_path / "twins")
    put(tmp_path / "many" / "p1" / "ct.nii")
    put(tmp_path / "many" / "p1" / "seg.nii")
    with pytest.raises(ValueError, match=r"p1 holds 2 volumes \(ct\.nii, seg\.nii\)"):
        find_volumes(tmp_path / "many")
    for name, message in (
        ("x.png", "is a picture"),
        ("data.zip", "is an archive; unpack"),
        ("1.dcm", "is a DICOM file"),
    ):
        (tmp_path / name[0]).mkdir()
        (tmp_path / name[0] / name).touch()
        with pytest.raises(ValueError, match=f"{name} {message}"):
            find_volumes(tmp_path / name[0])


def test_unsound_volumes_are_refused_by_file(tmp_path):
    put(tmp_path / "flat.nii", HU[:, :, 0])
    put(tmp_path / "thin.nii", HU[:, :, :1])
    put(tmp_path / "time.nii", np.stack([HU, HU], axis=-1))
    holey = HU.copy()
    holey[1, 2, 3] = np.nan
    put(tmp_path / "nan.nii", holey)
    lost = nib.Nifti1Image(HU, None)
    nib.save(lost, tmp_path / "lost.nii")
    (tmp_path / "torn.nii.gz").write_bytes(b"not a volume")
    messages = {
        "flat": r"flat\.nii is not a volume but of size 5x4",
        "thin": r"thin\.nii is not a volume but of size 5x4",
        "time": r"time\.nii cannot be read .*2 channels or time points\); store one of them",
        "nan": r"nan\.nii holds 1 NaN or infinite values",
        "lost": r"lost\.nii has neither a qform nor an sform",
        "torn": r"torn\.nii\.gz cannot be read",
    }
    for volume in find_volumes(tmp_path):
        with pytest.raises(ValueError, match=messages.pop(volume.name)):
            read_volume(volume)
    assert not messages


def test_nrrd_is_read_in_its_place(tmp_path):
    nrrd = pytest.importorskip("nrrd", reason="reading NRRD is optional: python -m pip install pynrrd")
    steps = np.diag([-1.0, -1.0, 1.0]) @ AFFINE[:3, :3]  # NRRD counts to the left and to the back
    header = {"space": "left-posterior-superior", "space directions": steps.T, "space origin": [-5, -6, 7]}
    nrrd.write(str(tmp_path / "a.nrrd"), HU, header)
    volume = read_volume(find_volumes(tmp_path)[0])
    expected = nib.as_closest_canonical(nib.Nifti1Image(HU, AFFINE))
    assert np.array_equal(volume.as_tensor()[0], expected.dataobj)
    assert np.allclose(volume.affine, expected.affine)


@pytest.mark.parametrize(("extension", "package"), [(".nrrd", "pynrrd"), (".mha", "itk-io"), (".mhd", "itk-io")])
def test_a_format_whose_reader_is_missing_names_it(extension, package, tmp_path, monkeypatch):
    (tmp_path / f"a{extension}").write_bytes(b"")
    monkeypatch.setattr("monai_segdiff.data.readers.voxels.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=rf"a\{extension}: reading \{extension} needs .*pip install {package}$"):
        read_volume(find_volumes(tmp_path)[0])
