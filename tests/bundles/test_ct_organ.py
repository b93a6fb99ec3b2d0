"""What is ct_organ's own: its published overlay, patches and volumes."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import run

from monai_segdiff.diffusion import EpsilonVP
from monai_segdiff.generation import collect_masks, generate_dataset, load_generator

CLASSES = {"body": 1, "lungs": 2, "liver": 3, "spleen": 4, "kidneys": 5, "spine": 6}


def test_the_published_overlay_is_the_published_recipe(parser_of):
    parser = parser_of("ct_organ", "train", "published", classes=CLASSES, total_steps=1000)
    parser.update({"network_def#channels": [8] * 6})
    parser.update({"network_def#norm_num_groups": 4, "network_def#num_head_channels": 4})
    get = parser.get_parsed_content
    assert get("channels") == [128, 128, 256, 256, 512, 512]
    assert get("image_size") == [256, 256]
    parameterization = get("parameterization")
    assert isinstance(parameterization, EpsilonVP)
    assert parameterization.config()["_target_"] == "monai_segdiff.diffusion.EpsilonVP"
    assert get("encoder").out_channels == 1
    ablate = get("ablate")
    assert get("encode") is not None
    ablate.set_random_state(0)
    label = torch.zeros(1, 8, 8)
    for index in range(6):
        label[0, index] = index + 1
    shares = torch.stack([ablate({"label": label})["label_known"].float() for _ in range(400)]).mean(0)
    assert torch.all((shares - 0.5).abs() < 0.1), "every class is dropped with probability one half"
    optimizer, schedule = get("optimizer"), get("lr_scheduler")
    rates = []
    for _ in range(510):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(1e-4 / 500)
    assert rates[250] == pytest.approx(1e-4 * 251 / 500)
    assert rates[499] == rates[505] == pytest.approx(1e-4)


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


@pytest.mark.slow
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


def test_evaluate_generates_and_writes_the_report(trained_bundle, tmp_path, capsys, own_logging):
    values = {"dataset_dir": str(trained_bundle.phantoms), "output_dir": str(tmp_path), "segmenter_images": 16}
    with own_logging():
        run(config_file=trained_bundle.config("evaluate.yaml"), bundle_root=str(trained_bundle.root), **values)
    assert (tmp_path / "report" / "report.html").stat().st_size > 0
    assert len(list((tmp_path / "synthetic" / "imagesTr").iterdir())) == len(collect_masks(trained_bundle.phantoms))
    assert "failed" in capsys.readouterr().out.lower()
