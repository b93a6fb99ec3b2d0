from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from monai_segdiff.data import Case, SegmentationDataset, make_ct_phantoms
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.handlers import class_color, dataset_overview
from monai_segdiff.pictures import dataset_overview as module


@pytest.fixture
def dataset(tmp_path) -> SegmentationDataset:
    """Two patients with four and two images: a ramp along the second axis, a box, and a smaller box in it."""
    label = np.zeros((8, 12), np.uint8)
    label[1:7, 2:10] = 1
    label[3:5, 4:8] = 2
    image = np.repeat(np.linspace(0, 1, 12, dtype=np.float32)[None], 8, axis=0)
    cases = []
    for name in ("p1_0", "p1_1", "p1_2", "p1_3", "p2_0", "p2_1"):
        files = [save_nifti(tmp_path / part / f"{name}.nii", x, np.eye(4)) for part, x in (("i", image), ("l", label))]
        cases.append(Case(name, *files, name[:2]))
    splits = {"training": cases[:4], "test": cases[4:]}
    return SegmentationDataset(
        tmp_path, "boxes", {"outer": 1, "inner": 2}, splits, (0.0, 1.0), parents={"inner": "outer"}
    )


@pytest.fixture
def bare(monkeypatch):
    """Draws without the words around, which have tests of their own."""
    words = []
    monkeypatch.setattr(module, "lettered", lambda pixels, rows, _, legend: words.append((rows, legend)) or pixels)
    return words


def test_patients_and_classes_are_named(dataset, bare):
    dataset_overview(dataset, images=3, tile_size=12)
    assert bare == [(["p1", "p2"], {"outer": class_color(1), "inner": class_color(2)})]


def test_a_patient_a_row_an_image_a_column(dataset, bare):
    picture = dataset_overview(dataset, images=3, tile_size=12)
    assert picture.shape == (2 * 12 + 2, 3 * 8 + 2 * 2, 3)
    assert picture.dtype == np.uint8
    assert (picture[14:, 20:] == 255).all()  # the second patient has two images only
    assert np.array_equal(picture[:12, :8], picture[14:26, :8])
    assert dataset_overview(dataset, patients=1, images=1, tile_size=12).shape == (12, 8, 3)
    assert dataset_overview(dataset, patients=1, images=1, tile_size=24).shape == (24, 16, 3)


def test_images_stand_upright_with_outlines_in_the_colors_of_the_classes(dataset, bare):
    tile = dataset_overview(dataset, patients=1, images=1, tile_size=12)
    gray = np.round(np.linspace(255, 0, 12)).astype(np.uint8)  # the second axis runs up
    assert np.array_equal(tile[:, 0], np.repeat(gray[:, None], 3, axis=1))
    outer = np.zeros((12, 8), bool)
    outer[2:10, 1:7] = True
    outer[3:9, 2:6] = False
    inner = np.zeros((12, 8), bool)
    inner[4:8, 3:5] = True  # two pixels wide: all of it is rim
    assert np.array_equal((tile == class_color(1)).all(axis=-1), outer)
    assert np.array_equal((tile == class_color(2)).all(axis=-1), inner)


def test_volumes_show_the_slice_with_most_labels(tmp_path, bare):
    dataset = make_ct_phantoms(tmp_path / "ct", patients=3, size=16, spatial_dims=3, progress=False)
    picture = dataset_overview(dataset, tile_size=16)
    assert picture.shape == (3 * 16 + 2 * 2, 16, 3)
    assert (picture == class_color(1)).all(axis=-1).any()


def test_without_labels_images_are_drawn_bare_and_without_range_not_at_all(dataset, bare):
    unlabeled = replace(dataset, splits={"test": [replace(case, label=None) for case in dataset.splits["test"]]})
    picture = dataset_overview(unlabeled, images=1, tile_size=12)
    assert np.array_equal(picture[:, 0], picture[:, 4])
    with pytest.raises(ValueError, match="has no intensity range"):
        dataset_overview(replace(dataset, intensity_range=None))
    with pytest.raises(ValueError, match="has no images"):
        dataset_overview(replace(dataset, splits={}))
