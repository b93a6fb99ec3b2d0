"""Words in pictures: they are there, and change nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from monai_segdiff.pictures.lettering import burn_in, lettered

GRAY = np.full((64, 96, 3), 128, dtype=np.uint8)


@pytest.mark.parametrize("width", [200, 96, 40])
def test_a_word_is_burnt_into_a_corner_alone(width: int) -> None:
    tile = np.full((64, width, 3), 128, dtype=np.uint8)
    burnt = burn_in(tile)
    assert burnt.shape == tile.shape
    assert burnt.dtype == np.uint8
    changed = (burnt != tile).any(2)
    assert changed[-20:].any()
    assert not changed[:44].any(), "the upper part of the image stays"
    assert burnt.max() > 180, "letters are bright"
    assert burnt.min() < 60, "a dark outline makes it legible on white"
    assert (tile == 128).all(), "what was given stays"


def test_a_tile_that_is_too_small_for_letters_stays() -> None:
    tile = GRAY[:16, :16]
    assert np.array_equal(burn_in(tile), tile)


def test_names_stand_beside_what_they_name() -> None:
    drawn = lettered(GRAY, ["a", "b"], ["x", "y", "z"])
    top, left = drawn.shape[0] - 64, drawn.shape[1] - 96
    assert (drawn[top:, left:] == GRAY).all(), "the picture itself is the same"
    dark = (drawn < 100).all(2)
    for half in (slice(top, top + 32), slice(top + 32, None)):
        assert dark[half, :left].any(), "each row has its name"
    for third in range(3):
        assert dark[:top, left + 32 * third : left + 32 * (third + 1)].any(), "each column has its name"


def test_a_legend_shows_each_color_and_wraps() -> None:
    colors = {f"class number {i}": (10 * i, 200, 255 - 10 * i) for i in range(12)}
    drawn = lettered(GRAY, legend=colors)
    below = drawn[64:].reshape(-1, 3)
    for color in colors.values():
        assert (below == color).all(1).sum() >= 100
    assert drawn.shape[0] > lettered(GRAY, legend=dict(list(colors.items())[:1])).shape[0]


def test_without_words_nothing_changes() -> None:
    assert lettered(GRAY) is GRAY
