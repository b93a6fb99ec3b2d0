from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
import yaml
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


def by_hand(bundle, folder, **changes):
    """A copy of a trained bundle with a card that somebody has changed."""
    shutil.copytree(bundle.root, folder, ignore=shutil.ignore_patterns("phantoms*", "eval", "checkpoint*"))
    card = folder / "models" / "model.yaml"
    card.write_text(yaml.safe_dump({**yaml.safe_load(card.read_text()), **changes}, sort_keys=False))
    return folder


def test_names_of_classes_are_text_in_a_card_that_is_edited(trained_bundle, tmp_path):
    names = ["left::kidney", "kidney#1", "@seed", "%x.yaml", "_target_", "$1 / 0"]
    root = by_hand(
        trained_bundle,
        tmp_path / "b",
        classes={name: index for index, name in enumerate(names, start=1)},
        parents=dict.fromkeys(names[1:], names[0]),
    )
    generator = load_generator(root)
    assert list(generator.classes) == names
    assert generator.parents == dict.fromkeys(names[1:], names[0])


def test_a_card_that_claims_a_huge_network_is_refused_before_memory_is_taken(trained_bundle, tmp_path):
    root = by_hand(trained_bundle, tmp_path / "b", channels=[8, 60000], norm_num_groups=4, num_res_blocks=20)
    with pytest.raises(ValueError, match=r"model\.pt holds the weights of another architecture"):
        load_generator(root)  # of terabytes


def test_a_card_that_no_network_can_be_made_of_is_named(trained_bundle, tmp_path):
    root = by_hand(trained_bundle, tmp_path / "b", attention_levels=[False] * 7)
    with pytest.raises(ValueError, match=r"model\.yaml cannot be used \(.*attention_levels"):
        load_generator(root)


def test_weights_under_another_card_are_refused(trained_bundle, tmp_path):
    root = by_hand(trained_bundle, tmp_path / "b", weights_sha256=["0" * 64])
    with pytest.raises(ValueError, match=r"model\.pt holds the weights \w+\.\.\., but model\.yaml beside it"):
        load_generator(root)


def test_weights_without_a_card_are_refused(trained_bundle, tmp_path):
    shutil.copy(trained_bundle.weights, tmp_path / "mine.pt")
    with pytest.raises(ValueError, match=r"mine\.pt lies there without a card .*: put back mine\.yaml"):
        load_generator("ct_organ", tmp_path / "mine.pt")


def test_a_configuration_that_lost_an_id_is_named(trained_bundle, tmp_path):
    root = by_hand(trained_bundle, tmp_path / "b")
    file = root / "configs" / "inference.yaml"
    whole = file.read_text()
    file.write_text(whole.replace("\nrescale:", "\nscale_back:"))
    with pytest.raises(ValueError, match=r"inference\.yaml has no id 'rescale'; copy the bundle's configs anew"):
        load_generator(root)
    file.write_text(whole.replace("\nencoder:", "\nencodings:"))
    with pytest.raises(ValueError, match=r"inference\.yaml cannot be used \(.*encoder"):
        load_generator(root)


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
