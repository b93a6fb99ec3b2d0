from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from monai_segdiff.data import BreastPhantom
from monai_segdiff.data.preparation.bias_field import correct_bias_field


def shaded(dimensions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]:
    """A phantom, the same under a field that varies by a factor of 2.7, its breast fat, and its voxel size."""
    shape = (64, 64, 24)[:dimensions]
    phantom = BreastPhantom(2)
    image, label = phantom.render(shape)
    field = np.exp(0.5 * np.linspace(-1, 1, 64)).reshape(64, *[1] * (dimensions - 1)).astype(np.float32)
    spacing = np.abs(np.diag(phantom.affine(shape)))[:dimensions]
    return image, image * field, binary_erosion(label == 1), spacing.tolist()


def variation(image: np.ndarray, region: np.ndarray) -> float:
    return float(image[region].std() / image[region].mean())


def require_n4() -> None:
    if not hasattr(pytest.importorskip("itk"), "N4BiasFieldCorrectionImageFilter"):
        pytest.skip("N4 needs ITK's filters: pip install 'monai-segdiff[n4]'")


@pytest.mark.parametrize("itk", [None, ModuleType("itk")])  # not there, and without its filters
def test_without_itk_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, itk: ModuleType | None) -> None:
    monkeypatch.setitem(sys.modules, "itk", itk)
    with pytest.raises(ImportError, match=r"pip install 'monai-segdiff\[n4\]'"):
        correct_bias_field(np.ones((4, 4)), (1.0, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_known_field_is_taken_out(dimensions: int) -> None:
    require_n4()
    image, biased, fat, spacing = shaded(dimensions)
    corrected = correct_bias_field(biased, spacing)
    assert (corrected.shape, corrected.dtype) == (image.shape, np.float32)
    assert variation(biased, fat) > 2 * variation(image, fat)
    assert variation(corrected, fat) < 1.25 * variation(image, fat)
    tissue = biased > 0.15
    assert corrected[tissue].mean() == pytest.approx(biased[tissue].mean(), rel=0.1)


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_unit_and_a_constant_image_is_refused() -> None:
    require_n4()
    _, biased, _, spacing = shaded(2)
    np.testing.assert_allclose(
        correct_bias_field(1000 * biased, spacing) / 1000, correct_bias_field(biased, spacing), rtol=0.02, atol=0.002
    )
    with pytest.raises(ValueError, match="constant"):
        correct_bias_field(np.full((8, 8), 3.0), (1.0, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(8, 8), (64, 64, 3), (64, 64, 1)])
def test_few_voxels_along_an_axis_are_enough(shape: tuple[int, ...]) -> None:
    require_n4()
    _, biased, fat, spacing = shaded(2)
    if shape[0] == 64:
        image = np.repeat(biased[..., None], shape[2], axis=2)
        corrected = correct_bias_field(image, [*spacing, 2.0])
        assert corrected.shape == shape
        assert variation(corrected[..., 0], fat) < 0.7 * variation(biased, fat)
    else:
        small = np.random.default_rng(0).random(shape)
        assert np.isfinite(correct_bias_field(small, (1.0, 1.0))).all()
