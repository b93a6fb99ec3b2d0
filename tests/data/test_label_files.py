from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from monai_segdiff.data import CheckSpatialSized, SaveLiked


def load(file):
    return Compose([LoadImaged("image", image_only=True), EnsureChannelFirstd("image")])({"image": file})


def test_the_configured_size_goes_through_unchanged(make_pair):
    data = load(make_pair()["label"])
    checked = CheckSpatialSized("image", (10, 12, 14))(data)
    assert checked["image"] is data["image"]


@pytest.mark.parametrize(("size", "dims"), [((10, 12, 15), 3), ((10, 12), 2)])
def test_another_size_or_dimension_is_refused_with_file_and_command(make_pair, size, dims):
    data = load(make_pair()["label"])
    command = f"prepare --spatial-dims {dims} --size {' '.join(map(str, size))}"
    with pytest.raises(ValueError, match=rf"p1\.nii\.gz has size \(10, 12, 14\) where {dims}D .*{command}"):
        CheckSpatialSized("image", size)(data)


def test_a_plain_tensor_is_named_by_its_key():
    with pytest.raises(ValueError, match="the tensor under 'image' has size"):
        CheckSpatialSized("image", (4, 4))({"image": torch.zeros(1, 5, 5)})
    assert CheckSpatialSized("image", (4, 4), allow_missing_keys=True)({"other": 1}) == {"other": 1}
    with pytest.raises(KeyError, match="image"):
        CheckSpatialSized("image", (4, 4))({"other": 1})


def test_images_are_written_with_name_and_geometry_of_their_label_map(make_pair, tmp_path):
    affine = np.array([[0.0, -2, 0, 30], [1.5, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])
    pair = make_pair("p.v1", affine=affine)
    data = load(pair["label"])
    image = torch.randn(1, 10, 12, 14, generator=torch.Generator().manual_seed(0))
    data["pred"] = MetaTensor(image)
    out = SaveLiked("pred", "image", tmp_path / "out")(data)
    assert out["pred"] is data["pred"]
    written = nib.load(tmp_path / "out" / "p.v1.nii.gz")
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(written.get_fdata(), image[0].double().numpy())
