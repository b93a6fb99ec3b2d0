"""MS-SSIM, the scales that fit, and pairs."""

from __future__ import annotations

import math

import pytest
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from monai_segdiff.metrics import SimilarityScales, bootstrap_pairs, draw_pairs, ms_ssim


def images(number: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((number, 1, *shape), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("side", "scales", "kernel"),
    [
        *[(256, 5, 11), (176, 5, 11), (175, 4, 11), (128, 4, 11), (64, 3, 11), (48, 3, 11), (32, 2, 11)],
        *[(16, 1, 11), (10, 1, 9), (9, 1, 9), (3, 1, 3)],
    ],
)
def test_as_many_scales_as_fit(side, scales, kernel):
    found = SimilarityScales.for_size((side, 300))
    assert (len(found.weights), found.kernel) == (scales, kernel)
    assert sum(found.weights) == pytest.approx(1)
    assert str(found) == f"{scales} of 5 scales, a window of {kernel} pixels"


@pytest.mark.parametrize("side", range(3, 200))
def test_whatever_the_size_it_can_be_computed(side):
    """MONAI's own check passes sizes that fail, and refuses others that work."""
    scales = SimilarityScales.for_size((side, side))
    assert side >> (len(scales.weights) - 1) >= scales.kernel
    if side in (3, 10, 11, 15, 22, 43, 44, 87, 98, 99, 175, 176):
        same = images(1, side, side)
        assert ms_ssim(same, same, scales).item() == pytest.approx(1, abs=1e-5)


def test_five_scales_are_as_in_torchmetrics():
    first = torch.nn.functional.interpolate(images(2, 24, 24), size=(192, 192), mode="bilinear")
    second = (0.8 * first + 0.2 * images(2, 192, 192, seed=1)).clamp(0, 1)
    wanted = multiscale_structural_similarity_index_measure(second, first, data_range=1.0, reduction="none")
    # torchmetrics pads at the border and takes its own weights, rounded as published.
    assert ms_ssim(first, second) == pytest.approx(wanted.double(), abs=0.01)


def test_one_scale_is_ssim():
    first, second = images(1, 16, 16), images(1, 16, 16, seed=1)
    wanted = structural_similarity(
        first[0, 0].double().numpy(),
        second[0, 0].double().numpy(),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ms_ssim(0.5 + 0.1 * first, 0.5 + 0.1 * first).item() == pytest.approx(1, abs=1e-5)
    assert ms_ssim(first, second).item() == pytest.approx(max(wanted, 0), abs=1e-3)


def test_noise_lowers_it_step_by_step_in_2d_and_3d():
    for shape in ((48, 48), (24, 24, 24)):
        clean = torch.nn.functional.interpolate(images(1, *[6] * len(shape)), size=shape)
        noise = images(1, *shape, seed=1) - 0.5
        found = [ms_ssim(clean, (clean + k * noise).clamp(0, 1)).item() for k in (0, 0.1, 0.3, 1)]
        assert found == sorted(found, reverse=True)
        assert found[0] == pytest.approx(1, abs=1e-5)


def test_constant_images_are_alike():
    assert ms_ssim(torch.full((1, 1, 32, 32), 0.5), torch.full((1, 1, 32, 32), 0.5)).item() == pytest.approx(1)


def test_bad_images():
    with pytest.raises(ValueError, match="one shape"):
        ms_ssim(images(1, 32, 32), images(2, 32, 32))
    with pytest.raises(ValueError, match="at least 3 pixels"):
        SimilarityScales.for_size((64, 2))


def test_pairs_within_groups_and_between_them():
    masks = [i // 3 for i in range(30)]
    patients = [mask // 5 for mask in masks]
    within = draw_pairs(masks, None, 20, seed=1)
    assert len(within) == len(set(within)) == 20
    assert all(i < j and masks[i] == masks[j] for i, j in within)
    between = draw_pairs(masks, patients, 50, seed=1)
    assert len(between) == len(set(between)) == 50
    assert all(masks[i] != masks[j] and patients[i] != patients[j] for i, j in between)
    assert draw_pairs(masks, patients, 50, seed=1) == between
    assert draw_pairs(masks, patients, 50, seed=2) != between


def test_pairs_that_do_not_exist():
    assert draw_pairs([0, 1, 2], None, 5) == []
    assert draw_pairs([0, 0, 0], [0, 0, 0], 5) == []
    assert draw_pairs([], [], 5) == []
    assert sorted(draw_pairs([0, 0, 1], None, 5)) == [(0, 1)]


def test_interval_of_pairs_covers_the_mean():
    """Pairs share items; taking them for independent would give an interval that is far too narrow."""
    covered, narrow = 0, 0
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        items = torch.randn(30, generator=generator)
        pairs = draw_pairs(list(range(30)), list(range(30)), 200, seed)
        values = torch.stack([items[i] + items[j] for i, j in pairs])
        found = bootstrap_pairs(values, [i for i, _ in pairs], [j for _, j in pairs], draws=300, seed=seed)
        covered += found.low <= 0 <= found.high
        narrow += abs(values.mean()) <= 1.96 * values.std() / math.sqrt(200)
    assert covered >= 52
    assert narrow < 35


def test_pairs_of_one_patient_have_no_interval():
    assert bootstrap_pairs(torch.ones(3), ["a"] * 3, ["a"] * 3).low is None
    assert "no such pair" in bootstrap_pairs(torch.empty(0), [], []).reason
