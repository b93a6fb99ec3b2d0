"""Radiomic features against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from monai_segdiff.metrics import RADIOMIC_FEATURES, frechet_distance, radiomic_features


def features(images: torch.Tensor) -> dict[str, float]:
    return dict(zip(RADIOMIC_FEATURES, radiomic_features(images)[0].tolist(), strict=True))


@pytest.mark.parametrize("shape", [(32, 32), (16, 16, 16)])
def test_a_checkerboard(shape):
    """Every neighbor along an axis differs, every diagonal one is equal; half of all directions in a plane are each."""
    board = sum(torch.meshgrid(*[torch.arange(n) for n in shape], indexing="ij")) % 2
    found = features((board - 0.5)[None, None].float())  # levels 8 and 24 of 32
    assert found["mean"] == pytest.approx(0)
    assert found["standard deviation"] == pytest.approx(0.5)
    assert found["kurtosis"] == pytest.approx(-2)
    assert found["entropy"] == pytest.approx(1)
    assert found["uniformity"] == pytest.approx(0.5)
    assert found["percentile 90"] == pytest.approx(0.5)
    assert found["co-occurrence contrast"] == pytest.approx(16**2 / 2)
    assert found["co-occurrence dissimilarity"] == pytest.approx(8)
    assert found["co-occurrence energy"] == pytest.approx(math.sqrt(0.5), abs=1e-3)
    assert found["co-occurrence correlation"] == pytest.approx(0, abs=1e-2)


def test_a_constant_image_is_finite():
    found = features(torch.full((1, 1, 16, 16), 0.3))
    assert found["standard deviation"] == pytest.approx(0, abs=1e-6)
    assert found["entropy"] == found["kurtosis"] == found["co-occurrence correlation"] == 0
    assert found["co-occurrence homogeneity"] == 1


def test_texture_is_told_apart_where_intensities_are_the_same():
    """Shuffled pixels have the same histogram; only co-occurrence sees the difference."""
    smooth = torch.linspace(-1, 1, 64)[None, None, None].expand(20, 1, 64, 64)
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.stack([row.flatten()[torch.randperm(4096, generator=generator)].view(1, 64, 64) for row in smooth])
    a, b = radiomic_features(smooth), radiomic_features(shuffled)
    torch.testing.assert_close(a[:, :12], b[:, :12], atol=1e-6, rtol=0)
    assert frechet_distance(a[:, 12:], b[:, 12:], draws=2).value > 10


def test_images_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite images"):
        radiomic_features(torch.full((1, 1, 8, 8), torch.nan))
    assert radiomic_features(torch.empty(0, 1, 8, 8)).shape == (0, len(RADIOMIC_FEATURES))
