from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, MetaTensor, set_track_meta
from monai.transforms import Compose, Randomizable

import monai_segdiff.transforms as T
from monai_segdiff.transforms import SegmentContour, SegmentContourd

SHAPES = {"one view": (1, 5, 7), "a set of views": (4, 5, 7), "a volume": (1, 5, 6, 7), "a line": (2, 9)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, MetaTensor])
def test_what_is_above_the_threshold_is_inside(shape, kind):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    before = image.clone()
    found = SegmentContour()(kind(image))
    assert found.dtype == torch.float32
    assert torch.equal(torch.as_tensor(found), torch.where(before > 0.1, 0.5, 0.0))
    assert torch.equal(image, before)


def test_the_threshold_itself_is_outside_and_the_value_is_free():
    image = torch.tensor([[[0.0, 0.25, 0.2500001, 1.0]]])
    assert SegmentContour(threshold=0.25, value=1.0)(image).tolist() == [[[0, 0, 1, 1]]]


def test_whole_numbers_are_segmented_too():
    assert SegmentContour(threshold=10)(torch.tensor([[[10, 11]]], dtype=torch.uint8)).tolist() == [[[0, 0.5]]]


def test_metadata_go_on_where_they_are_tracked():
    image = MetaTensor(
        torch.ones(2, 3, 3), affine=torch.diag(torch.tensor([2.0, 3, 1, 1])), meta={"drr": {"views": []}}
    )
    found = SegmentContour()(image)
    assert isinstance(found, MetaTensor)
    assert torch.equal(found.affine, image.affine)
    assert found.meta["drr"] == {"views": []}
    set_track_meta(False)
    try:
        assert type(SegmentContour()(image)) is torch.Tensor
    finally:
        set_track_meta(True)


def test_the_dictionary_form_and_its_names():
    data = {"a": torch.full((1, 2, 2), 0.3), "b": torch.zeros(1, 2, 2), "other": 1}
    found = SegmentContourd(["a", "b"], threshold=0.2, value=1.0)(data)
    assert found["a"].unique().tolist() == [1]
    assert found["b"].unique().tolist() == [0]
    assert data["a"].unique().tolist() == pytest.approx([0.3])
    assert T.SegmentContourD is T.SegmentContourDict is SegmentContourd
    with pytest.raises(KeyError):
        SegmentContourd("c")(data)
    assert SegmentContourd("c", allow_missing_keys=True)(data) == data


def test_it_can_be_cached():
    assert not isinstance(SegmentContour(), Randomizable)
    data = [{"image": torch.full((1, 2, 2), 0.3)}]
    cached = CacheDataset(data, Compose([SegmentContourd("image")]), progress=False)
    assert cached[0]["image"].unique().tolist() == [0.5]


@pytest.mark.parametrize("arguments", [{"threshold": float("nan")}, {"value": float("inf")}])
def test_arguments_must_be_finite(arguments):
    with pytest.raises(ValueError, match="must be finite"):
        SegmentContour(**arguments)
