from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, MetaTensor, set_track_meta
from monai.transforms import CopyItemsd, Flip, Orientation

import monai_segdiff.transforms as T
from monai_segdiff.transforms import ProjectBone, ProjectBoned, ProjectDRR, SegmentContour

SPACING, FLESH, BONE = 1.0, 14.0, 6.0  # mm; radii of two cylinders along the axis of rotation
PARALLEL = {"angles": (0, 40, 90), "detector_shape": (48, 16), "detector_spacing": 0.8, "beam": "parallel"}


def leg(hu: float = 800.0) -> MetaTensor:
    x, y = np.meshgrid(*[(np.arange(40) - 19.5) * SPACING] * 2, indexing="ij")
    plane = np.where(np.hypot(x, y) < FLESH, 40.0, -1000.0)
    plane[np.hypot(x, y) < BONE] = hu
    volume = np.repeat(plane[:, :, None], 24, axis=2).astype(np.float32)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = -19.5, 80, 300
    return MetaTensor(
        torch.from_numpy(volume)[None], affine=torch.from_numpy(affine), meta={"filename_or_obj": "leg.nii"}
    )


@pytest.mark.parametrize("min_length", [2.0, 8.0, 11.0])
def test_bone_is_where_the_chord_is_long_enough(min_length):
    found = ProjectBone(ProjectDRR(**PARALLEL), min_length=min_length)(leg())
    assert found.shape == (3, 48, 16)
    assert found.unique().tolist() == [0, 0.5]
    u = (np.arange(48) - 23.5) * 0.8
    half = np.sqrt(BONE**2 - (min_length / 2) ** 2)  # chord 2 sqrt(R^2 - u^2) >= min_length
    sure = torch.from_numpy(np.abs(np.abs(u) - half) > 1.0)  # voxels and pixels blur the rim by their size
    expected = torch.from_numpy(np.abs(u) < half).float() * 0.5
    assert torch.equal(torch.as_tensor(found)[:, sure], expected[sure][None, :, None].expand(3, -1, 16))


def test_a_cone_beam_magnifies_bone_as_it_does_the_image():
    found = ProjectBone(ProjectDRR(angles=(0,), detector_shape=(96, 8), detector_spacing=0.5))(leg())
    # the half-width of a cylinder seen from the distance D: R / sqrt(1 - (R / D)^2) * 1500 / 1000
    width = float((found[0, :, 4] > 0).sum()) * 0.5
    assert width == pytest.approx(2 * np.sqrt(BONE**2 - 1) * 1.5, abs=1.0)


def test_with_the_contour_bone_is_one():
    projector = ProjectDRR(**PARALLEL)
    views = projector(leg())
    total = SegmentContour()(views) + ProjectBone(projector)(leg())
    assert set(total.unique().tolist()) == {0.0, 0.5, 1.0}
    image = torch.as_tensor(views)
    means = [float(image[torch.as_tensor(total) == value].mean()) for value in (0.0, 0.5, 1.0)]
    assert means[0] < 0.05 < means[1] < means[2]


@pytest.mark.parametrize("stored", ["LPI", "SAR", "flipped"])
def test_the_way_voxels_are_stored_makes_no_difference(stored):
    volume = leg()
    volume[0, 25:, :, :12] = 800  # nothing symmetric
    other = Flip((0, 2))(volume) if stored == "flipped" else Orientation(stored, labels=None)(volume)
    transform = ProjectBone(ProjectDRR(**PARALLEL))
    assert (transform(volume) != transform(other)).float().mean() < 0.005


def test_the_threshold_is_the_lowest_hu_of_bone_and_the_value_is_free():
    assert ProjectBone(ProjectDRR(**PARALLEL), threshold=200.0, value=1.0)(leg(200.0)).max() == 1
    assert ProjectBone(ProjectDRR(**PARALLEL), threshold=200.0)(leg(199.0)).max() == 0


def test_a_noisy_voxel_is_no_bone():
    volume = leg(40.0)
    volume[0, 20, 20, 12] = 2000
    assert ProjectBone(ProjectDRR(**PARALLEL))(volume).max() == 0
    assert ProjectBone(ProjectDRR(**PARALLEL), min_length=0.5)(volume).max() > 0


def test_input_stays_and_metadata_are_the_detectors():
    volume = leg()
    before, affine = volume.clone(), volume.affine.clone()
    projector = ProjectDRR(**PARALLEL)
    found = ProjectBone(projector)(volume)
    assert torch.equal(volume, before)
    assert torch.equal(volume.affine, affine)
    assert torch.equal(found.affine, projector(volume).affine)
    assert found.meta["filename_or_obj"] == "leg.nii"
    set_track_meta(False)
    try:
        assert type(ProjectBone(projector)(volume)) is torch.Tensor
    finally:
        set_track_meta(True)


def test_the_dictionary_form_its_names_and_caching():
    projector = ProjectDRR(**PARALLEL)
    transform = ProjectBoned("bone", projector, value=1.0)
    data = {"image": leg()}
    found = transform(CopyItemsd("image", names="bone")(data))
    assert torch.equal(found["bone"], ProjectBone(projector, value=1.0)(leg()))
    assert torch.equal(found["image"], leg())
    assert T.ProjectBoneD is T.ProjectBoneDict is ProjectBoned
    with pytest.raises(KeyError):
        transform(data)
    assert ProjectBoned("bone", projector, allow_missing_keys=True)(data).keys() == {"image"}
    cached = CacheDataset([{"bone": leg()}], transform, progress=False)
    assert torch.equal(cached[0]["bone"], found["bone"])


def test_bad_input_is_named():
    transform = ProjectBone(ProjectDRR(**PARALLEL))
    with pytest.raises(ValueError, match="no usable affine: got a plain Tensor"):
        transform(torch.zeros(1, 4, 4, 4))
    with pytest.raises(ValueError, match=r"leg\.nii: expected a volume of shape \(1, X, Y, Z\), got \(2, 40, 40, 24\)"):
        transform(torch.cat([leg(), leg()]))
    with pytest.raises(ValueError, match="min_length must be a positive length"):
        ProjectBone(ProjectDRR(**PARALLEL), min_length=0)
    with pytest.raises(ValueError, match="must be finite"):
        ProjectBone(ProjectDRR(**PARALLEL), threshold=float("nan"))
