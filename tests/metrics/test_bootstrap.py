"""The bootstrap: known spreads, whole groups, and what it says when there is nothing to resample."""

from __future__ import annotations

import pytest
import torch

from monai_segdiff.metrics import bootstrap_mean, bootstrap_ratio, bootstrap_repeats
from monai_segdiff.metrics.bootstrap import bootstrap_counts


def test_interval_is_that_of_a_normal_mean():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    estimate = bootstrap_mean(values, draws=4000)
    half = 1.96 * float(values.std()) / 20
    assert estimate.value == pytest.approx(float(values.mean()))
    assert estimate.high - estimate.low == pytest.approx(2 * half, rel=0.06)
    assert (estimate.n, estimate.groups) == (400, 400)


def test_interval_covers_the_truth_as_often_as_it_claims():
    generator = torch.Generator().manual_seed(1)
    estimates = [bootstrap_mean(torch.randn(60, generator=generator), draws=400, seed=i) for i in range(200)]
    covered = sum(e.low <= 0 <= e.high for e in estimates) / 200
    assert 0.90 <= covered <= 0.99


def test_groups_are_resampled_whole():
    """Ten copies of each value carry no more information than the values alone."""
    values = torch.randn(40, generator=torch.Generator().manual_seed(2))
    alone = bootstrap_mean(values, draws=2000)
    copies = bootstrap_mean(values.repeat(10), list(range(40)) * 10, draws=2000)
    assert copies.groups == 40
    assert (copies.low, copies.high) == pytest.approx((alone.low, alone.high), abs=1e-6)


def test_missing_values_are_left_out():
    values = torch.tensor([1.0, torch.nan, 3.0, torch.nan])
    estimate = bootstrap_mean(values, ["a", "a", "b", "c"])
    assert (estimate.value, estimate.n, estimate.groups) == (2.0, 2, 2)
    nothing = bootstrap_mean(torch.full((3,), torch.nan))
    assert nothing.value is None
    assert nothing.reason == "no image has a value"


def test_one_group_has_no_interval():
    estimate = bootstrap_mean(torch.tensor([0.5, 0.7]), ["p", "p"])
    assert estimate.value == pytest.approx(0.6)
    assert estimate.low is None
    assert estimate.high is None


def test_ratio_of_exact_multiples():
    values = torch.rand(50, generator=torch.Generator().manual_seed(3)) + 1
    ratio = bootstrap_ratio(values, torch.full((9,), 2.0))
    mean = bootstrap_mean(values)
    assert ratio.value == pytest.approx(mean.value / 2)
    assert (ratio.low, ratio.high) == pytest.approx((mean.low / 2, mean.high / 2))
    assert bootstrap_ratio(values, torch.zeros(4)).value is None


def test_counts_are_resamples_of_equal_size():
    counts = bootstrap_counts(7, 5000, seed=0)
    assert (counts.sum(1) == 7).all()
    assert counts.mean(0) == pytest.approx(torch.ones(7), abs=0.06)


def test_groups_must_match_the_values():
    with pytest.raises(ValueError, match="2 groups for 3 items"):
        bootstrap_mean(torch.ones(3), ["a", "b"])


def test_repeats_widen_the_interval_by_their_own_spread():
    generator = torch.Generator().manual_seed(4)
    items = torch.randn(200, generator=generator, dtype=torch.float64)
    same = bootstrap_repeats(items.repeat(3, 1), draws=3000)
    alone = bootstrap_mean(items, draws=3000)
    assert (same.low, same.high) == pytest.approx((alone.low, alone.high), abs=1e-9)
    spread = bootstrap_repeats(items + torch.tensor([[-1.0], [0.0], [1.0]]), draws=3000)
    assert spread.value == pytest.approx(alone.value)
    assert spread.high - spread.low > 3 * (alone.high - alone.low)
    assert (spread.n, spread.groups) == (200, 200)


def test_repeats_leave_missing_items_out():
    values = torch.tensor([[1.0, torch.nan, 3.0], [2.0, torch.nan, 4.0]])
    found = bootstrap_repeats(values, ["a", "b", "c"])
    assert (found.value, found.n, found.groups) == (2.5, 2, 2)
    assert bootstrap_repeats(values, ["a", "b", "a"]).low is None
    assert bootstrap_repeats(torch.full((2, 3), torch.nan)).value is None
