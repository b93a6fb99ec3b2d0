from __future__ import annotations

import numpy as np
import torch

from monai_segdiff.handlers import class_color, color_labels, picture_grid
from monai_segdiff.pictures.tiles import gray_levels, middle_slice


def test_background_is_black_and_classes_are_told_apart() -> None:
    colors = np.array([class_color(label) for label in range(13)], dtype=float)
    assert not colors[0].any()
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=-1) + 1e9 * np.eye(13)
    assert distances.min() > 35


def test_labels_take_the_color_of_their_id() -> None:
    pixels = color_labels(torch.tensor([[0, 117], [2, 0]]))
    assert pixels.dtype == np.uint8
    assert tuple(pixels[0, 1]) == class_color(117)
    assert tuple(pixels[1, 0]) == class_color(2)
    assert not pixels[[0, 1], [0, 1]].any()


def test_intensities_span_black_to_white_and_are_clipped() -> None:
    pixels = gray_levels(torch.tensor([[[-3.0, -1.0, 0.0, 1.0, 2.0]]]))
    assert pixels.shape == (1, 5, 3)
    assert pixels[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    pixels = gray_levels(torch.tensor([[[-1.0, 0.0, 0.2, 1.0, 2.0]]]), (0.0, 1.0))
    assert pixels[0, :, 0].tolist() == [0, 0, 51, 255, 255]


def test_what_is_no_number_is_black_and_what_is_infinite_is_clipped() -> None:
    pixels = gray_levels(torch.tensor([[[torch.nan, -torch.inf, torch.inf]]]))
    assert pixels[0, :, 0].tolist() == [0, 0, 255]


def test_three_channels_are_colors_and_two_show_the_first() -> None:
    red = torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1)
    assert gray_levels(red)[0, 0].tolist() == [255, 0, 0]
    assert gray_levels(red[:2])[0, 0].tolist() == [255, 255, 255]


def test_slice_with_most_foreground_is_shown() -> None:
    labels = torch.zeros(4, 4, 5)
    labels[0, 0, 1], labels[:2, :, 3] = 7, 1
    assert middle_slice(labels) == 3


def test_grid_enlarges_by_whole_factors() -> None:
    black, gray = np.zeros((3, 5, 3), np.uint8), np.full((3, 5, 3), 9, np.uint8)
    grid = picture_grid([[black, gray], [gray, black]], tile_size=10, gap=2)
    assert grid.shape == (2 * 6 + 2, 2 * 10 + 2, 3)
    assert not grid[:6, :10].any()
    assert (grid[:6, 12:] == 9).all()
    assert (grid[6:8] == 255).all()
    assert (grid[:, 10:12] == 255).all()


def test_grid_of_large_tiles_is_not_enlarged_and_can_do_without_gap() -> None:
    tile = np.zeros((20, 10, 3), np.uint8)
    assert picture_grid([[tile, tile]], tile_size=16, gap=0).shape == (20, 20, 3)
