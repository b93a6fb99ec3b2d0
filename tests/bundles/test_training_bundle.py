"""Training of ct_organ as its users start it."""

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
from monai_segdiff.generation import collect_masks, generate_dataset, load_generator


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


def test_a_training_leaves_weights_their_card_checkpoints_and_pictures(trained_bundle):
    names = sorted(path.name for path in (trained_bundle.root / "models").iterdir())
    assert names == ["checkpoint_epoch=1.pt", "checkpoint_epoch=2.pt", "model.pt", "model.yaml"]
    card = yaml.safe_load((trained_bundle.root / "models" / "model.yaml").read_text())
    assert card["image_size"] == [16, 16]
    assert list(card["classes"]) == ["body", "lungs", "liver", "spleen", "kidneys", "spine"]
    assert card["parents"]["liver"] == "body"
    with Image.open(trained_bundle.root / "eval" / "preview_epoch=2.png") as picture:
        assert np.asarray(picture).std() > 10
    assert list((trained_bundle.root / "eval" / "tensorboard").glob("events.*"))


def test_the_weights_are_the_moving_average(trained_bundle, make_bundle, tmp_path):
    bundle = make_bundle(tmp_path, dataset_dir=str(trained_bundle.phantoms))
    bundle.run(max_images=64, images_per_epoch=64)
    state = torch.load(bundle.root / "models" / "checkpoint_epoch=1.pt", weights_only=True)
    assert state["trainer"]["iteration"] == 16
    assert same(weights_of(bundle), state["ema"])
    assert not same(weights_of(bundle), state["network"])


def test_the_phantoms_are_split_by_patient(trained_bundle):
    dataset = read_dataset(trained_bundle.phantoms)
    assert {split: len(cases) for split, cases in dataset.splits.items()} == {
        "training": 12,
        "validation": 4,
        "test": 4,
    }


def test_run_and_run_training_from_elsewhere_end_equal_and_resume(trained_bundle, make_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = make_bundle(tmp_path / "a", dataset_dir=str(trained_bundle.phantoms))
    bundle.run(None, max_images=8)
    assert torch.load(bundle.root / "models" / "checkpoint_epoch=1.pt", weights_only=True)["trainer"]["epoch"] == 1
    bundle.run(None)
    assert same(weights_of(bundle), weights_of(trained_bundle))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"], "a run leaves nothing where it is started"


def test_the_seed_changes_the_weights(trained_bundle, make_bundle, tmp_path):
    bundle = make_bundle(tmp_path, dataset_dir=str(trained_bundle.phantoms), seed=1)
    bundle.run()
    assert not same(weights_of(bundle), weights_of(trained_bundle))


def test_the_command_line_trains_in_the_bundles_folder(trained_bundle, make_bundle, tmp_path):
    bundle = make_bundle(tmp_path, dataset_dir=str(trained_bundle.phantoms))
    overrides = {"config_file": "configs/train.yaml", **bundle.overrides}
    done = subprocess.run(
        command(sys.executable, **overrides), cwd=bundle.root, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert same(weights_of(bundle), weights_of(trained_bundle))


@pytest.mark.parametrize(
    ("overlay", "overrides"),
    [
        ("published.yaml", {"channels": [8, 8]}),
        ("patches.yaml", {"image_size": [8, 8]}),
    ],
)
def test_overlays_train_and_generate(trained_bundle, make_bundle, tmp_path, overlay, overrides):
    bundle = make_bundle(tmp_path, dataset_dir=str(trained_bundle.phantoms))
    for name in yaml.safe_load((bundle.root / "configs" / overlay).read_text()):
        if name not in ("image_size", "channels", "attention_levels", "num_head_channels", "norm_num_groups"):
            bundle.overrides.pop(name, None)
    bundle.overrides["batch_size"] = 4
    bundle.run("training", overlay, num_steps=3, **overrides)
    generator = load_generator(bundle.root)
    card = yaml.safe_load((bundle.root / "models" / "model.yaml").read_text())
    assert list(generator.image_size) == card["image_size"] == overrides.get("image_size", [16, 16])
    if overlay == "published.yaml":
        assert (generator.settings["sampler"], generator.settings["encoding"]) == ("ddim", "ordinal")
        masks = collect_masks(trained_bundle.phantoms)[:1]
        dataset = generate_dataset(generator, masks, tmp_path / "s", progress=False)
        assert len(dataset.splits["training"]) == 1


def test_volumes_are_trained_on_and_generated_with_the_geometry_of_the_mask(make_bundle, tmp_path):
    bundle = make_bundle(tmp_path, spatial_dims=3, image_size=[16, 16, 8], amp_dtype="bfloat16")
    bundle.run()
    masks = collect_masks(bundle.phantoms)
    dataset = generate_dataset(load_generator(bundle.root), masks, tmp_path / "s", progress=False)
    assert dataset.spatial_dims == 3
    for mask, case in zip(masks, dataset.splits["training"], strict=True):
        label, image = nib.load(mask.label), nib.load(case.image)
        assert image.shape == label.shape == (16, 16, 8)
        np.testing.assert_array_equal(image.affine, label.affine)
        assert np.isfinite(image.get_fdata()).all()


def test_inference_by_the_bundle_writes_one_image_for_each_mask(trained_bundle, tmp_path, own_logging):
    config = [*trained_bundle.config("inference.yaml"), str(trained_bundle.root / "models" / "model.yaml")]
    with own_logging():
        values = {"bundle_root": str(trained_bundle.root), "output_dir": str(tmp_path), "amp_dtype": "float32"}
        run(config_file=config, **values)
    masks = collect_masks(trained_bundle.phantoms)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(mask.label.name for mask in masks)
    generator = load_generator(trained_bundle.root, overrides={"amp_dtype": "float32"})
    for index, mask in enumerate(masks):
        image = nib.load(tmp_path / mask.label.name)
        np.testing.assert_array_equal(image.affine, nib.load(mask.label).affine)
        expected = generator.sample(generator.condition(mask.label)[None], [index])[0, 0].numpy()
        np.testing.assert_allclose(image.get_fdata(), expected, atol=0.05)  # of 500 HU


@pytest.mark.slow
def test_two_processes_train_one_network(trained_bundle, make_bundle, tmp_path):
    bundle = make_bundle(tmp_path)
    shutil.copytree(trained_bundle.phantoms, bundle.phantoms)
    overrides = {"config_file": ["configs/train.yaml", "configs/multi_gpu_train.yaml"], **bundle.overrides}
    # What each rank ends with, beside what rank 0 writes.
    overrides["finalize"] = [
        "$torch.save(@network_def.state_dict(), f'rank{os.environ[\"RANK\"]}.pt')",
        "$dist.destroy_process_group()",
    ]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        command(*torchrun, **overrides), cwd=bundle.root, env=environment(), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(bundle.root / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert same(*ranks)
    state = torch.load(bundle.root / "models" / "checkpoint_epoch=2.pt", weights_only=True)
    assert same(ranks[0], state["network"]), "the file fits a network without the parallel wrapper"
    assert state["trainer"]["iteration"] == 2, "eight images an epoch are one batch of four on each process"
    assert load_generator(bundle.root).image_size == (16, 16)
