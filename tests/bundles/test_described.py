"""The card of a training says what is trained, whatever was overridden; else the training refuses to start."""

from __future__ import annotations

import pytest
import torch
from monai.bundle import ConfigParser
from monai.utils import first

from monai_segdiff import bundle_path
from monai_segdiff.errors import unwrapped_errors
from monai_segdiff.handlers import CheckCard

TRAINED = {"breast_mri": "trained_breast", "ct_organ": "trained_bundle", "knee_drr": "trained_knee"}


@pytest.fixture
def check_of(request: pytest.FixtureRequest):
    """What the training of a bundle would compare when it starts."""

    def check_of(bundle: str, *overlays: str, **overrides) -> CheckCard:
        trained = request.getfixturevalue(TRAINED[bundle])
        parser = ConfigParser()
        configs = bundle_path(bundle) / "configs"
        parser.read_config([configs / f"{name}.yaml" for name in ("train", *overlays)])
        values = {**trained.overrides, "dataset_dir": str(trained.phantoms), "bundle_root": str(bundle_path(bundle))}
        parser.update({name: value for name, value in values.items() if not name.startswith("phantoms#")} | overrides)
        handlers = parser["train"]["handlers"]
        index = first(i for i, handler in enumerate(handlers) if handler["_target_"].endswith(".CheckCard"))
        return parser.get_parsed_content(f"train#handlers#{index}")

    return check_of


@pytest.mark.parametrize(
    ("bundle", "overlays"),
    [
        ("ct_organ", ("patches",)),
        ("breast_mri", ("concat",)),
        ("breast_mri", ("unconditional",)),
        ("breast_mri", ("no_ablation",)),
        ("breast_mri", ("ablation_background",)),
        ("knee_drr", ("contour",)),
        ("knee_drr", ("csm",)),
        ("knee_drr", ("csm", "contour")),
        ("knee_drr", ("unet",)),
        ("knee_drr", ("unet", "contour")),
        ("knee_drr", ("published", "published_sampling")),
    ],
)
def test_what_the_overlays_train_is_described(check_of, bundle, overlays):
    """Without overlays every training of the other tests shows it."""
    check_of(bundle, *overlays)(None)


def test_the_recipe_with_other_parameters_is_described(check_of):
    sizes = {"image_size": [16, 16], "channels": [8, 8], "attention_levels": [False, False], "norm_num_groups": 4}
    for bundle in ("ct_organ", "breast_mri"):
        check_of(bundle, "published", **sizes, num_head_channels=4, num_res_blocks=1)(None)


@pytest.mark.parametrize(
    ("bundle", "holder", "overrides"),
    [
        ("ct_organ", "network_def", {"channels": [8, 12], "attention_levels": [False, True], "num_head_channels": 2}),
        ("breast_mri", "network_options", {"channels": [8, 12], "num_res_blocks": 2, "norm_num_groups": 2}),
        ("knee_drr", "network_def", {"channels": [8, 12], "num_res_blocks": 2}),
    ],
)
def test_the_card_says_what_the_network_is_given_below_its_ids(check_of, bundle, holder, overrides):
    check = check_of(bundle, **{f"{holder}#{name}": value for name, value in overrides.items()})
    assert {name: check.card[name] for name in overrides} == overrides
    check(None)


@pytest.mark.parametrize(
    ("bundle", "override", "named"),
    [
        ("ct_organ", {"network_def#resblock_updown": True}, r"network_def\."),
        ("ct_organ", {"network_def#condition_channels": 3}, r"network_def\.\w+"),
        ("ct_organ", {"network_def#_target_": "monai_segdiff.networks.MaskSPADEUNet"}, "MaskSPADEUNet"),
        ("ct_organ", {"encode#mode": "bits"}, r"encoder\.mode is bits in this training, and one_hot where"),
        ("ct_organ", {"encode#classes": {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}}, r"encoder\.classes"),
        ("ct_organ", {"encode#known_flags": False}, r"encoder\._has_known is False"),
        ("ct_organ", {"ablate#null_prob": 0.0}, r"null_prob is 0\.0 in this training, and 0\.1"),
        ("ct_organ", {"ablate#full_prob": 0.5}, r"full_prob is 0\.5"),
        ("ct_organ", {"ablate#parents": {}}, r"parents\.lungs is None in this training, and body"),
        ("ct_organ", {"scale#a_min": -1000.0}, r"intensity_range is \[-1000\.0, 300\.0\]"),
        ("ct_organ", {"scale#b_min": 0.0}, r"network_range is \[0\.0, 1\.0\]"),
        ("ct_organ", {"prepare_batch#parameterization": {"_target_": "monai_segdiff.diffusion.ScoreVE"}}, "ScoreVE"),
        ("breast_mri", {"networks#spade#normalize_modulation": True}, r"network_def\."),
        ("breast_mri", {"encode#known_flags": False}, r"encoder\._has_known"),
        ("knee_drr", {"encode#values": {"contour": 0.25, "bone": 1.0}}, r"encoder\._codes"),
        ("knee_drr", {"methods#ctm#noise_embedding": False}, r"network_def\."),
    ],
)
def test_what_the_card_cannot_say_is_refused_by_name(check_of, bundle, override, named):
    check = check_of(bundle, **override)
    with pytest.raises(ValueError, match=rf"the card would not describe what is trained: .*{named}.*") as error:
        check(None)
    assert "inference.yaml is given the card. Override the ids that the card holds (" in str(error.value)


def test_another_size_than_the_card_says_is_refused(check_of):
    crop = {"_target_": "monai.transforms.CenterSpatialCropd", "keys": ["image", "label"], "roi_size": [8, 8]}
    with pytest.raises(ValueError, match=r"image_size is \[8, 8\] in this training, and \[16, 16\]"):
        check_of("ct_organ", fit=crop)(None)


def test_a_training_refuses_before_it_starts(make_bundle, trained_bundle, tmp_path):
    bundle = make_bundle(tmp_path, dataset_dir=str(trained_bundle.phantoms))
    with pytest.raises(ValueError, match="the card would not describe"), unwrapped_errors():
        bundle.run(**{"encode#mode": "bits", "encoder#mode": "bits"})
    assert not list((bundle.root / "models").glob("*.pt"))


def test_transforms_of_ones_own_are_passed_over(check_of):
    own = {"_target_": "monai.transforms.NormalizeIntensityd", "keys": "image"}
    check_of("ct_organ", scale=own)(None)


def test_the_comparison_takes_no_memory_for_the_network(check_of):
    made: list[torch.device] = []
    check = check_of("ct_organ")
    original = check._described

    def described(parser, name):
        found = original(parser, name)
        if name == "network_def":
            made.extend(weight.device for weight in found.parameters())
        return found

    check._described = described
    check(None)
    assert {device.type for device in made} == {"meta"}
