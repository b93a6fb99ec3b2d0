"""FID and KID against closed forms, MONAI and torchmetrics."""

from __future__ import annotations

import pytest
import torch
from monai.metrics import FIDMetric
from torchmetrics.image.kid import poly_mmd

from monai_segdiff.metrics import frechet_distance, kid, kid_difference, realism
from monai_segdiff.metrics.realism import _frechet


def gaussian(n: int, seed: int, mean: float = 0.0, std: float = 1.0, dim: int = 4) -> torch.Tensor:
    return mean + std * torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_fid_of_gaussians_is_the_closed_form():
    """|m1 - m2|^2 + D (s1 - s2)^2 for isotropic covariances."""
    estimate = frechet_distance(gaussian(4000, 0), gaussian(4000, 1, mean=0.5, std=1.5), draws=50)
    assert estimate.value == pytest.approx(4 * 0.25 + 4 * 0.25, rel=0.06)
    assert estimate.low < 2.0 < estimate.high
    assert estimate.n == 4000


def test_resampling_formula_is_monai_s_distance():
    x, y = gaussian(60, 0, dim=8), gaussian(50, 1, std=2.0, dim=8)
    ours = _frechet(x, torch.ones(60).double(), y, torch.ones(50).double())
    assert float(ours) == pytest.approx(float(FIDMetric()(x, y)), rel=1e-8)


def test_fewer_images_than_features_still_agrees_with_monai():
    x, y = gaussian(20, 0, dim=32), gaussian(20, 1, mean=1.0, dim=32)
    ours = _frechet(x, torch.ones(20).double(), y, torch.ones(20).double())
    assert frechet_distance(y, x, draws=2).value == pytest.approx(float(ours), rel=1e-6)


def test_kid_of_equal_sizes_is_torchmetrics():
    x, y = gaussian(30, 0), gaussian(30, 1, mean=0.3)
    assert kid(x, y, draws=2).value == pytest.approx(float(poly_mmd(x, y)), rel=1e-10)


def test_kid_is_unbiased_whatever_the_sizes():
    """Over many pairs of small, unequal draws from one population the mean is 0 within its standard error."""
    values = torch.tensor([kid(gaussian(8, 2 * i), gaussian(13, 2 * i + 1), draws=2).value for i in range(400)])
    assert abs(float(values.mean())) < 3 * float(values.std()) / 20


def test_kid_converges_to_the_population_s_distance():
    """With one feature (xy + 1)^3 is a sum over j of binom(3, j) x^j y^j, so squared MMD is a sum over moments.

    MMD^2 = sum_j binom(3, j) (E x^j - E y^j)^2, with the first three moments of N(0, 1) and N(m, 1).
    """
    m = 0.5
    moments_x, moments_y = (0.0, 1.0, 0.0), (m, 1 + m**2, 3 * m + m**3)
    exact = sum(b * (p - q) ** 2 for b, p, q in zip((3, 3, 1), moments_x, moments_y, strict=True))
    estimate = kid(gaussian(1500, 0, dim=1), gaussian(1200, 1, mean=m, dim=1), draws=200)
    assert estimate.low < exact < estimate.high
    assert estimate.value == pytest.approx(exact, rel=0.2)


def test_kid_interval_covers_0_for_one_population_and_not_for_two():
    same = [kid(gaussian(60, 3 * i), gaussian(60, 3 * i + 1), draws=300, seed=i) for i in range(40)]
    assert sum(e.low <= 0 <= e.high for e in same) >= 36
    apart = kid(gaussian(60, 0), gaussian(60, 1, mean=0.8), draws=300)
    assert apart.low > 0


def test_resampled_kid_is_centered_on_the_value():
    """Pairing a resampled image with itself would shift every resample upwards."""
    estimate = kid(gaussian(40, 0, dim=16), gaussian(40, 1, dim=16), draws=3000)
    assert (estimate.low + estimate.high) / 2 == pytest.approx(
        estimate.value, abs=0.15 * (estimate.high - estimate.low)
    )


def test_copies_of_images_do_not_narrow_the_interval():
    x, y = gaussian(40, 0), gaussian(40, 1, mean=0.5)
    alone = kid(x, y, draws=2000)
    copied = kid(x, y.repeat(5, 1), synthetic_groups=list(range(40)) * 5, draws=2000)
    assert copied.groups == 40
    assert copied.high - copied.low > 0.9 * (alone.high - alone.low)


def test_paired_difference_is_exact_and_sharper_than_its_parts():
    real, a = gaussian(80, 0), gaussian(80, 1, mean=0.4)
    b = a + 0.01 * gaussian(80, 2)
    difference = kid_difference(real, a, b, draws=500)
    first, second = kid(real, a, draws=500), kid(real, b, draws=500)
    assert difference.value == pytest.approx(first.value - second.value, rel=1e-9)
    assert difference.low < 0 < difference.high
    assert difference.high - difference.low < 0.2 * (first.high - first.low)


def test_paired_difference_finds_the_worse_set():
    real, good = gaussian(80, 0), gaussian(80, 1)
    assert kid_difference(real, good + 1.0, good, draws=500).low > 0
    assert kid_difference(real, good, good + 1.0, draws=500).high < 0
    assert kid_difference(real, good, good, draws=50).value == 0


def test_too_few_images_are_not_computable():
    few = frechet_distance(gaussian(9, 0), gaussian(50, 1))
    assert few.value is None
    assert "at least 10 images" in few.reason
    assert "9 real" in few.reason
    assert kid(gaussian(3, 0), gaussian(50, 1)).value is None
    assert kid_difference(gaussian(3, 0), gaussian(50, 1), gaussian(50, 2)).value is None


def test_bad_features():
    with pytest.raises(ValueError, match=r"features must be \(N, D\)"):
        kid(gaussian(20, 0, dim=3), gaussian(20, 1, dim=4))
    bad = gaussian(20, 0)
    bad[3, 1] = torch.nan
    with pytest.raises(ValueError, match="synthetic features are not finite"):
        frechet_distance(gaussian(20, 1), bad)
    with pytest.raises(ValueError, match="paired"):
        kid_difference(gaussian(20, 0), gaussian(20, 1), gaussian(19, 1))


def test_one_patient_has_no_interval():
    estimate = kid(gaussian(20, 0), gaussian(20, 1), real_groups=["p"] * 20, draws=10)
    assert estimate.value is not None
    assert estimate.low is None
    assert frechet_distance(gaussian(20, 0), gaussian(20, 1), real_groups=["p"] * 20).low is None


def test_a_kernel_that_is_made_some_rows_at_a_time_gives_the_same(monkeypatch):
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.randn(n, 6, generator=generator) for n in (23, 31))
    groups = [i // 3 for i in range(23)]
    whole = realism.kid(a, b, groups, draws=50)
    monkeypatch.setattr(realism, "_KERNEL_ENTRIES", 100)
    parts = realism.kid(a, b, groups, draws=50)
    for name in ("value", "low", "high"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-9)
