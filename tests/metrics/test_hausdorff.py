"""95% Hausdorff distance against closed forms and MONAI's own function."""

from __future__ import annotations

import math

import pytest
import torch
from monai.metrics import compute_hausdorff_distance
from monai.networks.utils import one_hot

from monai_segdiff.metrics import hausdorff_per_class


def square(start: int, shape: tuple[int, ...] = (32, 32), size: int = 10, index: int = 1) -> torch.Tensor:
    mask = torch.zeros(1, 1, *shape, dtype=torch.int64)
    mask[(0, 0, *[slice(start, start + size)] * len(shape))] = index
    return mask


@pytest.mark.parametrize("shape", [(32, 32), (20, 20, 20)])
def test_a_shift_along_one_axis_is_its_length(shape):
    mask = square(4, shape)
    moved = mask.roll(3, dims=2)
    assert hausdorff_per_class(moved, mask, 1).item() == 3
    spacing = [[2.5, *[1.0] * (len(shape) - 1)]]
    assert hausdorff_per_class(moved, mask, 1, spacing).item() == 7.5


def test_equal_maps_are_at_no_distance_and_a_speck_is_within_the_farthest_5_percent():
    mask = square(4)
    assert hausdorff_per_class(mask, mask, 1).item() == 0
    speck = mask.clone()
    speck[0, 0, 30, 30] = 1
    assert hausdorff_per_class(speck, mask, 1).item() == 0


@pytest.mark.parametrize("shape", [(24, 20), (12, 10, 11)])
@pytest.mark.parametrize("spacing", [None, 0.7])
def test_agrees_with_monai(shape, spacing):
    """Random maps, whose classes touch the border; MONAI crops first."""
    generator = torch.Generator().manual_seed(0)
    pool = torch.nn.functional.interpolate
    read, mask = (
        pool(torch.randint(0, 4, (5, 1, *[3] * len(shape)), generator=generator).float(), size=shape).long()
        for _ in range(2)
    )
    sizes = None if spacing is None else [[spacing * (k + 1) for k in range(len(shape))]] * 5
    found = hausdorff_per_class(read, mask, 3, sizes)
    wanted = compute_hausdorff_distance(one_hot(read, 4), one_hot(mask, 4), percentile=95, spacing=sizes)
    both = torch.isfinite(wanted)
    assert both.sum() > 5
    torch.testing.assert_close(found[both], wanted[both])


def test_a_class_not_found_counts_as_the_diagonal_and_one_not_asked_for_does_not_count():
    mask, read = square(4, index=1), square(4, index=2)
    found = hausdorff_per_class(read, mask, 2, [[2.0, 1.0]])
    assert found[0, 0].item() == pytest.approx(math.hypot(62, 31))
    assert found[0, 1].isnan()


def test_bad_input():
    with pytest.raises(ValueError, match="one shape"):
        hausdorff_per_class(square(4)[..., :9], square(4), 1)
    with pytest.raises(ValueError, match="one row of 2 numbers"):
        hausdorff_per_class(square(4), square(4), 1, [[1.0, 1.0, 1.0]])
    assert hausdorff_per_class(square(4)[:0], square(4)[:0], 3).shape == (0, 3)
