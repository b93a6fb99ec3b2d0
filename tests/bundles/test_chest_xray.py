"""What is particular to chest_xray: three trainings, and sampling that needs all of them."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigWorkflow, run, verify_metadata, verify_net_in_out
from PIL import Image

import monai_segdiff
from monai_segdiff import bundle_path
from monai_segdiff.data import read_dataset
from monai_segdiff.generation import collect_masks, load_generator
from monai_segdiff.networks import weights_hash

from .test_configuration import agree
from .test_metadata import SCHEMA

STAGES = ("autoencoder", "anatomy", "diffusion")
CONFIGS = bundle_path("chest_xray") / "configs"


def read(name):
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


def weights_of(bundle, name="model.pt"):
    return torch.load(bundle.root / "models" / name, weights_only=True)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def copy(trained_chest, tmp_path):
    """A copy of the trained bundle that may be changed."""
    shutil.copytree(trained_chest.root, tmp_path / "chest_xray")
    return type(trained_chest)(tmp_path / "chest_xray", dict(trained_chest.overrides), trained_chest.training)


def test_the_card_names_the_autoencoder_and_what_sampling_needs(trained_chest):
    card = yaml.safe_load((trained_chest.root / "models" / "model.yaml").read_text())
    dataset = read_dataset(trained_chest.phantoms)
    assert card["autoencoder_sha256"] == weights_hash(trained_chest.root / "models" / "autoencoder.pt")
    assert card["findings"] == list(dataset.findings) == ["opacity", "mass", "effusion"]
    assert card["classes"] == dataset.classes
    assert card["scale_factor"] > 0
    state = torch.load(trained_chest.root / "models" / "diffusion" / "checkpoint_epoch=2.pt", weights_only=True)
    assert same(weights_of(trained_chest), state["ema"])
    with Image.open(trained_chest.root / "eval" / "train_diffusion" / "preview_epoch=2.png") as picture:
        assert np.asarray(picture).std() > 10


def test_the_scale_factor_gives_latents_of_unit_spread(trained_chest, parser_of):
    values = {**trained_chest.overrides, "bundle_root": str(trained_chest.root)}
    parser = parser_of("chest_xray", "train_diffusion", **values)
    dataset = parser.get_parsed_content("train#dataset")
    latents = torch.stack([dataset[index]["latent"] for index in range(len(dataset))])
    assert latents.shape[1:] == (3, 4, 4)
    assert float(latents.std()) == pytest.approx(1.0, abs=0.02)


def test_a_continued_training_ends_as_one_in_one_go(trained_chest, copy):
    shutil.rmtree(copy.root / "models" / "diffusion")
    (copy.root / "models" / "model.pt").unlink()
    short = {**copy.overrides["diffusion_training"], "max_images": 8}
    copy.run(diffusion_training=short)
    assert not same(weights_of(copy), weights_of(trained_chest))
    copy.run()
    assert same(weights_of(copy), weights_of(trained_chest))


def test_another_autoencoder_is_refused_by_name(copy):
    weights = weights_of(copy, "autoencoder.pt")
    first = next(iter(weights))
    torch.save({**weights, first: weights[first] + 0.01}, copy.root / "models" / "autoencoder.pt")
    with pytest.raises(ValueError, match=r"autoencoder\.pt") as error:
        load_generator(copy.root)
    assert yaml.safe_load((copy.root / "models" / "model.yaml").read_text())["autoencoder_sha256"] in str(error.value)


def test_weights_without_their_card_are_refused(copy, own_logging):
    (copy.root / "models" / "model.yaml").unlink()
    with pytest.raises(ValueError, match="without a card"):
        load_generator(copy.root, overrides={"image_size": [16, 16]})


def test_a_controller_of_other_data_is_refused(copy):
    file = copy.root / "models" / "anatomy.yaml"
    file.write_text(file.read_text().replace("intensity_range: [0.0, 1.0]", "intensity_range: [0.0, 255.0]"))
    with pytest.raises(ValueError, match=r"anatomy\.yaml says intensity_range"):
        load_generator(copy.root)


@pytest.mark.parametrize("name", ["autoencoder.pt", "anatomy.pt"])
def test_a_network_that_is_not_trained_yet_is_named(copy, name):
    (copy.root / "models" / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_generator(copy.root)


def test_inference_writes_image_and_anatomy_for_each_mask(trained_chest, tmp_path, own_logging):
    masks = collect_masks(trained_chest.phantoms)
    region = next(case.region for cases in read_dataset(trained_chest.phantoms).splits.values() for case in cases
                  if case.region)  # fmt: skip
    values = {
        "bundle_root": str(trained_chest.root),
        "output_dir": str(tmp_path / "images"),
        "anatomy_dir": str(tmp_path / "anatomy"),
        "amp_dtype": "float32",
        "prompt": ["mass"],
        "region_file": str(region),
    }
    with own_logging():
        run(
            config_file=trained_chest.config("inference.yaml"),
            **values,
        )
    generator = load_generator(trained_chest.root, overrides={"amp_dtype": "float32"})
    for index, mask in enumerate(masks):
        image, anatomy = (nib.load(tmp_path / folder / mask.label.name) for folder in ("images", "anatomy"))
        np.testing.assert_array_equal(image.affine, nib.load(mask.label).affine)
        plain = generator.sample(generator.condition(mask.label)[None], [index])[0, 0].numpy()
        np.testing.assert_allclose(anatomy.get_fdata(), plain, atol=1e-4)
        assert np.abs(image.get_fdata() - plain).max() > 1e-3


def test_the_mask_may_be_concatenated_in_latent_space(copy):
    copy.run("training", "latent_mask.yaml")
    generator = load_generator(copy.root, overrides={"conditioning": "mask", "amp_dtype": "float32"})
    mask = collect_masks(copy.phantoms)[0]
    images = generator.sample(generator.condition(mask.label)[None], [0])
    assert images.shape == (1, 1, 16, 16)
    assert generator.inferer.evaluations == 4
    assert sorted(path.name for path in (copy.root / "models" / "mask").iterdir()) == [
        "diffusion",
        "model.pt",
        "model.yaml",
    ]


def test_evaluate_generates_findings_and_reports(copy, own_logging):
    values = {
        "segmenter_images": 32,
        "classifier_images": 32,
        "overrides": {"amp_dtype": "float32"},
        "bundle_root": str(copy.root),
    }
    with own_logging():
        run(config_file=copy.config("evaluate.yaml"), **values)
    report = json.loads((copy.root / "eval" / "report" / "report.json").read_text())
    assert report["sections"]
    assert read_dataset(copy.root / "eval" / "synthetic").findings == ("opacity", "mass", "effusion")


@pytest.mark.parametrize("name", [*(f"train_{stage}" for stage in STAGES), "inference"])
def test_the_properties_of_the_bundle_specification_are_there(trained_chest, tmp_path, own_logging, name):
    stage = name.removeprefix("train_")
    values = {
        **trained_chest.stages.get(stage, {"image_size": [16, 16]}),
        "bundle_root": str(tmp_path),
        "ckpt_dir": str(trained_chest.root / "models"),
        "dataset_dir": str(trained_chest.phantoms),
        **({"latent_dir": str(trained_chest.root / "models")} if name == "inference" else {}),
    }
    with own_logging():
        kind = "train" if stage in STAGES else "infer"
        workflow = ConfigWorkflow(config_file=trained_chest.config(f"{name}.yaml"), workflow_type=kind, **values)
        workflow.initialize()
        assert workflow.check_properties() == []


def test_training_and_inference_agree_on_the_model():
    train, inference = read("train_diffusion"), read("inference")
    from_the_data = {"classes", "parents", "findings", "anatomy_prompt", "null_prob", "intensity_range"}
    from_the_autoencoder = {"autoencoder_options", "autoencoder_sha256", "scale_factor", "parameterization"}
    card = train["model_card"].keys() | train["sampling_card"]
    for name in card:
        assert f"@card['{name}']" in str(inference), f"inference.yaml does not use {name} of the card"
    assert set(inference["untrained"]) == card, "every entry has to be in a card"
    for name in sorted(card - from_the_data - from_the_autoencoder - {"conditioning"}):
        assert agree(train[name], inference["untrained"][name]), name
    for name in ("latent_options", "network"):
        assert agree(train[name], inference[name]), name
    assert agree(train["networks"]["findings"], inference["networks"]["findings"])


@pytest.mark.parametrize("overlay", ["cpu_demo", "published", "latent_mask", "multi_gpu_train"])
def test_every_id_of_an_overlay_exists_in_a_training(overlay):
    known = {name for stage in STAGES for name in read(f"train_{stage}")}
    own = {"use_cuda"} if overlay == "multi_gpu_train" else set()
    assert {name.removeprefix("+") for name in read(overlay)} - own <= known


def test_the_metadata_follow_the_schema_and_the_configuration(parser_of):
    verify_metadata(meta_file=str(CONFIGS / "metadata.json"), filepath=str(SCHEMA))
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    assert metadata["required_packages_version"]["monai-segdiff"] == monai_segdiff.__version__
    get = parser_of("chest_xray", "inference").get_parsed_content
    image = metadata["network_data_format"]["inputs"]["image"]
    assert image["value_range"] == [0, max(get("classes").values())]
    assert image["spatial_shape"] == get("image_size")
    denoiser = metadata["denoiser_data_format"]["inputs"]
    shape = get("latent_space").latent_shape(get("image_size"))
    assert (denoiser["image"]["num_channels"], *denoiser["image"]["spatial_shape"]) == shape
    assert denoiser["condition"]["spatial_shape"] == [get("prompt_encoder").length]
    assert denoiser["condition"]["value_range"] == [0, len(get("findings")) + 1]


def test_the_generator_takes_and_gives_what_the_metadata_say():
    size = {"channels": [8, 8], "num_res_blocks": 1, "attention_levels": [False, True], "num_head_channels": 4}
    verify_net_in_out(
        "generator_def",
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=str(CONFIGS / "inference.yaml"),
        device="cpu",
        **{
            "_meta_#network_data_format#inputs#image#spatial_shape": [16, 16],
            "image_size": [16, 16],
            "untrained#autoencoder_options#channels": [8, 8, 8],
            "untrained#autoencoder_options#norm_num_groups": 4,
            "diffusion_size": {**size, "norm_num_groups": 4},
            "context_dim": 8,
            "num_steps": 2,
            "amp_dtype": "float32",
        },
    )


def test_the_bundle_is_complete_and_holds_no_code():
    folder = CONFIGS.parent
    made_by_running = {"models", "eval"}
    names = {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not made_by_running & set(path.relative_to(folder).parts)
    }
    wanted = ("metadata.json", "logging.conf", "inference.yaml", "evaluate.yaml", "multi_gpu_train.yaml")
    assert names >= {"LICENSE", "docs/README.md", "docs/data_license.txt", *(f"configs/{name}" for name in wanted)}
    assert not [name for name in names if name.endswith((".py", ".pyc", ".sh"))]
