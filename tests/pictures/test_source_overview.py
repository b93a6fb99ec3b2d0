from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from monai_segdiff.data import Case
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.pictures.lettering import edge_letters, titled
from monai_segdiff.pictures.source_overview import ShownCase, source_overview
from monai_segdiff.pictures.tiles import class_color

TILE = 96
FRAME = (255, 255, 0)


@pytest.fixture
def case(tmp_path):
    """A volume that is bright in the patient's front right upper eighth, where the class is."""
    label = np.zeros((16, 20, 12), np.uint8)
    label[10:16, 12:20, 7:12] = 3
    save_nifti(tmp_path / "i.nii.gz", label * 100.0, np.eye(4))
    save_nifti(tmp_path / "l.nii.gz", label, np.eye(4))
    return Case("a", tmp_path / "i.nii.gz", tmp_path / "l.nii.gz", "A")


def tile(pixels, column, heading=26):
    """A tile of a picture with one row, whose name stands to its left."""
    left = pixels.shape[1] - 3 * TILE
    return pixels[heading : heading + TILE, left + column * TILE : left + (column + 1) * TILE]


def share(tile_, color):
    return (tile_ == color).all(-1)


def test_sides_lie_where_the_letters_say(case):
    pixels = source_overview([ShownCase(case, "A")], {"organ": 3}, axis=2, tile_size=TILE)
    outline = class_color(1)
    for column in range(3):
        rows, columns = np.nonzero(share(tile(pixels, column), outline))
        # Right, and in the sagittal plane anterior, is on the left; anterior or superior is above.
        assert rows.mean() < TILE / 2
        assert columns.mean() < TILE / 2


def test_the_planned_plane_comes_first_and_classes_are_named(case):
    planned = source_overview([ShownCase(case, "A")], {"organ": 3}, axis=1, tile_size=TILE)
    axial = source_overview([ShownCase(case, "A")], {"organ": 3}, axis=2, tile_size=TILE)
    assert np.array_equal(tile(planned, 0), tile(axial, 1))
    assert share(planned[-24:], class_color(1)).any(), "the legend"


def test_the_frame_is_what_the_network_sees(case):
    seen = [(4.0, 16.0), (8.0, 20.0), (0.0, 12.0)]
    framed = source_overview([ShownCase(case, "A", seen)], {"organ": 3}, axis=2, tile_size=TILE)
    lines = np.flatnonzero(share(tile(framed, 0), FRAME).sum(1) > TILE / 3)  # letters are narrower
    # 20 voxels are 96 pixels; of the front the frame holds 12 of them, from the upper rim on.
    assert lines.min() <= 1
    assert lines.max() == pytest.approx(12 * TILE / 20, abs=2)
    plain = source_overview([ShownCase(case, "A")], {"organ": 3}, axis=2, tile_size=TILE)
    assert share(tile(plain, 0), FRAME).sum() < share(tile(framed, 0), FRAME).sum()


def test_a_picture_is_shown_as_a_viewer_shows_it(tmp_path):
    image = np.zeros((40, 60), np.uint8)
    image[:10, :15] = 255
    Image.fromarray(image).save(tmp_path / "i.png")
    Image.fromarray((image > 0).astype(np.uint8)).save(tmp_path / "l.png")
    shown = ShownCase(Case("x", tmp_path / "i.png", tmp_path / "l.png", "x"), "x")
    pixels = source_overview([shown], {"corner": 1}, tile_size=TILE)
    tile_ = pixels[26 : 26 + TILE, -TILE:] if pixels.shape[1] > 200 else pixels[26 : 26 + TILE, 20 : 20 + TILE]
    rows, _ = np.nonzero(share(tile_, class_color(1)))
    assert rows.mean() < TILE / 2


def test_letters_stand_at_the_edges_alone():
    tile_ = np.zeros((64, 64, 3), np.uint8)
    lettered = edge_letters(tile_, "RLAP")
    assert lettered[:, :16].any()
    assert lettered[:, -16:].any()
    assert lettered[:16].any()
    assert lettered[-16:].any()
    assert not lettered[24:40, 24:40].any()
    assert not edge_letters(tile_, "").any()


def test_long_lines_are_broken_above_a_picture():
    pixels = np.zeros((10, 200, 3), np.uint8)
    one, many = titled(pixels, ["short"]), titled(pixels, ["a long line of many words " * 5])
    assert many.shape[0] > one.shape[0] > pixels.shape[0]
    assert many.shape[1] == 200
    assert np.array_equal(many[-10:], pixels)
    assert titled(pixels, []).shape == pixels.shape
