from __future__ import annotations

import pytest
import torch

from benchmarks.xreal import lung_dice
from benchmarks.xreal_pathology import changes, peaks_inside
from monai_segdiff.evaluation.measure.measure import Measurements


def test_changes_are_told_apart_by_the_region() -> None:
    anatomies = torch.full((2, 1, 4, 4), 0.5)
    regions = torch.zeros_like(anatomies)
    regions[:, :, :2] = 1
    images = anatomies.clone()
    images[0, :, :2] += 0.25  # inside alone
    images[1, :, 3, 0] -= 0.4  # one of eight pixels outside
    found = changes(images, anatomies, regions, anatomies + 0.01)
    torch.testing.assert_close(found["inside"], torch.tensor([0.25, 0.0]))
    torch.testing.assert_close(found["outside"], torch.tensor([0.0, 0.05]))
    torch.testing.assert_close(found["own"], torch.tensor([0.01, 0.01]))


def test_dice_to_lungs_is_the_mean_of_both_and_leaves_the_heart_out() -> None:
    measured = Measurements.__new__(Measurements)
    object.__setattr__(measured, "dice", torch.tensor([[0.9, 0.1, 0.7], [float("nan"), 0.2, 0.6]]))
    found = lung_dice(measured, ["lung_right", "heart", "lung_left"])
    assert found.tolist() == pytest.approx([0.8, 0.6])


def test_the_surest_pixel_counts_in_the_region_and_a_little_beside_it() -> None:
    odds = torch.zeros(3, 8, 8)
    regions = torch.zeros(3, 8, 8)
    regions[:, :3] = 1
    for image, row in enumerate((2, 4, 7)):
        odds[image, row, 5] = 1
    assert peaks_inside(odds, regions, 0).tolist() == [True, False, False]
    assert peaks_inside(odds, regions, 2).tolist() == [True, True, False]
