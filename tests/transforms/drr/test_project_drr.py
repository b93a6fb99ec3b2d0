from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor, decollate_batch, set_track_meta
from monai.transforms import Compose, LoadImaged

from monai_segdiff.transforms import ProjectDRR, ProjectDRRD, ProjectDRRd, ProjectDRRDict
from monai_segdiff.transforms.drr.attenuation import attenuation

Limb = Callable[..., MetaTensor]


@pytest.fixture
def projector() -> ProjectDRR:
    return ProjectDRR((0, 60, 200), (32, 24))


def test_images_are_in_0_1_and_one_affine_map_of_the_line_integrals(limb: Limb, projector: ProjectDRR) -> None:
    volume = limb()
    images = projector(volume)
    assert images.shape == (3, 32, 24)
    assert images.dtype == torch.float32
    assert float(images.min()) == 0
    assert float(images.max()) == 1
    drr = images.meta["drr"]
    assert len(set(drr["offset"])) == len(set(drr["scale"])) == 1
    restored = (
        torch.tensor(drr["offset"])[:, None, None] + torch.tensor(drr["scale"])[:, None, None] * images.as_tensor()
    )
    expected = projector.project(attenuation(volume.as_tensor(), 60.0), volume.affine)
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)
    # The tissue's 90 mm and the bone's 30 mm, as long as HU say.
    assert float(expected.max()) == pytest.approx(0.02059 * (90 * 1.04 + 30 * 0.7), rel=0.02)


def test_each_view_normalized_alone_or_not_at_all(limb: Limb) -> None:
    volume = limb()
    plain = ProjectDRR((0, 60), (32, 24), normalize=None)(volume)
    assert plain.meta["drr"]["offset"] == [0.0, 0.0]
    assert plain.meta["drr"]["scale"] == [1.0, 1.0]
    single = ProjectDRR((0, 60), (32, 24), normalize="view")(volume)
    drr = single.meta["drr"]
    for view in range(2):
        assert float(single[view].max()) == 1
        assert drr["offset"][view] == pytest.approx(float(plain[view].min()))
        assert drr["scale"][view] == pytest.approx(float(plain[view].max() - plain[view].min()))
    assert drr["scale"][0] != drr["scale"][1]


def test_metadata_hold_the_geometry_as_json(limb: Limb, projector: ProjectDRR) -> None:
    images = projector(limb())
    drr = images.meta["drr"]
    assert json.loads(json.dumps(drr)) == drr
    assert drr["volume"] == "leg"
    assert drr["beam"] == "cone"
    assert drr["truncated"] is False
    assert [view["angle"] for view in drr["views"]] == [0, 60, 200]
    for view in drr["views"]:
        source, center, u, v = (np.array(view[key]) for key in ("source", "detector_center", "u_axis", "v_axis"))
        assert np.linalg.norm(source - drr["isocenter"]) == pytest.approx(1000)
        assert np.linalg.norm(source - center) == pytest.approx(1500)
        np.testing.assert_allclose(
            [u @ u, v @ v, u @ v, u @ (center - source), v @ (center - source)], [1, 1, 0, 0, 0], atol=1e-9
        )
    np.testing.assert_allclose(drr["views"][0]["source"], [0, 1000, 0], atol=1e-9)
    assert images.affine[0, 0] == images.affine[1, 1] == drr["detector_spacing"][0]
    np.testing.assert_allclose(images.affine @ torch.tensor([15.5, 11.5, 0, 1]).double(), [0, 0, 0, 1], atol=1e-9)
    assert images.meta["filename_or_obj"] == "/scans/leg.nii.gz"


def test_the_input_stays_as_it_is_and_integers_are_taken(limb: Limb, projector: ProjectDRR) -> None:
    volume = limb().round()
    before, affine = volume.as_tensor().clone(), volume.affine.clone()
    images = projector(volume)
    assert torch.equal(volume.as_tensor(), before)
    assert torch.equal(volume.affine, affine)
    integers = projector(volume.to(torch.int16))
    torch.testing.assert_close(integers.as_tensor(), images.as_tensor())


def test_without_tracked_metadata_a_plain_tensor_comes_back(limb: Limb, projector: ProjectDRR) -> None:
    volume = limb()
    expected = projector(volume)
    set_track_meta(False)
    try:
        images = projector(volume)
    finally:
        set_track_meta(True)
    assert type(images) is torch.Tensor
    assert torch.equal(images, expected.as_tensor())


def test_dictionary_form_projects_every_key_and_leaves_the_rest(limb: Limb) -> None:
    assert ProjectDRRD is ProjectDRRDict is ProjectDRRd
    data = {"a": limb(), "b": limb((36, 40, 32), name="other.nii"), "age": 40}
    options = {"angles": (0, 90), "detector_shape": 24, "energy": 50.0, "normalize": None, "photons": 1e5, "seed": 4}
    found = ProjectDRRd(["a", "b"], **options)(data)
    assert set(found) == {"a", "b", "age"}
    assert data["a"].shape == (1, 40, 40, 40)
    for key in "ab":
        assert torch.equal(found[key], ProjectDRR(**options)(data[key]))
    assert found["b"].meta["drr"]["volume"] == "other"
    with pytest.raises(KeyError):
        ProjectDRRd(["c"])(data)
    assert "c" not in ProjectDRRd(["c"], allow_missing_keys=True)(data)


def test_every_option_reaches_the_array_transform_from_the_dictionary_one() -> None:
    options = {
        "angles": (3.0,), "detector_shape": (8, 9), "detector_spacing": (1.0, 2.0), "source_to_isocenter": 500.0,
        "source_to_detector": 800.0, "axis": "A", "isocenter": (1.0, 2.0, 3.0), "beam": "parallel", "energy": 70.0,
        "spectrum": [(50.0, 1.0)], "photons": 10.0, "seed": 5, "normalize": "view", "allow_truncation": True,
        "backend": "rtk", "device": "cpu",
    }  # fmt: skip
    array, inside = ProjectDRR(**options), ProjectDRRd("image", **options).projector
    assert pickle.dumps(vars(inside)) == pickle.dumps(vars(array))
    default = vars(ProjectDRR())
    assert all(str(default[name]) != str(value) for name, value in vars(array).items())


def test_views_of_several_volumes_make_a_batch_and_come_apart_again(limb: Limb) -> None:
    items = [{"image": limb(name=f"leg{number}.nii.gz")} for number in range(2)]
    views = [ProjectDRRd("image", (0, 90), 24)(item) for item in items]
    batch = next(iter(DataLoader(views, batch_size=2)))
    assert batch["image"].shape == (2, 2, 24, 24)
    for number, item in enumerate(decollate_batch(batch)):
        drr = item["image"].meta["drr"]
        assert drr["volume"] == f"leg{number}"
        assert float(drr["views"][1]["angle"]) == 90
        assert torch.equal(item["image"].as_tensor(), views[number]["image"].as_tensor())


def test_several_volumes_on_one_grid_are_projected_as_each_alone(projector: ProjectDRR) -> None:
    values = torch.rand(2, 20, 18, 16)
    affine = np.diag([4.0, 4.0, 5.0, 1.0])
    both = projector.project(values, affine)
    assert both.shape == (6, 32, 24)
    for channel in range(2):
        torch.testing.assert_close(both[3 * channel :][:3], projector.project(values[channel : channel + 1], affine))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_views_of_the_cpu(limb: Limb) -> None:
    volume = limb()
    for options in ({}, {"spectrum": "70kVp", "photons": 1e5}):
        projector = ProjectDRR((0, 60, 200), (32, 24), **options)
        expected = projector(volume)
        on_gpu = projector(volume.cuda())
        assert on_gpu.is_cuda
        torch.testing.assert_close(on_gpu.cpu().as_tensor(), expected.as_tensor(), atol=1e-4, rtol=0)
        through = ProjectDRR((0, 60, 200), (32, 24), **options, device="cuda")(volume)
        assert not through.is_cuda
        torch.testing.assert_close(through.as_tensor(), on_gpu.cpu().as_tensor())


@pytest.mark.data
def test_a_real_chest_ct_shows_lungs_dark_and_the_heart_bright(segdiff_data: Path) -> None:
    file = segdiff_data / "ct" / "totalseg_aorta" / "ct_cropped.nii.gz"
    chain = Compose(
        [LoadImaged("image", ensure_channel_first=True), ProjectDRRd("image", (0, 90), 96, allow_truncation=True)]
    )
    with pytest.warns(UserWarning, match=r"ct_cropped.nii.gz: the volume ends in tissue at its"):
        front, side = chain({"image": file})["image"]
    assert front.meta["drr"]["truncated"] is True
    # Lungs stand left and right of the heart; the column behind it makes the side view's back bright.
    middle, lungs = front[44:52, 40:56].mean(), torch.stack([front[18:26, 60:76].mean(), front[70:78, 60:76].mean()])
    assert torch.all(lungs < 0.75 * middle)
    assert 0.05 < float(side.mean()) < 0.95
