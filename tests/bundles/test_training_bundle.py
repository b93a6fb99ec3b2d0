"""Training of every bundle as its users start it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import run
from PIL import Image

from monai_segdiff.data import read_dataset
from monai_segdiff.generation import collect_masks, load_generator


def weights_of(bundle):
    return torch.load(bundle.weights, weights_only=True)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def options(overrides):
    return [
        part
        for name, value in overrides.items()
        for part in (f"--{name}", value if isinstance(value, str) else repr(value))
    ]


def command(*parts, **overrides):
    return [*parts, "-m", "monai.bundle", "run", "training", *options(overrides)]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_a_training_leaves_weights_their_card_checkpoints_and_pictures(trained):
    names = sorted(path.name for path in (trained.root / "models").iterdir())
    assert names == ["checkpoint_epoch=1.pt", "checkpoint_epoch=2.pt", "model.pt", "model.yaml"]
    card = yaml.safe_load((trained.root / "models" / "model.yaml").read_text())
    dataset = read_dataset(trained.phantoms)
    assert card["image_size"] == [16, 16]
    assert (card["classes"], card["parents"]) == (dataset.classes, dataset.parents)
    assert tuple(card["intensity_range"]) == dataset.intensity_range
    with Image.open(trained.root / "eval" / "preview_epoch=2.png") as picture:
        assert np.asarray(picture).std() > 10
    assert list((trained.root / "eval" / "tensorboard").glob("events.*"))


def test_the_weights_are_the_moving_average(trained, bundle_name, make_bundle, tmp_path):
    bundle = make_bundle(tmp_path, bundle_name, dataset_dir=str(trained.phantoms))
    bundle.run(max_images=64, images_per_epoch=64)
    state = torch.load(bundle.root / "models" / "checkpoint_epoch=1.pt", weights_only=True)
    assert state["trainer"]["iteration"] == 16
    assert same(weights_of(bundle), state["ema"])
    assert not same(weights_of(bundle), state["network"])


def test_the_phantoms_are_split_by_patient(trained):
    dataset = read_dataset(trained.phantoms)
    assert {split: len(cases) for split, cases in dataset.splits.items()} == {
        "training": 12,
        "validation": 4,
        "test": 4,
    }


def test_run_and_run_training_from_elsewhere_end_equal_and_resume(
    trained, bundle_name, make_bundle, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    bundle = make_bundle(tmp_path / "a", bundle_name, dataset_dir=str(trained.phantoms))
    bundle.run(None, max_images=8)
    assert torch.load(bundle.root / "models" / "checkpoint_epoch=1.pt", weights_only=True)["trainer"]["epoch"] == 1
    bundle.run(None, num_steps=3)  # which is for pictures on the way, and of no concern to the weights
    assert same(weights_of(bundle), weights_of(trained))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"], "a run leaves nothing where it is started"


def test_the_seed_changes_the_weights(trained, bundle_name, make_bundle, tmp_path):
    bundle = make_bundle(tmp_path, bundle_name, dataset_dir=str(trained.phantoms), seed=1)
    bundle.run()
    assert not same(weights_of(bundle), weights_of(trained))


@pytest.mark.slow
@pytest.mark.parametrize("bundle_name", ["ct_organ", "knee_drr"], indirect=True)  # breast_mri: by two processes, below
def test_the_command_line_trains_in_the_bundles_folder(trained, bundle_name, make_bundle, tmp_path):
    bundle = make_bundle(tmp_path, bundle_name, dataset_dir=str(trained.phantoms))
    overrides = {"config_file": "configs/train.yaml", **bundle.overrides}
    done = subprocess.run(
        command(sys.executable, **overrides), cwd=bundle.root, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert same(weights_of(bundle), weights_of(trained))


def test_inference_by_the_bundle_writes_one_image_for_each_mask(trained, tmp_path, own_logging):
    config = trained.config("inference.yaml")
    with own_logging():
        values = {"bundle_root": str(trained.root), "output_dir": str(tmp_path), "amp_dtype": "float32"}
        run(config_file=config, **values)
    masks = collect_masks(trained.phantoms)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(mask.label.name for mask in masks)
    generator = load_generator(trained.root, overrides={"amp_dtype": "float32"})
    low, high = generator.intensity_range
    for index, mask in enumerate(masks):
        image = nib.load(tmp_path / mask.label.name)
        np.testing.assert_array_equal(image.affine, nib.load(mask.label).affine)
        expected = generator.sample(generator.condition(mask.label)[None], [index])[0, 0].numpy()
        np.testing.assert_allclose(image.get_fdata(), expected, atol=1e-4 * (high - low))


@pytest.mark.slow
@pytest.mark.parametrize("bundle_name", ["breast_mri"], indirect=True)
def test_two_processes_train_one_network(trained, bundle_name, make_bundle, tmp_path):
    bundle = make_bundle(tmp_path, bundle_name)
    shutil.copytree(trained.phantoms, bundle.phantoms)
    overrides = {"config_file": ["configs/train.yaml", "configs/multi_gpu_train.yaml"], **bundle.overrides}
    # What each rank ends with, beside what rank 0 writes.
    overrides["finalize"] = [
        "$torch.save(@network_def.state_dict(), f'rank{os.environ[\"RANK\"]}.pt')",
        "$dist.destroy_process_group()",
    ]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        command(*torchrun, **overrides), cwd=bundle.root, env=environment(), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(bundle.root / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert same(*ranks)
    state = torch.load(bundle.root / "models" / "checkpoint_epoch=2.pt", weights_only=True)
    assert same(ranks[0], state["network"]), "the file fits a network without the parallel wrapper"
    assert state["trainer"]["iteration"] == 2, "eight images an epoch are one batch of four on each process"
    assert load_generator(bundle.root).image_size == (16, 16)
