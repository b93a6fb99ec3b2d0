"""Mask concatenation, and that it equals the network that concatenates inside."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor, set_track_meta
from monai.networks.nets import DiffusionModelUNet
from monai.transforms import Compose

from monai_segdiff.networks import MaskConcatUNet
from monai_segdiff.transforms import ConcatMask, ConcatMaskD, ConcatMaskd, ConcatMaskDict, EncodeMaskd

CLASSES = {"body": 1, "liver": 2}


@pytest.mark.parametrize("spatial", [(6, 8), (4, 6, 8)])
def test_image_channels_come_first_and_metadata_are_the_images(spatial: tuple) -> None:
    image = MetaTensor(torch.rand(1, *spatial), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    condition = torch.rand(4, *spatial)
    joined = ConcatMask()(image, condition)
    assert isinstance(joined, MetaTensor)
    assert torch.equal(joined.affine, image.affine)
    assert torch.equal(joined[:1], image)
    assert torch.equal(joined[1:], condition)


def test_dtype_is_the_images_and_numpy_is_accepted() -> None:
    joined = ConcatMask()(np.zeros((1, 4, 4), dtype=np.float32), np.ones((2, 4, 4), dtype=np.float64))
    assert joined.dtype == torch.float32
    assert joined[:, 0, 0].tolist() == [0.0, 1.0, 1.0]


def test_other_grids_are_refused_with_the_file() -> None:
    image = MetaTensor(torch.zeros(1, 4, 4), meta={"filename_or_obj": "ct.nii.gz"})
    with pytest.raises(ValueError, match=r"image ct.nii.gz has spatial shape \(4, 4\), but its mask has \(4, 5\)"):
        ConcatMask()(image, torch.zeros(2, 4, 5))


def test_dictionary_form_replaces_the_image_and_leaves_the_mask() -> None:
    assert ConcatMaskD is ConcatMaskd
    assert ConcatMaskDict is ConcatMaskd
    data = {"image": torch.rand(1, 4, 4), "label": torch.rand(3, 4, 4)}
    result = ConcatMaskd()(data)
    assert torch.equal(result["image"], torch.cat([data["image"], data["label"]]))
    assert result["label"] is data["label"]
    assert data["image"].shape == (1, 4, 4)
    named = ConcatMaskd(image_key="ct", mask_key="mask")({"ct": data["image"], "mask": data["label"]})
    assert torch.equal(named["ct"], result["image"])


def test_missing_keys() -> None:
    data = {"image": torch.rand(1, 4, 4)}
    with pytest.raises(KeyError):
        ConcatMaskd()(data)
    assert ConcatMaskd(allow_missing_keys=True)(data) == data


def test_without_metadata_tracking_a_plain_tensor_comes_out() -> None:
    set_track_meta(False)
    try:
        joined = ConcatMask()(MetaTensor(torch.rand(1, 4, 4)), MetaTensor(torch.rand(2, 4, 4)))
    finally:
        set_track_meta(True)
    assert type(joined) is torch.Tensor


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_plain_network_on_concatenated_input_equals_the_network_that_concatenates(spatial_dims: int) -> None:
    spatial = (8,) * spatial_dims
    options = {"channels": (8, 8), "attention_levels": (False, True), "num_res_blocks": 1, "norm_num_groups": 4}
    torch.manual_seed(0)
    ours = MaskConcatUNet(spatial_dims, 1, 1, 4, **options)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    plain = DiffusionModelUNet(spatial_dims, in_channels=5, out_channels=1, **options)
    plain.load_state_dict(ours.unet.state_dict())

    items = [{"image": torch.randn(1, *spatial), "label": torch.randint(0, 3, (1, *spatial))} for _ in range(2)]
    encode = EncodeMaskd("label", CLASSES)
    joined = next(iter(DataLoader([Compose([encode, ConcatMaskd()])(item) for item in items], batch_size=2)))
    apart = next(iter(DataLoader([encode(item) for item in items], batch_size=2)))
    timesteps = torch.tensor([0.3, 40.0])
    expected = plain(joined["image"].as_tensor(), timesteps)
    result = ours(apart["image"], timesteps, condition=apart["label"])
    assert expected.abs().max() > 1e-3
    assert torch.equal(result, expected)
