from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_segdiff.data import DRR_CLASSES, read_geometry, write_views
from monai_segdiff.data.radiographs import views as drr_views
from monai_segdiff.transforms import ProjectDRR

OPTIONS = {"angles": (0, 50, 120), "detector_shape": (40, 24), "detector_spacing": (2.5, 1.5)}


@pytest.fixture
def volume(make_leg):
    hu, affine = make_leg(at=(4.0, 0.0))
    return MetaTensor(torch.from_numpy(hu)[None], affine=torch.from_numpy(affine), meta={"filename_or_obj": "leg.nii"})


def test_views_label_maps_and_geometry_are_written(tmp_path, volume):
    cases = write_views(tmp_path, volume, "knee-1", ProjectDRR(**OPTIONS), patient="p1", details={"source": "leg.nii"})
    assert [case.id for case in cases] == [f"knee-1_view{n:03d}" for n in range(3)]
    assert {case.patient for case in cases} == {"p1"}
    geometry = read_geometry(tmp_path, "knee-1")
    assert geometry["volume"] == "knee-1"
    assert geometry["source"] == "leg.nii"
    assert [view["angle"] for view in geometry["views"]] == [0, 50, 120]
    integrals = ProjectDRR(**OPTIONS, normalize=None)(volume)
    for case, integral, offset, scale in zip(cases, integrals, geometry["offset"], geometry["scale"], strict=True):
        image, label = nib.load(case.image), nib.load(case.label)
        pixels, ids = np.asarray(image.dataobj), np.asarray(label.dataobj)
        assert pixels.shape == ids.shape == (40, 24)
        assert (pixels.dtype, ids.dtype) == (np.float32, np.uint8)
        assert 0 <= pixels.min() <= pixels.max() <= 1
        assert np.allclose(offset + scale * pixels, integral, atol=1e-5)
        assert np.array_equal(ids > 0, pixels > 0.1)
        assert np.allclose(image.affine, label.affine)
        # millimeters on the detector, 0 at its center
        assert np.allclose(image.affine @ [19.5, 11.5, 0, 1], [0, 0, 0, 1])
        assert np.allclose(np.diag(image.affine), [2.5, 1.5, 1, 1])


def test_bone_is_painted_over_the_contour_where_it_is(tmp_path, volume):
    case = write_views(tmp_path, volume, "a", ProjectDRR(**OPTIONS))[0]
    ids = np.asarray(nib.load(case.label).dataobj)
    bone = (ids == DRR_CLASSES["bone"]).any(axis=1)
    u = (np.arange(40) - 19.5) * 2.5 / 1.5  # at the isocenter; at angle 0 u runs to the patient's right, like x
    assert np.abs(u[bone] - 4.0).max() < 8.0 + 2.5
    assert bone[np.abs(u - 4.0) < 8.0 - 2.5].all()
    assert (ids[~bone] <= DRR_CLASSES["contour"]).all()


def test_thresholds_are_free_and_written_down(tmp_path, volume):
    thresholds = {"contour_threshold": 0.3, "bone_threshold": 900.0, "min_bone_length": 5.0}
    case = write_views(tmp_path, volume, "a", ProjectDRR(**OPTIONS), **thresholds)[0]
    pixels, ids = (np.asarray(nib.load(file).dataobj) for file in (case.image, case.label))
    assert np.array_equal(ids, pixels > 0.3)
    assert read_geometry(tmp_path, "a").items() >= thresholds.items()


def test_the_geometry_comes_last_and_goes_first(tmp_path, volume, monkeypatch):
    write_views(tmp_path, volume, "a", ProjectDRR(**OPTIONS))
    save, written = drr_views.save_nifti, []

    def full_disk(path, *arguments):
        assert not (tmp_path / "geometry/a.json").exists()
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        written.append(save(path, *arguments))

    monkeypatch.setattr(drr_views, "save_nifti", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_views(tmp_path, volume, "a", ProjectDRR(**OPTIONS))
    assert not (tmp_path / "geometry/a.json").exists()


@pytest.mark.parametrize("name", ["", "../a", "a/b", "a b", ".hidden", "ä"])
def test_names_must_suit_files(name, tmp_path, volume):
    with pytest.raises(ValueError, match="cannot name files"):
        write_views(tmp_path, volume, name, ProjectDRR(**OPTIONS))
    assert not list(tmp_path.iterdir())


def test_geometry_that_is_missing_or_torn_is_named(tmp_path, volume):
    with pytest.raises(FileNotFoundError, match=r"geometry/b\.json does not exist: .* it holds none"):
        read_geometry(tmp_path, "b")
    write_views(tmp_path, volume, "a", ProjectDRR(**OPTIONS))
    with pytest.raises(FileNotFoundError, match=r"no geometry of 'b'; it holds a$"):
        read_geometry(tmp_path, "b")
    file = tmp_path / "geometry" / "a.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "offset": content["offset"][1:]}))
    with pytest.raises(ValueError, match=r"a\.json cannot be read as .*its lists have different lengths.*make the vol"):
        read_geometry(tmp_path, "a")
    for damaged in (file.read_text()[:50], "[]", "7", '{"views": 1}', "[" * 5000):
        file.write_text(damaged)
        with pytest.raises(ValueError, match=r"a\.json cannot be read as .*; make the volume's views again"):
            read_geometry(tmp_path, "a")
    with pytest.raises(ValueError, match=r"no path inside"):
        read_geometry(tmp_path, "../../a")
