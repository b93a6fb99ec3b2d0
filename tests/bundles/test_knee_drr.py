"""What is knee_drr's own: the three methods and two conditions of arXiv 2404.03541."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import run

from monai_segdiff.data import load_image, read_dataset
from monai_segdiff.diffusion import EDM, ScoreVE
from monai_segdiff.engines import RegressionPrepareBatch, SegDiffusionPrepareBatch
from monai_segdiff.evaluation import evaluate
from monai_segdiff.generation import collect_masks, generate_dataset, load_generator
from monai_segdiff.inferers import InputStart, NoiseStart, RegressionInferer
from monai_segdiff.workflows import load_variants

FOLDERS = {
    ("ctm", "contour_bone"): "models",
    ("ctm", "contour"): "models/ctm_contour",
    ("csm", "contour_bone"): "models/csm",
    ("csm", "contour"): "models/csm",
    ("unet", "contour_bone"): "models/unet_contour_bone",
    ("unet", "contour"): "models/unet_contour",
}
SMALL = {"channels": [8, 8], "attention_levels": [False, False], "norm_num_groups": 4, "num_res_blocks": 1}


@pytest.fixture(scope="module")
def variants(trained_knee, make_bundle, tmp_path_factory):
    """A bundle in which one model of each method is trained: not to be changed."""
    bundle = make_bundle(tmp_path_factory.mktemp("variants"), "knee_drr", phantom_dir=str(trained_knee.phantoms))
    for overlays in ((), ("csm.yaml",), ("unet.yaml", "contour.yaml")):
        bundle.run("training", *overlays)
    return bundle


def test_the_default_has_the_published_size_and_training(parser_of):
    parser = parser_of("knee_drr", "train", sigma_data=0.3, **{f"network_def#{k}": value for k, value in SMALL.items()})
    get = parser.get_parsed_content
    assert (get("method"), get("condition")) == ("ctm", "contour_bone")
    assert get("image_size") == [256, 256]
    assert get("channels") == [64, 128, 128, 128, 128, 256]
    attended = [side for side, wanted in zip((256, 128, 64, 32, 16, 8), get("attention_levels"), strict=True) if wanted]
    assert attended == [16]
    assert (parser["scale"]["b_min"], parser["scale"]["b_max"]) == (0.0, 1.0)
    assert isinstance(get("parameterization"), EDM)
    assert (get("parameterization").sigma_min, get("parameterization").sigma_max) == (0.005, 128.0)
    assert (get("batch_size"), get("max_epochs"), get("max_images")) == (16, 300, 300 * 45 * 60)
    optimizer = get("optimizer")
    assert type(optimizer) is torch.optim.Adam
    rate = parser_of("knee_drr", "train", total_steps=1000, optimizer=optimizer).get_parsed_content("lr_scheduler")
    assert {rate.lr_lambdas[0](step) * 2e-4 for step in (0, 1, 500, 999)} == {optimizer.param_groups[0]["lr"]} == {2e-4}


def test_the_published_overlay_is_the_published_score_network(parser_of):
    parameterization = parser_of("knee_drr", "train", "published").get_parsed_content("parameterization")
    assert parameterization.config() == {
        "_target_": "monai_segdiff.diffusion.ScoreVE",
        "sigma_min": 0.01,
        "sigma_max": 128.0,
    }


@pytest.mark.parametrize(("method", "condition"), FOLDERS)
def test_methods_and_conditions_are_those_of_the_paper(parser_of, method, condition):
    train = parser_of("knee_drr", "train", method, condition, sigma_data=0.3, **SMALL).get_parsed_content
    network, inferer, batch = train("network_def"), train("inferer"), train("prepare_batch")
    assert network.in_channels == 1
    assert network.condition_channels == (1 if method == "ctm" else 0)
    assert (network.embedding is None) == (method == "unet")
    assert type(train("loss_function")) is (torch.nn.L1Loss if method == "unet" else torch.nn.MSELoss)
    assert type(batch) is (RegressionPrepareBatch if method == "unet" else SegDiffusionPrepareBatch)
    assert batch.condition_key == (None if method == "csm" else "label")
    if method == "unet":
        assert type(inferer) is RegressionInferer
    else:
        assert type(inferer.start) is (InputStart if method == "csm" else NoiseStart)
    label = torch.tensor([[[0, 1, 2]]])
    values = [0.0, 0.5, 1.0] if condition == "contour_bone" else [0.0, 0.5, 0.5]
    for encoded in (train("encoder")(label), train("encode")({"label": label})["label"]):
        assert encoded.tolist() == [[values]]
    for name in ("train", "inference"):
        parser = parser_of("knee_drr", name, method, condition)
        assert parser.get_parsed_content("ckpt_dir") == f"./{FOLDERS[method, condition]}"


@pytest.mark.parametrize("name", ["method", "condition"])
def test_an_unknown_method_or_condition_is_refused(parser_of, name):
    parser = parser_of("knee_drr", "inference", **{name: "cmt"})
    with pytest.raises(RuntimeError) as error:
        parser.get_parsed_content("network_def" if name == "method" else "encoder")
    assert "cmt" in str(error.value.__cause__) or "cmt" in str(error.value)


@pytest.mark.parametrize(("method", "evaluations"), [("ctm", 999), ("csm", 399)])
def test_published_sampling_is_the_published_grid(parser_of, method, evaluations):
    inferer = parser_of("knee_drr", "inference", "published_sampling", method).get_parsed_content("inferer")
    assert inferer.sampler_options == {"snr": 0.4}
    published = ScoreVE(0.01, 128.0)
    start = float(published.sigma(0.4)) if method == "csm" else None
    torch.testing.assert_close(inferer.sigmas, published.sigmas(inferer.num_steps, start))
    assert float(inferer.sigmas[0]) == pytest.approx(0.4395 if method == "csm" else 128.0, rel=1e-3)
    images = inferer(torch.zeros(2, 1, 4, 4), Zero())
    assert images.shape == (2, 1, 4, 4)
    assert inferer.evaluations == evaluations


class Zero(torch.nn.Module):
    """A score network that answers zero."""

    out_channels = 1

    def forward(self, x, timesteps, condition=None):
        return torch.zeros_like(x)


def test_fast_sampling_takes_25_evaluations_and_csm_those_below_its_start(parser_of):
    for method, evaluations in (("ctm", 25), ("csm", 10)):
        inferer = parser_of("knee_drr", "inference", method).get_parsed_content("inferer")
        inferer(torch.zeros(1, 1, 4, 4), Zero())
        assert inferer.evaluations == evaluations


@pytest.mark.parametrize(
    ("values", "evaluations", "told"),
    [
        ({}, 4, [0.0, 0.5, 1.0]),
        ({"method": "csm"}, 2, [0.0, 0.5, 1.0]),
        ({"method": "csm", "condition": "contour"}, 2, [0.0, 0.5]),
        ({"method": "unet", "condition": "contour"}, 1, [0.0, 0.5]),
    ],
)
def test_every_variant_generates_from_its_own_folder(variants, tmp_path, values, evaluations, told):
    generator = load_generator(variants.root, overrides={**values, "num_steps": 4, "amp_dtype": "float32"})
    folder = FOLDERS[values.get("method", "ctm"), values.get("condition", "contour_bone")]
    assert generator.weights == variants.root / folder / "model.pt"
    masks = collect_masks(variants.overrides["phantom_dir"])
    conditions = torch.stack([generator.condition(mask.label) for mask in masks])
    assert np.unique(conditions.numpy()).tolist() == told
    dataset = generate_dataset(generator, masks, tmp_path / "s", progress=False)
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert {sample["evaluations"] for sample in manifest["samples"]} == {evaluations}
    assert manifest["settings"]["method"] == values.get("method", "ctm")
    assert manifest["settings"]["condition"] == values.get("condition", "contour_bone")
    # What the label files hold, whatever the network was told of it.
    assert dataset.classes == {"contour": 1, "bone": 2}
    assert dataset.parents == {"bone": "contour"}
    for mask, case in zip(masks, dataset.splits["training"], strict=True):
        assert case.label.read_bytes() == mask.label.read_bytes()
        image = load_image(case.image)
        assert image.min() >= 0
        assert image.max() <= 1
        torch.testing.assert_close(image.affine, load_image(mask.label).affine)


def test_weights_and_card_alone_say_which_variant_they_are(variants):
    for folder, method, condition in (("csm", "csm", "contour_bone"), ("unet_contour", "unet", "contour")):
        generator = load_generator("knee_drr", variants.root / "models" / folder / "model.pt")
        assert (generator.settings["method"], generator.settings["condition"]) == (method, condition)
        assert generator.image_size == (16, 16)


def test_a_csm_network_sees_no_mask_in_training(variants):
    card = yaml.safe_load((variants.root / "models" / "csm" / "model.yaml").read_text())
    weights = torch.load(variants.root / "models" / "csm" / "model.pt", weights_only=True)
    conditioned = torch.load(variants.root / "models" / "model.pt", weights_only=True)
    assert (weights["conv_in.weight"].shape[1], conditioned["conv_in.weight"].shape[1]) == (1, 2)
    assert card["t0"] == 0.4


def test_a_contour_variant_goes_into_the_report_on_the_data_set(variants, tmp_path):
    generator = load_generator(variants.root, overrides={"method": "unet", "condition": "contour"})
    phantoms = variants.overrides["phantom_dir"]
    generate_dataset(generator, collect_masks(phantoms), tmp_path / "s", progress=False)
    report = evaluate(phantoms, tmp_path / "s", tmp_path / "report", segmenter_images=16, progress=False)
    assert "contour, bone" in report.compared["Classes"]


def test_what_is_not_trained_is_named_and_left_out(variants, make_bundle, tmp_path, caplog):
    rows = {"A": {"method": "csm"}, "B": {"method": "ctm", "condition": "contour"}, "C": {}}
    with caplog.at_level(logging.WARNING):
        generators = load_variants(variants.root, rows, overrides={"seed": 3})
    assert list(generators) == ["A", "C"]
    assert {generator.settings["seed"] for generator in generators.values()} == {3}
    assert "'B' is not trained and left out: no weights at" in caplog.text
    assert "models/ctm_contour/model.pt" in caplog.text
    with pytest.raises(FileNotFoundError, match="none of A, B, C is trained"):
        load_variants(make_bundle(tmp_path, "knee_drr").root, rows)


def test_evaluate_writes_the_table_for_what_is_trained(variants, tmp_path, capsys, own_logging):
    values = {"dataset_dir": variants.overrides["phantom_dir"], "output_dir": str(tmp_path), "segmenter_images": 16}
    with own_logging():
        run(config_file=variants.config("evaluate.yaml"), bundle_root=str(variants.root), **values)
    table = (tmp_path / "methods.md").read_text()
    trained = ["contour / U-Net", "contour / CSM", "contour + bone / CSM", "contour + bone / CTM"]
    for row in ("U-Net", "CSM", "CTM"):
        assert row in table
    report = json.loads((tmp_path / "methods.json").read_text())
    assert ", ".join(trained) in json.dumps(report, ensure_ascii=False)
    for published in ("0.0209", "29.19", "0.0395", "0.0507", "0.0152", "31.68"):
        assert published in table
    assert "29.5" not in table, "figures of a row that is not there"
    images = read_dataset(tmp_path / "images" / "contour_bone_ctm").splits["training"]
    assert len(images) == len(collect_masks(variants.overrides["phantom_dir"]))
    assert (tmp_path / "methods.png").stat().st_size > 0
    assert "CTM" in capsys.readouterr().out
