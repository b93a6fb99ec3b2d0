"""How images and label maps are read, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from monai_segdiff.data import Case
from monai_segdiff.data.channels import load_channels
from monai_segdiff.data.nifti import as_stored, save_nifti
from monai_segdiff.evaluation import PairReader, pairs
from monai_segdiff.evaluation.measure.other_masks import draw_other_masks


@pytest.fixture
def write(tmp_path):
    def write(image: np.ndarray, label: np.ndarray, name: str = "case") -> Case:
        files = [tmp_path / f"{name}_{kind}.nii.gz" for kind in ("image", "label")]
        for file, array in zip(files, (image, label), strict=True):
            save_nifti(file, array, np.eye(4))
        return Case(name, *files, name)

    return write


def reader() -> PairReader:
    return PairReader({"liver": 5, "spleen": 2}, (0.0, 100.0))


def test_range_becomes_minus_one_to_one_and_ids_become_indices(write):
    image = np.array([[-50.0, 0, 25], [50, 100, 700]], dtype=np.float32)
    label = np.array([[0, 5, 5], [2, 2, 0]], dtype=np.uint8)
    pair = reader()(write(image, label))
    assert pair.image.tolist() == [[[-1, -1, -0.5], [0, 1, 1]]]
    assert pair.mask.tolist() == [[[0, 1, 1], [2, 2, 0]]]


def test_what_lies_outside_the_field_of_view_is_no_anatomy_whatever_is_drawn_there(write):
    case = write(np.array([[20.0, 90, np.nan]], np.float32), np.array([[5, 7, 7]], np.uint8))
    mine = PairReader({"liver": 5}, (0.0, 100.0), outside=(7,))
    assert mine(case).image.tolist() == [[[pytest.approx(-0.6), -1, -1]]]
    assert mine(case).mask.tolist() == [[[1, 0, 0]]]
    assert torch.equal(mine.image(case), mine(case).image)
    assert mine.key != PairReader({"liver": 5}, (0.0, 100.0)).key
    with pytest.raises(ValueError, match=r"ids \[7\]"):
        PairReader({"liver": 5}, (0.0, 100.0))(case)


def test_what_lies_outside_the_field_of_view_is_masked_in_every_channel(write):
    image = np.array([[[20.0, 90]], [[50.0, 60]]], np.float32)  # (C, X, Y)
    case = write(as_stored(image), np.array([[5, 7]], np.uint8))
    limits = ((0.0, 100.0), (0.0, 200.0))
    mine = PairReader({"liver": 5}, limits, 2, outside=(7,), channels=("T1", "T2"))
    expected = [[[pytest.approx(-0.6), -1]], [[pytest.approx(-0.5), -1]]]
    assert mine(case).image.tolist() == mine.image(case).tolist() == expected
    assert mine(case).mask.tolist() == [[[1, 0]]]


def test_pixels_that_are_not_finite_stay_visible(write):
    image = np.array([[np.nan, np.inf], [-np.inf, 50]], dtype=np.float32)
    pair = reader()(write(image, np.zeros((2, 2), np.uint8)))
    assert pair.image.isnan().tolist() == [[[True, True], [True, False]]]


def test_a_file_is_read_once_unless_it_changes_and_only_the_newest_stay(write, monkeypatch):
    cases = [write(np.full((2, 2), value, np.float32), np.zeros((2, 2), np.uint8), f"c{value}") for value in range(4)]
    read = []

    def loaded(files, channels, case):
        read.append(case)
        return load_channels(files, channels, case)

    monkeypatch.setattr(pairs, "load_channels", loaded)
    monkeypatch.setattr(pairs, "_KEPT_BYTES", 2 * 16)  # two images
    mine = reader()
    values = [mine.image(cases[i]).mean().item() for i in (0, 1, 0, 2, 0, 1)]
    assert values == pytest.approx([-1, -0.98, -1, -0.96, -1, -0.98])
    assert read == ["c0", "c1", "c2", "c1"]
    write(np.full((2, 2), 100, np.float32), np.zeros((2, 2), np.uint8), "c1")
    assert mine.image(cases[1]).mean() == 1
    assert read == ["c0", "c1", "c2", "c1", "c1"]
    cases[0].image.unlink()
    with pytest.raises(FileNotFoundError, match="c0_image"):
        mine.image(cases[0])


def test_same_label_map_has_the_same_id(write):
    label = np.array([[5, 0], [0, 2]], dtype=np.uint8)
    one, two = (reader()(write(np.full((2, 2), v, np.float32), label, f"c{v}")) for v in (1, 2))
    other = reader()(write(np.zeros((2, 2), np.float32), label.T * 0, "c3"))
    assert one.mask_id == two.mask_id != other.mask_id


def test_more_than_255_classes_do_not_wrap(write):
    many = PairReader({f"region {index}": index for index in range(1, 301)}, (0.0, 100.0))
    image = np.zeros((2, 2), np.float32)
    high, low = (many(write(image, np.full((2, 2), index, np.int16), f"c{index}")) for index in (300, 300 - 256))
    assert high.mask_id != low.mask_id
    assert [pairs.small_indices(pair.mask).unique().tolist() for pair in (high, low)] == [[300], [44]]
    assert pairs.small_indices(low.mask).dtype == torch.uint8
    others = draw_other_masks([high.case, low.case], many)
    assert sorted(others.masks.unique().tolist()) == [44, 300]


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        (np.zeros((4, 4)), np.full((4, 4), 3), r"case_label\.nii\.gz holds ids \[3\] that dataset\.json does not name"),
        (np.zeros((4, 4)), np.full((4, 4), 0.5), "case_label.*no whole numbers, e.g. 0.5"),
        (np.zeros((4, 4)), np.zeros((4, 5)), r"case_image.*size 4x4.*case_label.*4x5: bring both to one grid"),
    ],
)
def test_bad_pairs_are_named(write, image, label, message):
    with pytest.raises(ValueError, match=message):
        reader()(write(image.astype(np.float32), label.astype(np.float32)))


def test_sizes_must_not_change_within_a_data_set(write):
    read = reader()
    read(write(np.zeros((4, 4), np.float32), np.zeros((4, 4), np.uint8), "a"))
    with pytest.raises(ValueError, match=r"b_image.*size 4x6, the images before it 4x4"):
        read(write(np.zeros((4, 6), np.float32), np.zeros((4, 6), np.uint8), "b"))


def test_volume_where_slices_were_declared(write):
    case = write(np.zeros((4, 4, 4), np.float32), np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"is 3D but the data set is declared 2D"):
        PairReader({"liver": 1}, (0.0, 1.0), 2)(case)
    flat = write(np.zeros((4, 4, 1), np.float32), np.zeros((4, 4, 1), np.uint8), "flat")
    assert PairReader({"liver": 1}, (0.0, 1.0), 2)(flat).image.shape == (1, 4, 4)


def test_missing_label_map(write):
    case = write(np.zeros((4, 4), np.float32), np.zeros((4, 4), np.uint8))
    with pytest.raises(FileNotFoundError, match="'x' has no label map"):
        reader()(Case("x", case.image, None, "x"))


def test_pictures_lie_as_volumes_do(tmp_path):
    for name in ("image", "label"):
        picture = np.zeros((6, 9), np.uint8)
        picture[0, 8] = 1  # its top right, the patient's left and front
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    pair = PairReader({"lung": 1}, (0.0, 255.0))(Case("x", tmp_path / "image.png", tmp_path / "label.png", "x"))
    assert pair.image.shape == (1, 9, 6)
    assert pair.mask.nonzero().tolist() == [[0, 0, 5]]
    assert torch.equal(pair.image > -1, pair.mask == 1)
