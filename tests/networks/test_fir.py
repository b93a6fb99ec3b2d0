"""FIR resampling: equal to scipy's filters, exact on constants and slopes, blind to aliases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from scipy.signal import upfirdn

from monai_segdiff.networks.fir import fir_downsample, fir_upsample

TAPS = np.array([1.0, 3.0, 3.0, 1.0])


def image(shape: tuple[int, ...] = (2, 3, 8, 12), dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def down_oracle(values: np.ndarray, axis: int) -> np.ndarray:
    """upfirdn on the image continued by one border value to each side; the first output lies past the ramp-up."""
    wide = np.pad(values, [(1, 1) if i == axis else (0, 0) for i in range(values.ndim)], mode="edge")
    filtered = upfirdn(TAPS / 8, wide, up=1, down=1, axis=axis)
    picked = np.arange(3, 3 + values.shape[axis], 2)
    return np.take(filtered, picked, axis=axis)


def up_oracle(values: np.ndarray, axis: int) -> np.ndarray:
    wide = np.pad(values, [(1, 1) if i == axis else (0, 0) for i in range(values.ndim)], mode="edge")
    filtered = upfirdn(TAPS / 4, wide, up=2, down=1, axis=axis)
    picked = np.arange(3, 3 + 2 * values.shape[axis])
    return np.take(filtered, picked, axis=axis)


def test_downsampling_is_scipys_filter() -> None:
    x = image()
    expected = down_oracle(down_oracle(x.numpy(), 2), 3)
    np.testing.assert_allclose(fir_downsample(x).numpy(), expected, rtol=0, atol=1e-14)


def test_upsampling_is_scipys_filter() -> None:
    x = image()
    expected = up_oracle(up_oracle(x.numpy(), 2), 3)
    np.testing.assert_allclose(fir_upsample(x).numpy(), expected, rtol=0, atol=1e-14)


def test_downsampling_is_the_image_filter_of_scipy_with_its_nearest_border() -> None:
    """Another implementation with a border of its own: ndimage continues by border values before it filters."""
    x = image((1, 1, 6, 10))
    expected = x[0, 0].numpy()
    for axis in (0, 1):
        # An even filter reaches further to the left by one; the origin moves that to the right.
        expected = correlate1d(expected, TAPS / 8, axis=axis, mode="nearest", origin=-1)
        expected = np.take(expected, np.arange(0, expected.shape[axis], 2), axis=axis)
    np.testing.assert_allclose(fir_downsample(x)[0, 0].numpy(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("resample", [fir_downsample, fir_upsample])
def test_constants_stay_what_they_are_up_to_the_border(resample) -> None:
    value = torch.tensor([128.0, -0.3]).view(1, 2, 1, 1).expand(1, 2, 6, 4)
    result = resample(value)
    assert torch.allclose(result, value[:, :, :1, :1].expand_as(result), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("resample", "factor"), [(fir_downsample, 2.0), (fir_upsample, 0.5)])
def test_slopes_stay_where_they_are(resample, factor: float) -> None:
    """Pixel i of the result lies at factor (i + 1/2) - 1/2: nothing is shifted."""
    x = torch.arange(12, dtype=torch.float64).view(1, 1, 12, 1).expand(1, 1, 12, 8)
    result = resample(x)[0, 0, :, 0]
    expected = factor * (torch.arange(len(result), dtype=torch.float64) + 0.5) - 0.5
    assert torch.allclose(result[1:-1], expected[1:-1], rtol=0, atol=1e-13)


def test_the_frequency_response_is_that_of_the_filter() -> None:
    """H(w) = cos(w / 2)^3 about the filter's center; the checkerboard, whose alias would be a constant, goes."""
    phase = torch.arange(64, dtype=torch.float64)
    for frequency in (0.3, 1.2, 2.8):
        wave = torch.cos(frequency * phase).expand(1, 1, 64, 64)
        expected = np.cos(frequency / 2) ** 3 * torch.cos(frequency * (2 * torch.arange(32, dtype=torch.float64) + 0.5))
        assert torch.allclose(fir_downsample(wave)[0, 0, 16, 1:-1], expected[1:-1], rtol=0, atol=1e-13)
    checkerboard = torch.cos(torch.pi * (phase[:, None] + phase)).expand(1, 1, 64, 64)
    assert fir_downsample(checkerboard)[..., 1:-1, 1:-1].abs().max() < 1e-13
    assert checkerboard[..., ::2, ::2].min() > 0.999  # what taking every second value would have made of it


def test_channels_do_not_mix_and_gradients_are_right() -> None:
    x = image((1, 3, 4, 6))
    other = x.clone()
    other[:, 1] += 1.0
    for resample in (fir_downsample, fir_upsample):
        same = (resample(x) == resample(other)).all(dim=(0, 2, 3))
        assert same.tolist() == [True, False, True]
        assert torch.autograd.gradcheck(resample, x.requires_grad_())


def test_autocast_does_not_touch_it() -> None:
    x = image(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for resample in (fir_downsample, fir_upsample):
            assert resample(x).dtype == torch.float32
        down = fir_downsample(x)
        of_half = fir_downsample(x.bfloat16())
    assert torch.equal(down, fir_downsample(x))
    assert torch.equal(of_half, fir_downsample(x.bfloat16().float()))
