from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from monai.transforms import ScaleIntensityRanged

from monai_segdiff.generation import load_generator
from monai_segdiff.networks import weights_hash


def test_the_card_beside_the_weights_says_what_was_trained(trained_bundle, load):
    generator = load()
    assert generator.image_size == (16, 16)
    assert generator.intensity_range == (-200.0, 300.0)
    assert list(generator.classes) == ["body", "lungs", "liver", "spleen", "kidneys", "spine"]
    assert 0.3 < generator.settings["parameterization"]["sigma_data"] < 1.2
    assert generator.weights_sha256 == weights_hash(trained_bundle.weights)
    saved = torch.load(trained_bundle.weights, weights_only=True)
    assert all(torch.equal(value, saved[name]) for name, value in generator.network.state_dict().items())
    assert not generator.network.training


def test_intensities_do_not_leave_the_range_whoever_rescales(load):
    images = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0]).reshape(1, 1, 5)
    generator = load()
    assert generator.intensities(images).flatten().tolist() == [-200, -200, 50, 300, 300]
    careless = replace(generator, rescale=ScaleIntensityRanged("pred", -1, 1, 0.1, 0.7), intensity_range=(0.1, 0.7))
    shown = careless.intensities(images).double()
    assert 0.1 <= shown.min().item() < shown.max().item() <= 0.7  # the float32 nearest to 0.1 is above it, to 0.7 below


def test_weights_may_lie_anywhere_with_their_card(trained_bundle, tmp_path):
    for name in ("model.pt", "model.yaml"):
        shutil.copy(trained_bundle.root / "models" / name, tmp_path / name.replace("model", "mine"))
    generator = load_generator("ct_organ", tmp_path / "mine.pt")
    assert generator.image_size == (16, 16)
    assert generator.weights_sha256 == weights_hash(trained_bundle.weights)


def test_missing_weights_say_how_to_train(make_bundle, tmp_path):
    bundle = make_bundle(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"no weights at .*models/model\.pt: train the bundle first .*--weights"
    ):
        load_generator(bundle.root)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sampler": "euler"}, "unknown sampler 'euler'"),
        ({"num_steps": 0}, "at least 1"),
        ({"null_prob": 0.0, "guidance_weight": 2.0}, "null"),
        ({"samplr": "heun"}, r"'samplr' cannot be set: .*inference\.yaml has no such id"),
    ],
)
def test_impossible_settings_are_told_without_the_layers_around_them(load, overrides, message):
    with pytest.raises(ValueError, match=message):
        load(**overrides)


def test_weights_lie_where_the_bundle_says(trained_bundle, tmp_path):
    root = tmp_path / "moved"
    shutil.copytree(trained_bundle.root, root, ignore=shutil.ignore_patterns("phantoms*", "eval"))
    (root / "models").rename(root / "elsewhere")
    generator = load_generator(root, overrides={"ckpt_dir": str(root / "elsewhere")})
    assert generator.weights == root / "elsewhere" / "model.pt"
    assert generator.image_size == (16, 16)
    (root / "configs" / "moved.yaml").write_text("ckpt_dir: $@bundle_root + '/elsewhere'\nnum_steps: 2\n")
    generator = load_generator(root, overlays=["moved.yaml"])
    assert generator.weights == root / "elsewhere" / "model.pt"
    assert generator.settings["num_steps"] == 2, "an overlay comes after the card"
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        load_generator(root, overlays=["nowhere.yaml"])


def test_half_precision_stays_near_full_precision(trained_bundle, load):
    half = load(amp_dtype="bfloat16")
    assert half.settings["amp_dtype"] == "bfloat16"
    condition = half.condition(next((trained_bundle.phantoms / "labelsTr").iterdir()))[None]
    images = [generator.sample(condition, [0]) for generator in (half, load())]
    assert float((images[0] - images[1]).abs().max()) < 0.05 * 500
    assert not torch.equal(*images)
