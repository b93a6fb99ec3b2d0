"""Intensities that never leave the range a card declares."""

from __future__ import annotations

import math

import pytest
import torch
from monai.data import MetaTensor, set_track_meta
from monai.transforms import ScaleIntensityRange

from monai_segdiff.transforms import ScaleToRange, ScaleToRangeD, ScaleToRanged, ScaleToRangeDict, clamp_to_range


@pytest.mark.parametrize("spatial", [(5, 7), (3, 5, 7)])
def test_it_is_the_linear_map_and_clips(spatial: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    image = 2 * torch.rand(1, *spatial) - 1
    image.view(-1)[:3] = torch.tensor([-1.0, 1.0, 0.0])
    before = image.clone()
    scaled = ScaleToRange(-1, 1, -200, 300)(image)
    torch.testing.assert_close(scaled, 250 * image + 50, rtol=1e-6, atol=1e-4, check_dtype=False)
    assert scaled.view(-1)[:3].tolist() == [-200, 300, 50]
    assert ScaleToRange(-1, 1, -200, 300)(3 * image).aminmax() == (-200, 300)
    assert torch.equal(image, before)


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.7), (-0.7, -0.1), (-200.0, 300.0), (0.3, 1 / 3)])
def test_bounds_hold_for_who_reads_float64(low: float, high: float) -> None:
    scaled = ScaleToRange(0, 1, low, high)(torch.linspace(-0.5, 1.5, 101))
    assert scaled.dtype == torch.float32
    assert low <= scaled.double().min().item() < scaled.double().max().item() <= high
    # No more is taken off than the last bit of a float32.
    assert scaled.min().item() == pytest.approx(low, rel=2e-7)
    assert scaled.max().item() == pytest.approx(high, rel=2e-7)


def test_a_value_past_the_end_by_a_rounding_comes_back() -> None:
    past = torch.nextafter(torch.tensor([-200.0, 300.0]), torch.tensor([-torch.inf, torch.inf]))
    assert clamp_to_range(past, -200.0, 300.0).tolist() == [-200.0, 300.0]
    inside = torch.tensor([-199.99998, 0.0, 299.99997])
    assert torch.equal(clamp_to_range(inside, -200.0, 300.0), inside)


def test_what_is_no_number_stays_none() -> None:
    scaled = ScaleToRange(-1, 1, 0, 1)(torch.tensor([math.nan, math.inf, -math.inf, 0.5]))
    assert scaled.isnan().tolist() == [True, True, True, False]


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(ValueError, match="range 1 to 0 is empty"):
        clamp_to_range(torch.zeros(1), 1, 0)


def test_metadata_go_along_unless_they_are_switched_off() -> None:
    image = MetaTensor(torch.zeros(1, 2, 2), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    scaled = ScaleToRange(-1, 1, 0, 1)(image)
    assert isinstance(scaled, MetaTensor)
    assert torch.equal(scaled.affine, image.affine)
    set_track_meta(False)
    try:
        assert type(ScaleToRange(-1, 1, 0, 1)(image)) is torch.Tensor
    finally:
        set_track_meta(True)


def test_dictionary_form() -> None:
    assert ScaleToRangeD is ScaleToRanged
    assert ScaleToRangeDict is ScaleToRanged
    data = {"pred": torch.tensor([0.5]), "label": torch.tensor([1.0])}
    scaled = ScaleToRanged("pred", -1, 1, 0, 100)(data)
    assert scaled["pred"].item() == 75
    assert scaled["label"] is data["label"]
    assert data["pred"].item() == 0.5
    with pytest.raises(KeyError):
        ScaleToRanged("anatomy", -1, 1, 0, 1)(data)
    assert ScaleToRanged("anatomy", -1, 1, 0, 1, allow_missing_keys=True)(data) == data
    # Who inverts a bundle's map looks for MONAI's.
    assert isinstance(ScaleToRanged("pred", -1, 1, 0, 1).scaler, ScaleIntensityRange)
