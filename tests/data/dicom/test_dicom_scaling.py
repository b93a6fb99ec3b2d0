"""Intensities as DICOM's stored numbers, and what a reader makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from monai_segdiff.data.dicom.scaling import choose_scaling


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.7), (-200.0, 299.9), (-1e-6, 1e-7), (1.0 / 3.0, 1e6)])
def test_what_is_read_back_stays_in_the_images_range(low: float, high: float) -> None:
    values = np.linspace(low, high, 997).astype(np.float32)
    scaling = choose_scaling(values, "MR")
    read = scaling.store(values) * scaling.slope + scaling.intercept
    assert float(values.min()) <= read.min() <= read.max() <= float(values.max())
    np.testing.assert_allclose(read, values, atol=0.51 * scaling.slope, rtol=0)


def test_a_constant_image_comes_back() -> None:
    values = np.full((2, 3), 0.3, dtype=np.float32)
    scaling = choose_scaling(values, "MR")
    np.testing.assert_allclose(scaling.store(values) * scaling.slope + scaling.intercept, values, rtol=1e-7)


def test_numbers_beyond_sixteen_bits_are_clipped_rather_than_wrapped() -> None:
    scaling = choose_scaling(np.array([0.0, 100.0]), "CT")  # stored from -1024 on
    assert scaling.store(np.array([-5000.0, 1e9])).tolist() == [0, 65535]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        choose_scaling(np.array([0.0, value]), "MR")
