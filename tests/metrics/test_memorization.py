"""The memorized share where it is known: none, some and all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_segdiff.metrics import memorized_share, nearest_distances
from monai_segdiff.metrics.memorization import _weighted_quantiles


def population(number: int, seed: int, dim: int = 8) -> torch.Tensor:
    return torch.randn(number, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def share_of(synthetic: torch.Tensor, seed: int, number: int = 500, **options):
    training, held_out = population(number, 3 * seed), population(number, 3 * seed + 1)
    distances = (nearest_distances(x, training)[0] for x in (synthetic, held_out))
    return memorized_share(*distances, draws=400, seed=seed, **options)


def test_nearest_is_found_and_an_exact_copy_is_at_no_distance():
    references = population(50, 0) + 1000
    queries = references[[7, 3]] + torch.tensor([[0.0], [1e-6]]).double()
    distances, indices = nearest_distances(queries, references)
    assert indices.tolist() == [7, 3]
    assert distances.tolist() == pytest.approx([0, 1e-6 * 8**0.5], rel=1e-6)
    brute = torch.cdist(population(20, 1), population(30, 2)).min(1)
    found = nearest_distances(population(20, 1), population(30, 2))
    torch.testing.assert_close(found[0], brute.values)
    assert torch.equal(found[1], brute.indices)


def test_a_new_draw_is_not_memorized():
    """20 populations: the interval holds 0 in at least 18, and the mean share is 0 within its error."""
    found = [share_of(population(500, 3 * seed + 2), seed) for seed in range(20)]
    assert sum(e.low <= 0 <= e.high for e in found) >= 18
    assert abs(np.mean([e.value for e in found])) < 3 * np.std([e.value for e in found]) / 20**0.5


def test_planted_copies_are_counted():
    """10% copies: 0.1 of the share, and what is left of the rest, 0.9 * 0.05, minus 0.05."""
    for seed in range(5):
        synthetic = population(500, 3 * seed + 2)
        synthetic[:50] = population(500, 3 * seed)[:50] + 0.02 * population(50, 99)
        found = share_of(synthetic, seed)
        assert found.low > 0
        assert found.low < 0.095 < found.high
    assert share_of(population(500, 0), 0).value == pytest.approx(0.95)


def test_images_far_from_all_are_not_memorized():
    found = share_of(population(500, 2) + 50, 0)
    assert found.value == pytest.approx(-0.05)


def test_sizes_bring_no_bias():
    """27 held-out images against many; the usual quantile would call 8% - 5% = 3% memorized."""
    generator = torch.Generator().manual_seed(0)
    values = [
        memorized_share(torch.rand(400, generator=generator), torch.rand(27, generator=generator), draws=2).value
        for _ in range(400)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20


def test_the_threshold_s_own_uncertainty_is_in_the_interval():
    """Two thousand synthetic images say much, sixty held-out ones little; the interval is as wide as these make it."""
    generator = torch.Generator().manual_seed(1)
    found = [
        memorized_share(
            torch.rand(2000, generator=generator), torch.rand(60, generator=generator), draws=400, seed=seed
        )
        for seed in range(40)
    ]
    assert sum(e.low <= 0 <= e.high for e in found) >= 34
    fixed_threshold = 3.92 * (0.05 * 0.95 / 2000) ** 0.5
    assert np.mean([e.high - e.low for e in found]) > 4 * fixed_threshold


def test_patients_are_resampled_whole_and_with_both_kinds_of_images():
    generator = torch.Generator().manual_seed(2)
    centers = torch.rand(100, generator=generator).repeat_interleave(5)
    jitter = 1e-3 * torch.rand(2, 500, generator=generator)
    patients = [f"p{i // 5}" for i in range(500)]
    together = memorized_share(centers + jitter[0], centers + jitter[1], patients, patients)
    apart = memorized_share(centers + jitter[0], centers + jitter[1], [f"s{p}" for p in patients], patients)
    alone = memorized_share(centers + jitter[0], centers + jitter[1])
    assert together.groups == apart.groups == 100
    # What is near for one patient's real images is near for the synthetic ones of that patient's masks.
    assert together.high - together.low < 0.5 * (apart.high - apart.low)
    assert alone.high - alone.low < apart.high - apart.low


def test_resampled_quantile_is_numpy_s():
    generator = torch.Generator().manual_seed(3)
    values = torch.rand(30, generator=generator, dtype=torch.float64)
    counts = torch.randint(0, 4, (20, 30), generator=generator).double()
    wanted = [np.quantile(values.repeat_interleave(row.long()).numpy(), 0.05, method="weibull") for row in counts]
    assert _weighted_quantiles(values, counts).tolist() == pytest.approx(wanted, abs=1e-12)


def test_what_cannot_be_computed_says_why():
    few = memorized_share(torch.rand(50), torch.rand(19))
    assert few.value is None
    assert "at least 20 held-out" in few.reason
    copies = memorized_share(torch.rand(50), torch.zeros(50))
    assert "equals a training image" in copies.reason
    assert memorized_share(torch.rand(50), torch.rand(50), ["p"] * 50, ["p"] * 50).low is None
    with pytest.raises(ValueError, match="not finite"):
        memorized_share(torch.tensor([torch.nan]), torch.rand(50))
    with pytest.raises(ValueError, match="one width"):
        nearest_distances(population(3, 0), population(3, 0, dim=4))
