"""Exact rates against scipy and simulation; thresholds against every other one."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest

from monai_segdiff.metrics import exact_rate, youden_threshold


@pytest.mark.parametrize(("count", "n"), [(0, 20), (20, 20), (7, 31), (1, 1)])
def test_independent_images_give_the_clopper_pearson_interval(count, n):
    found = exact_rate(torch.arange(n) < count, range(n))
    wanted = binomtest(count, n).proportion_ci()
    assert (found.value, found.n, found.groups) == (count / n, n, n)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_images_of_one_patient_that_all_agree_count_for_one():
    per_patient = torch.arange(30) < 12
    alone = exact_rate(per_patient)
    repeated = exact_rate(per_patient.repeat_interleave(10), [i // 10 for i in range(300)])
    assert (repeated.value, repeated.n, repeated.groups) == (alone.value, 300, 30)
    # Korn and Graubard's correction for the few groups makes it a little wider still.
    assert repeated.low == pytest.approx(alone.low, abs=0.02)
    assert repeated.high == pytest.approx(alone.high, abs=0.02)
    unanimous = exact_rate(torch.ones(300, dtype=torch.bool), [i // 10 for i in range(300)])
    assert unanimous.low == pytest.approx(binomtest(30, 30).proportion_ci().low)


def test_interval_covers_the_rate_of_patients_that_differ():
    generator = torch.Generator().manual_seed(0)
    covered = plain = 0
    for _ in range(120):
        # Rates of patients are 0.2 or 0.9 with equal chances; 0.55 in the population.
        rates = torch.where(torch.rand(40, 1, generator=generator) < 0.5, 0.2, 0.9)
        flags = (torch.rand(40, 6, generator=generator) < rates).flatten()
        found = exact_rate(flags, [i // 6 for i in range(240)])
        narrow = binomtest(int(flags.sum()), 240).proportion_ci()
        covered += found.low <= 0.55 <= found.high
        plain += narrow.low <= 0.55 <= narrow.high
    assert covered >= 0.93 * 120
    assert plain < 0.85 * 120


def test_without_images_or_with_one_patient():
    assert exact_rate(torch.zeros(0, dtype=torch.bool)).reason == "there is no such image"
    one = exact_rate(torch.tensor([True, False]), ["a", "a"])
    assert (one.value, one.low, one.high, one.groups) == (0.5, None, None, 1)


def test_threshold_lies_in_the_middle_of_the_gap():
    scores = torch.tensor([0.0, 1.0, 2.0, 5.0, 6.0])
    assert youden_threshold(scores, torch.tensor([False, False, False, True, True])) == 3.5


def test_no_other_threshold_is_better():
    generator = torch.Generator().manual_seed(1)
    positive = torch.rand(60, generator=generator) < 0.3
    scores = torch.randn(60, generator=generator).round(decimals=1) + positive

    def index(threshold: float) -> float:
        seen = scores > threshold
        return float(seen[positive].float().mean() - seen[~positive].float().mean())

    best = youden_threshold(scores, positive)
    assert index(best) >= max(index(float(score)) for score in scores) - 1e-6
    with pytest.raises(ValueError, match="positive and negative images"):
        youden_threshold(scores, torch.ones(60, dtype=torch.bool))
