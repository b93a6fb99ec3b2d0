"""Some of many items, evenly spaced."""

from __future__ import annotations

import pytest

from monai_segdiff.evenly import evenly


def test_each_chosen_item_stands_for_as_many():
    assert evenly(range(10), 5) == [0, 2, 4, 6, 8]
    assert evenly("abcdefg", 3) == ["a", "c", "e"]


def test_the_last_one_is_among_them_where_that_is_wanted():
    assert evenly(range(10), 4, with_last=True) == [0, 3, 6, 9]
    assert evenly(range(10), 1, with_last=True) == [0]


@pytest.mark.parametrize("number", [3, 4, None])
@pytest.mark.parametrize("with_last", [False, True])
def test_few_items_are_all_taken(number, with_last):
    assert evenly((1, 2, 3), number, with_last) == [1, 2, 3]


def test_none_is_no_choice():
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        evenly(range(3), 0)
