"""MAE, PSNR and SSIM of pairs against closed forms and scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from monai_segdiff.metrics import paired_errors


def images(number: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((number, 1, *shape), generator=torch.Generator().manual_seed(seed))


def test_a_constant_error_has_its_closed_form():
    reference = 0.2 + 0.5 * images(3, 16, 16)
    errors = paired_errors(reference + torch.tensor([0.01, 0.1, -0.2]).reshape(3, 1, 1, 1), reference)
    torch.testing.assert_close(errors.mae, torch.tensor([0.01, 0.1, 0.2], dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        errors.psnr, torch.tensor([40.0, 20.0, 20 * math.log10(5)], dtype=torch.float64), atol=1e-4, rtol=0
    )


def test_constant_images_have_ssim_s_luminance_term():
    errors = paired_errors(torch.full((1, 1, 12, 12), 0.5), torch.full((1, 1, 12, 12), 0.8))
    # MONAI computes in float32, whose rounding of a variance of 0 stands beside SSIM's constant 9e-4.
    assert errors.ssim.item() == pytest.approx((2 * 0.5 * 0.8 + 1e-4) / (0.5**2 + 0.8**2 + 1e-4), abs=2e-4)


@pytest.mark.parametrize("shape", [(32, 24), (14, 12, 13)])
def test_each_pair_is_as_in_scikit_image(shape):
    reference = images(4, *shape)
    generated = (0.7 * reference + 0.3 * images(4, *shape, seed=1) ** 2).clamp(0, 1)
    errors = paired_errors(generated, reference)
    assert len(errors) == 4
    for i in range(4):
        a, b = reference[i, 0].double().numpy(), generated[i, 0].double().numpy()
        assert errors.mae[i].item() == pytest.approx(np.abs(a - b).mean(), abs=1e-12)
        assert errors.psnr[i].item() == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1.0), abs=1e-9)
        expected = structural_similarity(
            a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert errors.ssim[i].item() == pytest.approx(expected, abs=1e-5)


def test_a_pair_s_figures_do_not_depend_on_the_others():
    reference, generated = images(5, 12, 12), images(5, 12, 12, seed=1)
    together = paired_errors(generated, reference)
    alone = [paired_errors(generated[i : i + 1], reference[i : i + 1]) for i in range(5)]
    for name in ("mae", "psnr", "ssim"):
        torch.testing.assert_close(getattr(together, name), torch.cat([getattr(one, name) for one in alone]))


def test_equal_images_and_images_that_are_not_finite():
    reference = images(3, 12, 12)
    generated = reference.clone()
    generated[1, 0, 3, 3] = torch.nan
    generated[2, 0, 3, 3] = torch.inf
    errors = paired_errors(generated, reference)
    assert (errors.mae[0], errors.psnr[0]) == (0, torch.inf)
    assert errors.ssim[0].item() == pytest.approx(1)
    for values in (errors.mae, errors.psnr, errors.ssim):
        assert torch.isnan(values[1:]).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"one shape, got \(2, 1, 12, 12\) and \(1, 1, 12, 12\)"):
        paired_errors(images(2, 12, 12), images(1, 12, 12))
    with pytest.raises(ValueError, match="at least 11 pixels"):
        paired_errors(images(2, 12, 8), images(2, 12, 8))
    assert len(paired_errors(images(0, 12, 12), images(0, 12, 12))) == 0
