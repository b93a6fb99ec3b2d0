from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from monai_segdiff.data import CheckSpatialSized, LoadCanonicald, SaveLiked, load_image, load_label_map
from monai_segdiff.data.nifti import save_nifti


def load(file):
    return LoadCanonicald("image", label_keys="image")({"image": file})


def test_images_and_label_maps_are_read_as_every_command_reads_them(make_pair):
    pair = make_pair()
    read = LoadCanonicald(["image", "label", "region"], label_keys="label", allow_missing_keys=True)(
        {"image": pair["image"], "label": pair["label"], "case": "p1"}
    )
    assert torch.equal(read["image"].as_tensor(), load_image(pair["image"]).as_tensor())
    assert torch.equal(read["label"].as_tensor(), load_label_map(pair["label"]).as_tensor())
    assert read["label"].dtype == torch.uint8
    assert read["case"] == "p1"
    with pytest.raises(ValueError, match="label_keys"):
        LoadCanonicald("image", label_keys="label")


@pytest.mark.parametrize("across", [0, 1, 2])
def test_a_slice_that_is_stored_as_a_volume_is_a_slice_where_slices_are_wanted(tmp_path, across):
    plane = np.arange(30, dtype=np.uint8).reshape(5, 6)
    file = save_nifti(tmp_path / "a.nii.gz", np.expand_dims(plane, across), np.diag([1.0, 2.0, 3.0, 1.0]))
    flat = LoadCanonicald("image", label_keys="image", spatial_dims=2)({"image": file})["image"]
    assert np.array_equal(flat[0].numpy(), plane)
    kept = [axis for axis in range(3) if axis != across]
    assert np.allclose(np.diag(flat.affine[kept][:, :2]), np.array([1.0, 2.0, 3.0])[kept])
    assert LoadCanonicald("image", spatial_dims=3)({"image": file})["image"].ndim == 4


def test_a_picture_is_written_back_as_it_lay(tmp_path):
    painted = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(painted).save(tmp_path / "a.png")
    data = load(tmp_path / "a.png")
    data["pred"] = data["image"] * 2
    SaveLiked("pred", "image", tmp_path / "out")(data)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")), 2 * painted)


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
    image = torch.randn(1, 12, 10, 14, generator=torch.Generator().manual_seed(0))
    data["pred"] = MetaTensor(image)
    out = SaveLiked("pred", "image", tmp_path / "out")(data)
    assert out["pred"] is data["pred"]
    written = nib.load(tmp_path / "out" / "p.v1.nii.gz")
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    turned = nib.as_closest_canonical(written)
    np.testing.assert_array_equal(turned.get_fdata(), image[0].double().numpy())
