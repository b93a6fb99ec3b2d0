from __future__ import annotations

import numpy as np
import pytest

from monai_segdiff.workflows.plan.fingerprint import Fingerprint, read_fingerprint, take_fingerprint, write_fingerprint

from .made import as_ct, as_mr, nested, opened, pictures, volumes


def fingerprint(folder, **classes) -> Fingerprint:
    return take_fingerprint(opened(folder, **classes), progress=False)


def test_sizes_volumes_and_extents_are_those_that_were_made(tmp_path):
    found = fingerprint(volumes(tmp_path, as_mr, spacing=(1.0, 0.5, 2.0)))
    case = found.cases[0]
    assert case.shape == (32, 40, 24)
    assert case.spacing == (1.0, 0.5, 2.0)
    assert case.extent == (32.0, 20.0, 48.0)
    assert case.orientation == "RAS"
    # A cube of 16 voxels a side of 1 mm^3, without the cube of 4 in it.
    assert case.volumes == {"outer": 16**3 - 4**3, "inner": 4**3}
    assert case.box == ((8.0, 24.0), (6.0, 14.0), (8.0, 40.0))
    assert found.spatial_dims == 3
    assert found.patients == {f"P{n}": 1 for n in range(4)}
    assert found.occurrences() == {"outer": (4, 16**3 - 4**3), "inner": (4, 4**3)}


def test_the_class_inside_another_has_it_as_its_parent(tmp_path):
    found = fingerprint(volumes(tmp_path, as_mr))
    assert found.surroundings()["inner"] == {"outer": 1.0}
    # Six faces of 16 x 16 voxels towards the background, of 4 x 4 voxels towards the inner cube's shell.
    faces = 6 * 16 * 16
    assert found.surroundings()["outer"][""] == pytest.approx(faces / (faces + 4**3 - 2**3))
    assert found.enclosing() == {"inner": ("outer", 1.0)}


def test_classes_side_by_side_have_no_parent(tmp_path):
    def beside(n, rng):
        label = np.zeros((24, 24, 24), np.uint8)
        label[4:12, 4:20, 4:20], label[12:20, 4:20, 4:20] = 1, 2
        return label.astype(np.float32) + rng.random(label.shape), label

    assert fingerprint(volumes(tmp_path, beside, classes=("left", "right"))).enclosing() == {}


def test_two_classes_around_each_other_make_no_circle(tmp_path):
    def striped(n, rng):
        label = np.ones((16, 16, 16), np.uint8)
        label[:, :, ::2] = 2
        return label.astype(np.float32) + rng.random(label.shape), label

    found = fingerprint(volumes(tmp_path, striped)).enclosing()
    assert len(found) == 1


def test_patients_that_lack_a_class_are_not_counted(tmp_path):
    def rare(n, rng):
        label = nested()
        if n:
            label[label == 2] = 1
        return label.astype(np.float32) + rng.random(label.shape), label

    assert fingerprint(volumes(tmp_path, rare)).occurrences()["inner"] == (1, 64.0)


@pytest.mark.parametrize(("fill", "scale"), [(as_mr, "own"), (as_ct, "HU")])
def test_what_intensities_mean_is_told_by_themselves(tmp_path, fill, scale):
    assert fingerprint(volumes(tmp_path, fill)).scale == scale


def test_pictures_share_a_scale_and_have_no_spacing(tmp_path):
    found = fingerprint(pictures(tmp_path), square=1)
    assert found.scale == "shared"
    assert not found.has_spacing
    assert found.spatial_dims == 2
    assert found.cases[0].shape == (96, 64)
    assert found.cases[0].volumes == {"square": 20 * 30}


def test_the_body_of_a_ct_is_found(tmp_path):
    (x, y, _) = fingerprint(volumes(tmp_path, as_ct)).cases[0].body
    assert x == (8.0, 40.0)
    assert y == (8.0, 32.0)


def test_slices_count_where_enough_is_labelled(tmp_path):
    case = fingerprint(volumes(tmp_path, as_mr)).cases[0]
    assert case.labelled_slices(2, 1.0) == 16
    assert case.labelled_slices(2, 16 * 16) == 16
    assert case.labelled_slices(2, 16 * 16 + 1) == 0


def test_a_fingerprint_is_read_as_it_was_written(tmp_path):
    found = fingerprint(volumes(tmp_path / "in", as_ct))
    write_fingerprint(tmp_path / "f.json", found)
    assert read_fingerprint(tmp_path / "f.json") == found


def test_a_damaged_fingerprint_is_named(tmp_path):
    (tmp_path / "f.json").write_text('{"cases": [{"id": "a"}]}')
    with pytest.raises(ValueError, match=r"f\.json is no fingerprint .*remove it"):
        read_fingerprint(tmp_path / "f.json")


def test_files_of_two_sizes_are_an_error_that_names_them(tmp_path):
    def unequal(n, rng):
        label = nested()
        return label[1:].astype(np.float32), label

    with pytest.raises(ValueError, match=r"p0\.nii\.gz has size \(32, 40, 24\), its image \(31, 40, 24\)"):
        fingerprint(volumes(tmp_path, unequal))
