from __future__ import annotations

import numpy as np
import pytest

from monai_segdiff.settings import check_settings
from monai_segdiff.workflows.plan.document import training_values
from monai_segdiff.workflows.plan.fingerprint import take_fingerprint
from monai_segdiff.workflows.plan.grid import expected_items
from monai_segdiff.workflows.plan.make import decide
from monai_segdiff.workflows.plan.picture import frame_of

from .made import CPU, GPU, as_ct, as_mr, nested, opened, pictures, volumes


def plan(folder, machine=CPU, edited=None, **classes):
    found = take_fingerprint(opened(folder, **classes), progress=False)
    return found, decide(found, machine, edited or {})


def values(choices):
    return {key: made.value for key, made in choices.made.items()}


def test_mr_is_cropped_to_its_labels_and_scaled_by_its_own_percentiles(tmp_path):
    _, choices = plan(volumes(tmp_path, as_mr))
    made = values(choices)
    assert made["spatial_dims"] == 2
    assert made["prepare.crop"] == "labels"
    assert made["prepare.spacing"] == [1.0, 1.0]
    assert made["prepare.percentiles"] == [0.5, 99.5]
    assert made["prepare.intensity_range"] is None
    assert made["prepare.body_threshold"] is None
    assert made["prepare.parents"] == {"inner": "outer"}
    # The labels are a cube of 16 mm, which any plane holds without padding.
    assert made["image_size"] == [16, 16]
    assert (made["max_images"], made["tuning_images"]) == (16_768, 5_632)


def test_ct_has_a_window_in_hu_and_a_body_around_all(tmp_path):
    _, choices = plan(volumes(tmp_path, as_ct))
    made = values(choices)
    assert made["prepare.crop"] == "body"
    assert made["prepare.percentiles"] is None
    low, high = made["prepare.intensity_range"]
    assert low <= 50 < 120 <= high
    assert high - low >= 300
    assert made["prepare.body_threshold"] == -300
    assert made["prepare.parents"] == {"outer": "body", "inner": "outer"}
    # The body has 32 x 24 mm in the axial plane.
    assert made["prepare.axis"] == 2
    assert made["image_size"] == [32, 24]


def test_pictures_are_fitted_as_a_whole(tmp_path):
    _, choices = plan(pictures(tmp_path), square=1)
    made = values(choices)
    assert made["image_size"] == [64, 48]
    assert made["prepare.intensity_range"] == [0.0, 255.0]
    assert not {"prepare.spacing", "prepare.axis", "prepare.crop"} & set(made)


def test_slices_lie_across_the_longest_side_of_voxels(tmp_path):
    _, choices = plan(volumes(tmp_path, as_mr, spacing=(1.0, 4.0, 1.0)))
    assert choices["prepare.axis"] == 1
    assert "longest across them" in choices.made["prepare.axis"].reason


def test_a_large_field_of_view_gets_larger_voxels(tmp_path):
    def large(n, rng):
        label = np.zeros((128, 128, 8), np.uint8)
        label[8:120, 8:120] = 1
        return label * 10.0**n + rng.random(label.shape), label

    _, choices = plan(volumes(tmp_path, large, classes=("organ",)))
    assert choices["image_size"] == [64, 64]
    assert choices["prepare.spacing"] == pytest.approx([2.0, 2.0], rel=0.15)


def test_a_gpu_gets_larger_images_and_the_published_network_where_the_data_have_them(tmp_path):
    def large(n, rng):
        label = np.zeros((160, 160, 4), np.uint8)
        label[8:152, 8:152] = 1
        return label * 10.0**n + rng.random(label.shape), label

    _, choices = plan(volumes(tmp_path, large, classes=("organ",)), GPU)
    assert choices["image_size"] == [128, 128]
    assert choices["channels"] == [64, 128, 256, 384]


@pytest.mark.parametrize("fill", [as_mr, as_ct])
@pytest.mark.parametrize("dims", [2, 3])
def test_every_plan_is_one_that_a_training_accepts(tmp_path, fill, dims):
    _, choices = plan(volumes(tmp_path, fill), edited={"spatial_dims": dims})
    check_settings(training_values(values(choices)))
    assert len(choices["image_size"]) == dims
    assert all(n % 8 == 0 for n in choices["image_size"])


def test_what_is_edited_holds_and_the_rest_follows_it(tmp_path):
    found, choices = plan(volumes(tmp_path, as_mr), edited={"prepare.axis": 0, "batch_size": 4, "max_images": 56})
    assert choices["prepare.axis"] == 0
    assert choices.made["prepare.axis"].reason.startswith("yours; planned was 2: ")
    assert choices["images_per_epoch"] == 4
    assert choices.planned()["batch_size"] == 16
    # 16 sagittal slices of each of four patients hold the cube.
    assert expected_items(found, choices) == {f"P{n}": 16.0 for n in range(4)}


def test_a_value_that_a_plan_does_not_have_by_itself_can_be_added(tmp_path):
    _, choices = plan(volumes(tmp_path, as_mr), edited={"num_steps": 4, "prepare.fractions": [0.5, 0.25, 0.25]})
    assert choices["num_steps"] == 4
    assert choices["prepare.fractions"] == [0.5, 0.25, 0.25]
    assert not {"num_steps", "prepare.fractions"} & set(choices.planned()), "so it is the user's the next time, too"


def test_one_patient_is_split_within(tmp_path):
    _, choices = plan(volumes(tmp_path, as_mr, number=1))
    assert choices["prepare.within_patient"] is True


@pytest.mark.parametrize(
    ("edited", "message"),
    [({"spatial_dims": 4}, "spatial_dims must be 2 or 3"), ({"bundle": "knee_drr"}, "bundle must be ct_organ or")],
)
def test_what_no_plan_can_have_is_refused_by_name(tmp_path, edited, message):
    with pytest.raises(ValueError, match=message):
        plan(volumes(tmp_path, as_mr), edited=edited)


def test_the_frame_is_moved_into_the_field_of_view(tmp_path):
    def at_the_rim(n, rng):
        label = np.roll(nested(), 8, axis=0)  # from voxel 16 to 32, the last one
        return label * 10.0**n + rng.random(label.shape), label

    found, choices = plan(volumes(tmp_path, at_the_rim), edited={"prepare.axis": 2, "image_size": [24, 24]})
    frame = frame_of(found.cases[0], choices)
    assert frame == [(8.0, 32.0), (8.0, 32.0), (0.0, 24.0)]


def test_every_choice_has_a_reason(tmp_path):
    _, choices = plan(volumes(tmp_path, as_ct))
    assert all(len(made.reason) > 5 for made in choices.made.values())
