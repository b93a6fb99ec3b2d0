from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch

from monai_segdiff.data import measure_sigma_data, open_dataset, read_dataset
from monai_segdiff.data.nifti import save_nifti


@pytest.fixture
def folder(tmp_path, make_pair):
    names = [make_pair(name)["patient"] for name in ("p0", "p1", "p2")]
    pairs = [{"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in names]
    root = tmp_path / "source"
    content = {"labels": {"1": "box"}, "intensity_range": [0, 100], "training": pairs[:2], "validation": pairs[2:]}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def drop(folder, entry):
    content = json.loads((folder / "dataset.json").read_text())
    del content[entry]
    (folder / "dataset.json").write_text(json.dumps(content))


def spoil_label(folder):
    label = np.zeros((10, 12, 14), np.uint8)
    label[:4] = 9
    save_nifti(folder / "labelsTr" / "p1.nii.gz", label, np.diag([2.0, 2.0, 3.0, 1.0]))


def test_a_sound_data_set_is_read_as_it_is(folder):
    assert open_dataset(folder, spatial_dims=3) == read_dataset(folder)


def test_errors_stop_it_with_the_files_and_the_command_that_lists_all(folder):
    spoil_label(folder)
    with pytest.raises(
        ValueError, match=r"(?s)1 errors in .*check-data .*p1\.nii\.gz: label map holds unknown ids \[9\]"
    ):
        open_dataset(folder, spatial_dims=3)
    assert open_dataset(folder, spatial_dims=3, verify=False).classes == {"box": 1}


def test_only_the_first_of_many_errors_are_shown(folder, make_pair):
    pairs = [make_pair(f"q{n}", label=np.full((10, 12, 14), 9, np.uint8)) for n in range(15)]
    content = {"labels": {"1": "box"}, "intensity_range": [0, 100], "training": pairs}
    (folder / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="15 errors") as error:
        open_dataset(folder)
    assert str(error.value).count("unknown ids") == 10


def test_the_dimension_must_be_the_configured_one(folder):
    with pytest.raises(ValueError, match=r"3 dimensions where 2D is configured; convert .* prepare"):
        open_dataset(folder, spatial_dims=2)


@pytest.mark.parametrize("entry", ["labels", "intensity_range"])
def test_what_the_network_needs_to_know_must_be_there(folder, entry):
    drop(folder, entry)
    with pytest.raises(ValueError, match=rf"dataset\.json does not say its '{entry}': .*prepare"):
        open_dataset(folder)


def test_data_are_made_once_where_there_are_none(folder, tmp_path):
    made = []

    def make(path):
        made.append(path)
        folder.rename(path)

    target = tmp_path / "made"
    assert len(open_dataset(target, make=make).splits["training"]) == 2
    open_dataset(target, make=make)
    assert made == [target]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_dataset(tmp_path / "nowhere")


def test_sigma_data_is_the_standard_deviation_of_all_pixels():
    images = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.3 + torch.arange(10.0).view(
        -1, 1, 1, 1
    )
    items = [{"image": image} for image in images]
    assert measure_sigma_data(items) == pytest.approx(float(images.double().std()), abs=1e-4)
    few = measure_sigma_data(items, number=2)
    assert few == pytest.approx(float(images[[0, 5]].double().std()), abs=1e-4)


def test_constant_images_have_no_sigma_data():
    with pytest.raises(ValueError, match="constant in the given intensity range: check intensity_range"):
        measure_sigma_data([{"image": torch.ones(1, 4, 4)}] * 3)


def test_covariates_that_a_network_is_not_told_are_one_warning(folder):
    content = json.loads((folder / "dataset.json").read_text())
    content["covariates"] = {"sex": {"values": ["F", "M"]}}
    (folder / "dataset.json").write_text(json.dumps(content))
    with pytest.warns(UserWarning, match=r"the covariates of .*source \(sex\) are not used.*ct_organ and breast_mri"):
        open_dataset(folder, spatial_dims=3, verify=False, covariates=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_dataset(folder, spatial_dims=3, verify=False).covariates == content["covariates"]
