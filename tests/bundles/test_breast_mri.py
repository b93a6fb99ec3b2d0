"""What is breast_mri's own: the overlays of the ablation study, its published setting, the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import run

from monai_segdiff.__main__ import main
from monai_segdiff.data import BREAST_PHANTOM_CLASSES, BREAST_PHANTOM_PARENTS, load_image, read_dataset
from monai_segdiff.generation import collect_masks, load_generator

CLASSES, PARENTS = BREAST_PHANTOM_CLASSES, BREAST_PHANTOM_PARENTS
LABEL = torch.tensor([[[0, 0, 1, 1], [0, 1, 2, 2], [0, 1, 3, 1], [0, 0, 1, 0]]])


@pytest.fixture
def ablated(parser_of):
    """Label maps and known flags of `number` draws of the training, under an overlay."""

    def ablated(*overlays, number=400, **overrides):
        parser = parser_of("breast_mri", "train", *overlays, classes=CLASSES, parents=PARENTS, **overrides)
        ablate = parser.get_parsed_content("ablate")
        ablate.set_random_state(0)
        drawn = [ablate({"label": LABEL}) for _ in range(number)]
        return parser, [d["label"] for d in drawn], torch.stack([d["label_known"] for d in drawn])

    return ablated


def test_masks_are_ablated_in_the_shares_of_the_configuration(ablated):
    parser, labels, known = ablated(number=2000)
    assert known.all(1).float().mean() == pytest.approx(0.3 + 0.6 / 7, abs=0.04)
    assert (~known).all(1).float().mean() == pytest.approx(0.1, abs=0.03)
    for label, flags in zip(labels[:100], known[:100], strict=True):
        # Gland and vessels lie in the breast: without them the breast is whole.
        if flags[0]:
            assert torch.equal(label > 0, LABEL > 0)
    assert parser.get_parsed_content("encoder").out_channels == 6


def test_without_ablation_every_mask_is_whole(ablated):
    _, labels, known = ablated("no_ablation")
    assert known.all()
    assert all(torch.equal(label, LABEL) for label in labels)


def test_background_fill_leaves_holes_and_no_flags(ablated):
    parser, labels, known = ablated("ablation_background")
    without_vessels = labels[int(torch.nonzero((known == torch.tensor([True, True, False])).all(1))[0])]
    assert torch.equal(without_vessels == 0, (LABEL == 0) | (LABEL == 3))
    encoder, encode = parser.get_parsed_content("encoder"), parser.get_parsed_content("encode")
    assert encoder.out_channels == 3
    assert encode({"label": without_vessels})["label"].shape == (3, 4, 4)


@pytest.mark.parametrize(("overlays", "alike"), [((), False), (("ablation_per_batch",), True)])
def test_a_batch_shares_its_draw_only_where_asked(parser_of, trained_breast, overlays, alike):
    values = {key: value for key, value in trained_breast.overrides.items() if "#" not in key}
    parser = parser_of("breast_mri", "train", *overlays, dataset_dir=str(trained_breast.phantoms), **values)
    parser["images_per_epoch"] = 32
    batches = [batch["label_known"] for batch in parser.get_parsed_content("train#dataloader")]
    assert len(batches) == 8
    assert all(bool((flags == flags[0]).all()) for flags in batches) is alike
    assert len({tuple(flags[0].tolist()) for flags in batches}) > 1, "batches differ"


def test_the_published_overlay_is_that_of_ct_organ(parser_of):
    expected = {**parser_of("ct_organ", "published").get(), "conditioning": "concat"}
    assert parser_of("breast_mri", "published").get() == expected
    parser = parser_of("breast_mri", "train", "published", classes=CLASSES)
    assert parser.get_parsed_content("encoder").out_channels == 1


@pytest.mark.parametrize(
    "overlay", ["published", "no_ablation", "ablation_per_batch", "ablation_background", "patches"]
)
def test_overlays_train_and_generate(trained_breast, make_bundle, tmp_path, overlay):
    bundle = make_bundle(tmp_path, "breast_mri", dataset_dir=str(trained_breast.phantoms))
    overlay_file = bundle.root / "configs" / f"{overlay}.yaml"
    tiny = ("image_size", "channels", "attention_levels", "num_head_channels", "norm_num_groups", "batch_size")
    for name in yaml.safe_load(overlay_file.read_text()):
        if name not in tiny:
            bundle.overrides.pop(name, None)
    bundle.run("training", overlay_file.name, num_steps=3)
    weights = bundle.root / "models" / ("concat" if overlay == "published" else "") / "model.pt"
    card = yaml.safe_load(weights.with_suffix(".yaml").read_text())
    assert card["known_flags"] is (overlay != "ablation_background")
    generator = load_generator(bundle.root, weights)
    channels = {"published": 1, "ablation_background": 3}.get(overlay, 6)
    assert generator.network.condition_channels == channels
    condition = generator.condition(collect_masks(trained_breast.phantoms)[0].label)
    assert condition.shape == (channels, 16, 16)
    assert torch.isfinite(generator.sample(condition[None], [0])).all()


def test_the_command_line_generates_pairs_in_the_range_of_the_data(trained_breast, tmp_path):
    bundle, phantoms = str(trained_breast.root), str(trained_breast.phantoms)
    assert main(["generate", "--bundle", bundle, "--masks", phantoms, "--output", str(tmp_path / "s")]) == 0
    dataset = read_dataset(tmp_path / "s")
    assert (dataset.classes, dataset.parents, dataset.intensity_range) == (CLASSES, PARENTS, (0.0, 1.0))
    images = np.stack([load_image(case.image).numpy() for case in dataset.splits["training"]])
    assert images.min() >= 0
    assert images.max() <= 1


def test_evaluate_generates_and_writes_the_report(trained_breast, tmp_path, own_logging):
    values = {"dataset_dir": str(trained_breast.phantoms), "output_dir": str(tmp_path), "segmenter_images": 16}
    with own_logging():
        run(config_file=trained_breast.config("evaluate.yaml"), bundle_root=str(trained_breast.root), **values)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert all(name in json.dumps(report) for name in CLASSES)
    assert len(list((tmp_path / "synthetic" / "imagesTr").iterdir())) == len(collect_masks(trained_breast.phantoms))


@pytest.mark.slow
def test_volumes_are_trained_on_and_generated(make_bundle, tmp_path):
    bundle = make_bundle(tmp_path, "breast_mri", spatial_dims=3, image_size=[16, 16, 8])
    bundle.run()
    condition = load_generator(bundle.root).condition(collect_masks(bundle.phantoms)[0].label)
    assert condition.shape == (6, 16, 16, 8)
