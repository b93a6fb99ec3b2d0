"""The detector of failed samples is tested on failures made on purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from monai_segdiff.data import CT_PHANTOM_RANGE, CTPhantom
from monai_segdiff.metrics import FailedSampleDetector, detail_share, dice_per_class, foreground_dice, noise_level

LOW, HIGH = CT_PHANTOM_RANGE


def phantom_slices(patients: range, slices: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = []
    for seed in patients:
        phantom = CTPhantom(seed)
        pairs += [phantom.render((64, 64), float(z)) for z in phantom.slice_positions(slices)]
    images = torch.from_numpy(np.stack([hu for hu, _ in pairs])).unsqueeze(1)
    masks = torch.from_numpy(np.stack([labels for _, labels in pairs])).long().unsqueeze(1)
    return ((images - LOW) * 2 / (HIGH - LOW) - 1).clamp(-1, 1), masks


def chest_xrays(data: Path, size: int) -> torch.Tensor:
    files = sorted((data / "cxr" / "mhh_v7" / "images").glob("*.png"))
    images = [np.asarray(Image.open(file).convert("L").resize((size, size), Image.Resampling.BOX)) for file in files]
    return torch.from_numpy(np.stack(images)).float().unsqueeze(1) / 127.5 - 1


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    return torch.from_numpy(np.stack([gaussian_filter(x, (0, *[sigma] * (x.ndim - 1))) for x in images.numpy()]))


def check_detector(fitted_on: torch.Tensor, unseen: torch.Tensor) -> None:
    """Each kind of failure is found in 95% of the images, sound ones are flagged in at most 2%."""
    detector = FailedSampleDetector.from_images(fitted_on)
    noise = torch.randn(unseen.shape, generator=torch.Generator().manual_seed(0))
    assert detector(unseen).float().mean() <= 0.02
    noised = unseen + 0.2 * noise  # std 0.1 of the range, which is 2 wide
    for failures in (noised, noised.clamp(-1, 1), noise, noise.clamp(-1, 1), blurred(unseen, 1.5)):
        assert detector(failures).float().mean() >= 0.95


@pytest.fixture(scope="module")
def phantoms() -> tuple[torch.Tensor, torch.Tensor]:
    return phantom_slices(range(60))


def test_ct_phantoms(phantoms):
    images, _ = phantoms
    check_detector(images[:120], images[120:])


@pytest.mark.data
@pytest.mark.parametrize("size", [32, 64, 128])
def test_chest_xrays(segdiff_data, size):
    images = chest_xrays(segdiff_data, size)
    check_detector(images[::2], images[1::2])


def test_ct_phantom_volumes():
    images = [CTPhantom(seed).render((32, 32, 32))[0] for seed in range(24)]
    volumes = ((torch.from_numpy(np.stack(images)).unsqueeze(1) - LOW) * 2 / (HIGH - LOW) - 1).clamp(-1, 1)
    check_detector(volumes[:12], volumes[12:])


def test_shuffled_masks_are_off_mask(phantoms):
    """A perfect reading of the image, held to a mask whose pixels were shuffled, at a ceiling of 0.9."""
    images, masks = phantoms
    generator = torch.Generator().manual_seed(0)
    pixels = masks[120:].flatten(2)
    orders = torch.rand(pixels.shape, generator=generator).argsort(-1)
    shuffled = pixels.gather(-1, orders).view_as(masks[120:])
    detector = FailedSampleDetector.from_images(images[:120], ceiling=0.9)
    wrong = foreground_dice(dice_per_class(masks[120:], shuffled, 6))
    right = foreground_dice(dice_per_class(masks[120:], masks[120:], 6))
    off_mask = detector.reasons(noise_level(images[120:]), detail_share(images[120:]), wrong)["off mask"]
    assert off_mask.float().mean() >= 0.95
    assert not detector(images[120:], right).any()


def test_not_finite_is_found_and_named(phantoms):
    images = phantoms[0][:6].clone()
    detector = FailedSampleDetector.from_images(images)
    images[1, 0, 3, 3] = torch.nan
    images[4, 0, 0, 0] = torch.inf
    found = detector.reasons(noise_level(images), detail_share(images))
    assert found["not finite"].tolist() == [False, True, False, False, True, False]
    assert detector(images).tolist() == [False, True, False, False, True, False]


def test_constant_image_is_blurred(phantoms):
    detector = FailedSampleDetector.from_images(phantoms[0][:20])
    found = detector.reasons(*(f(torch.full((1, 1, 64, 64), 0.3)) for f in (noise_level, detail_share)))
    assert [reason for reason, flags in found.items() if flags.any()] == ["blurred"]


def test_limits_are_the_stated_percentiles():
    noise, detail = torch.linspace(1, 2, 101), torch.linspace(1, 2, 101)
    detector = FailedSampleDetector.fit(noise, detail, ceiling=0.8)
    assert detector.noise_limit == pytest.approx(1.5 * 1.99)
    assert detector.detail_limit == pytest.approx(1.01 / 3)
    assert detector.dice_limit == pytest.approx(0.4)


def test_dice_counts_only_below_the_limit_and_where_there_is_one():
    detector = FailedSampleDetector(1.0, 0.0, 0.45)
    noise, detail = torch.zeros(3), torch.ones(3)
    found = detector.reasons(noise, detail, torch.tensor([0.44, 0.46, torch.nan]))
    assert found["off mask"].tolist() == [True, False, False]
    assert not FailedSampleDetector(1.0, 0.0).reasons(noise, detail, torch.zeros(3))["off mask"].any()


def test_a_better_mask_counts_above_the_limit_alone():
    detector = FailedSampleDetector(1.0, 0.0, 0.45, 0.01)
    noise, detail, dice = torch.zeros(4), torch.ones(4), torch.tensor([0.9, 0.9, 0.9, 0.4])
    found = detector.reasons(noise, detail, dice, torch.tensor([0.02, 0.005, torch.nan, -0.5]))
    assert found["off mask"].tolist() == [True, False, False, True]
    assert detector.reasons(noise, detail, dice)["off mask"].tolist() == [False, False, False, True]


def test_limit_of_the_advantage_is_at_least_a_hundredth():
    values = torch.linspace(0, 1, 101)
    fit = FailedSampleDetector.fit
    assert fit(values, values, advantage=0.1 * values).advantage_limit == pytest.approx(1.5 * 0.099)
    for advantage in (values - 2, torch.full((101,), torch.nan)):
        assert fit(values, values, advantage=advantage).advantage_limit == 0.02
    assert fit(values, values).advantage_limit is None


@pytest.mark.parametrize("shape", [(64, 64), (24, 24, 24)])
def test_noise_level_is_the_noise_s_standard_deviation(shape):
    noise = 0.1 * torch.randn(8, 1, *shape, generator=torch.Generator().manual_seed(1))
    assert noise_level(noise).mean() == pytest.approx(0.1, rel=0.08)


@pytest.mark.parametrize("dims", [2, 3])
def test_detail_share_of_white_noise_is_the_share_of_frequencies(dims):
    """White noise is spread evenly, so above 1/4 of the sampling rate lies 1 - (ball of radius 1/4 / unit cube)."""
    noise = torch.randn(64, 1, *[24] * dims, generator=torch.Generator().manual_seed(2))
    ball = {2: np.pi / 16, 3: np.pi / 48}[dims]
    assert detail_share(noise).mean() == pytest.approx(1 - ball, abs=0.02)


def test_detail_share_of_waves():
    x = torch.arange(64.0)
    fast, slow = (torch.cos(2 * np.pi * f * x).expand(1, 1, 64, 64) for f in (0.375, 0.125))
    assert detail_share(fast) == pytest.approx(1, abs=1e-6)
    assert detail_share(slow) == pytest.approx(0, abs=1e-6)
    assert detail_share(fast + slow) == pytest.approx(0.5, abs=1e-3)


def test_constant_real_images_do_not_set_the_limits(phantoms):
    """A limit of 0 would let every blurred sample pass."""
    images = phantoms[0][:40]
    with_blank = torch.cat([images, torch.full((10, 1, 64, 64), -1.0)])
    assert FailedSampleDetector.from_images(with_blank) == FailedSampleDetector.from_images(images)
    with pytest.raises(ValueError, match=r"all held-out ones are: check their files and the intensity_range"):
        FailedSampleDetector.from_images(with_blank[40:])


def test_no_real_image_is_refused():
    with pytest.raises(ValueError, match="at least one real image"):
        FailedSampleDetector.fit(torch.tensor([torch.nan]), torch.tensor([torch.nan]))
