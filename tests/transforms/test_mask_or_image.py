"""Mask or image: how often, what comes out, and MONAI's conventions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, set_track_meta
from monai.transforms import Compose

from monai_segdiff.transforms import (
    EncodeMaskd,
    RandMaskOrImage,
    RandMaskOrImageD,
    RandMaskOrImaged,
    RandMaskOrImageDict,
)

SHAPES = [(1, 6, 5), (1, 4, 3, 5)]


def pair(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full(shape, -1.0), torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_share_of_images_is_the_one_asked_for(shape: tuple[int, ...]) -> None:
    mask, image = pair(shape)
    choose = RandMaskOrImage(prob=0.3).set_random_state(0)
    results = [choose(mask, image) for _ in range(2000)]
    shown = [torch.equal(r, image) for r in results]
    assert all(is_image or torch.equal(r, mask) for r, is_image in zip(results, shown, strict=True))
    # Four standard deviations of a binomial share.
    assert sum(shown) / 2000 == pytest.approx(0.3, abs=0.042)


@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_never_and_always(prob: float) -> None:
    mask, image = pair(SHAPES[0])
    assert torch.equal(RandMaskOrImage(prob)(mask, image), image if prob else mask)


def test_the_dtype_is_the_masks_and_numpy_is_accepted() -> None:
    mask, image = np.zeros((1, 4, 4), np.float32), np.ones((1, 4, 4))
    result = RandMaskOrImage(1.0)(mask, image)
    assert result.dtype == torch.float32
    assert bool((result == 1).all())


def test_the_image_keeps_its_metadata_and_is_a_copy() -> None:
    mask, image = (MetaTensor(x, meta={"filename_or_obj": n}) for x, n in zip(pair(SHAPES[0]), "mi", strict=True))
    result = RandMaskOrImage(1.0)(mask, image)
    assert isinstance(result, MetaTensor)
    assert result.meta["filename_or_obj"] == "i"
    result += 1
    assert float(image.max()) < 1


def test_another_number_of_channels_or_another_grid_is_refused_with_the_file() -> None:
    image = MetaTensor(torch.zeros(1, 4, 4), meta={"filename_or_obj": "cxr.nii.gz"})
    for prob in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"cxr.nii.gz has shape \(1, 4, 4\), but its mask has \(3, 4, 4\)"):
            RandMaskOrImage(prob)(torch.zeros(3, 4, 4), image)


def test_dictionary_form_replaces_the_mask_and_leaves_the_image() -> None:
    assert RandMaskOrImageD is RandMaskOrImaged
    assert RandMaskOrImageDict is RandMaskOrImaged
    mask, image = pair(SHAPES[0])
    data = {"label": mask, "image": image}
    result = RandMaskOrImaged(prob=1.0)(data)
    assert torch.equal(result["label"], image)
    assert result["image"] is image
    assert data["label"] is mask
    named = RandMaskOrImaged(key="m", image_key="x", prob=1.0)({"m": mask, "x": image})
    assert torch.equal(named["m"], image)


def test_seeded_after_encoding_in_a_pipeline() -> None:
    pipeline = Compose([EncodeMaskd("label", {"lung": 1}, mode="values", values={"lung": 0.7}), RandMaskOrImaged()])
    data = {"label": torch.ones(1, 4, 4), "image": torch.full((1, 4, 4), -0.5)}
    runs = []
    for _ in range(2):
        pipeline.set_random_state(2)
        runs.append([round(float(pipeline(data)["label"].mean()), 3) for _ in range(30)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {0.7, -0.5}


def test_missing_keys() -> None:
    data = {"label": torch.zeros(1, 4, 4)}
    with pytest.raises(KeyError):
        RandMaskOrImaged()(data)
    assert RandMaskOrImaged(allow_missing_keys=True)(data) == data


def test_without_metadata_tracking_a_plain_tensor_comes_out() -> None:
    set_track_meta(False)
    try:
        assert type(RandMaskOrImage(1.0)(*map(MetaTensor, pair(SHAPES[0])))) is torch.Tensor
    finally:
        set_track_meta(True)
