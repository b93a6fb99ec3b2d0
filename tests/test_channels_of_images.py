"""Images of several channels from real folders to a report: three filters of one MR, and tinted radiographs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy import ndimage

from monai_segdiff.data import Case, load_image, open_dataset, pair_folders, prepare_dataset, read_dataset
from monai_segdiff.data.channels import load_case_image
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.data.writers import write_like
from monai_segdiff.evaluation import evaluate
from monai_segdiff.generation import Similarity, collect_masks, generate_dataset, load_generator
from monai_segdiff.networks import read_card

pytestmark = [pytest.mark.data, pytest.mark.slow]

FILTERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "T1": lambda image: 100 * image,
    "smooth": lambda image: 1000 + 100 * ndimage.gaussian_filter(image, 2),
    "edges": lambda image: 3000 - 100 * ndimage.gaussian_gradient_magnitude(image, 1),
}
TINT = np.array([1.0, 0.6, 0.3])
TINY = {
    "image_size": [32, 32],
    "channels": [16, 32],
    "num_res_blocks": 1,
    "attention_levels": [False, False],
    "num_head_channels": 16,
    "norm_num_groups": 8,
    "batch_size": 4,
    "images_per_epoch": 8,
    "max_images": 8,
    "num_steps": 4,
    "preview_images": 2,
    "preview_interval": 1,
    "val_interval": 1,
    "amp_dtype": "float32",
}


@pytest.fixture(scope="module")
def sequences(segdiff_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight patients; each of three filters of their MR is a channel in a file of its own, prepared as slices."""
    root, source = tmp_path_factory.mktemp("sequences"), segdiff_data / "mr" / "hippocampus"
    cases = []
    for file in sorted((source / "imagesTr").glob("*.nii.gz"))[:8]:
        image = nib.load(file)
        values = image.get_fdata() / np.percentile(image.get_fdata(), 99.5)
        name = file.name.removesuffix(".nii.gz")
        files = tuple(root / "source" / f"{name}_{channel}.nii.gz" for channel in FILTERS)
        for own, made in zip(files, FILTERS.values(), strict=True):
            save_nifti(own, made(values).astype(np.float32), image.affine)
        cases.append(Case(name, files[0], source / "labelsTr" / file.name, name, channel_files=files))
    classes = {"anterior": 1, "posterior": 2}
    options: dict[str, Any] = {"size": 32, "min_foreground": 0.03, "fractions": (0.5, 0.25, 0.25), "progress": False}
    prepare_dataset(cases, root / "data", classes, channels=list(FILTERS), **options)
    return root / "data"


@pytest.fixture(scope="module")
def colors(segdiff_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve radiographs in a tint, prepared as pictures in colors."""
    root, source = tmp_path_factory.mktemp("colors"), segdiff_data / "cxr" / "mhh_v7"
    for file in sorted((source / "images").glob("*.png"))[:12]:
        gray = np.asarray(Image.open(file).convert("L"), dtype=np.float64)
        tinted = (gray[..., None] * TINT).round().astype(np.uint8)
        for folder, picture in (
            ("images", Image.fromarray(tinted)),
            ("masks", Image.open(source / "masks_lung" / file.name)),
        ):
            (root / folder).mkdir(exist_ok=True)
            picture.save(root / folder / file.name)
    pairs = pair_folders(root / "images", root / "masks", source / "patients.csv")
    classes = {"lung": sorted({i for pair in pairs for i in np.unique(np.asarray(Image.open(pair.label)))} - {0})}
    options: dict[str, Any] = {"size": 32, "fractions": (0.5, 0.25, 0.25), "progress": False}
    made = [int(i) for i in classes["lung"]]
    prepare_dataset(
        pairs, root / "data", {"lung": made}, channels=["red", "green", "blue"], intensity_range=(0, 255), **options
    )
    return root / "data"


def trained(bundle: Path, dataset: Path) -> Path:
    """The bundle after some steps of MONAI's own command."""
    overlay = bundle / "configs" / "tiny.yaml"
    overlay.write_text(yaml.safe_dump({**TINY, "dataset_dir": str(dataset), "bundle_root": str(bundle)}))
    files = [str(bundle / "configs" / "train.yaml"), str(overlay)]
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(files)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, cwd=bundle)
    assert done.returncode == 0, done.stderr[-3000:]
    return bundle


@pytest.fixture(scope="module")
def mr_bundle(make_bundle, tmp_path_factory: pytest.TempPathFactory, sequences: Path) -> Path:
    return trained(make_bundle(tmp_path_factory.mktemp("mr")).root, sequences)


@pytest.fixture(scope="module")
def color_bundle(make_bundle, tmp_path_factory: pytest.TempPathFactory, colors: Path) -> Path:
    return trained(make_bundle(tmp_path_factory.mktemp("rgb"), "breast_mri").root, colors)


def test_the_card_names_the_channels(mr_bundle: Path, sequences: Path) -> None:
    card = read_card(mr_bundle / "models" / "model.pt")
    assert card["channels_of_image"] == 3
    assert card["channel_names"] == list(FILTERS)
    assert card["intensity_range"] == [list(pair) for pair in read_dataset(sequences).intensity_range or ()]
    assert load_generator(mr_bundle).channels == tuple(FILTERS)
    assert (mr_bundle / "eval" / "preview_epoch=1.png").is_file()


def test_sequences_are_generated_in_their_order_and_ranges(mr_bundle: Path, sequences: Path, tmp_path: Path) -> None:
    masks = collect_masks(sequences)[:4]
    made = generate_dataset(load_generator(mr_bundle), masks, tmp_path / "made", progress=False)
    assert made.channels == tuple(FILTERS)
    real = read_dataset(sequences)
    assert made.intensity_range == real.intensity_range
    for case in made.splits["training"]:
        stored = nib.load(case.image)
        assert stored.shape == (32, 32, 1, 3)
        assert np.allclose(stored.affine, nib.load(case.label).affine)
        image = load_image(str(case.image), 3)
        for layer, (low, high) in zip(image, real.intensity_range or (), strict=True):
            assert low <= float(layer.min()) < float(layer.max()) <= high


def test_images_like_real_ones_have_each_channel_of_theirs(mr_bundle: Path, sequences: Path, tmp_path: Path) -> None:
    masks = collect_masks(sequences)[:2]
    # At a low level a network that learned nothing gives the image it starts from.
    like = Similarity(1.0, t0=0.05)
    generator = load_generator(mr_bundle, overrides={"num_steps": 20})
    made = generate_dataset(generator, masks, tmp_path / "like", similarity=like, progress=False)
    for case, mask in zip(made.splits["training"], masks, strict=True):
        images = [load_case_image(one, made.channels).flatten(1) for one in (case, mask)]
        table = torch.corrcoef(torch.cat([image.as_tensor() for image in images]))[:3, 3:].abs()
        assert table.argmax(1).tolist() == [0, 1, 2]
        assert table.diagonal().min() > 0.8


def test_a_report_says_how_each_figure_counts_channels(mr_bundle: Path, sequences: Path, tmp_path: Path) -> None:
    masks = collect_masks(sequences)[:8]
    generate_dataset(load_generator(mr_bundle), masks, tmp_path / "made", progress=False)
    report = evaluate(sequences, tmp_path / "made", tmp_path / "report", segmenter_images=32, progress=False)
    notes = {section.key: " ".join(section.notes) for section in report.sections}
    assert "reads all channels at once" in notes["faithfulness"]
    assert "if its worst channel did" in notes["failed"]
    assert all(f"{name} " in notes["failed"] for name in FILTERS)
    assert "all channels at once" in notes["realism"]
    assert "mean over channels" in notes["diversity"]
    assert "all channels together" in notes["memorization"]
    assert report.samples.rows == ("mask", *(f"generated {n}" for n in FILTERS), *(f"real {n}" for n in FILTERS))
    assert (tmp_path / "report" / "report.html").is_file()


def test_channels_in_another_order_are_not_compared(mr_bundle: Path, sequences: Path, tmp_path: Path) -> None:
    generate_dataset(load_generator(mr_bundle), collect_masks(sequences)[:2], tmp_path / "made", progress=False)
    file = tmp_path / "made" / "dataset.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "channels": content["channels"][::-1]}))
    with pytest.raises(ValueError, match=r"edges, smooth, T1, .* T1, smooth, edges: .*in the same order"):
        evaluate(sequences, tmp_path / "made", tmp_path / "report", segmenter_images=32, progress=False)


def test_colors_go_to_pictures_where_the_masks_are_pictures(color_bundle: Path, colors: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for case in collect_masks(colors)[:2]:
        labels = np.asarray(nib.load(case.label).dataobj)
        Image.fromarray(labels.T[::-1, ::-1].copy()).save(tmp_path / "masks" / f"{case.id}.png")
    generator = load_generator(color_bundle)
    assert generator.channels == ("red", "green", "blue")
    made = generate_dataset(generator, collect_masks(tmp_path / "masks"), tmp_path / "made", progress=False)
    for case in made.splits["training"]:
        assert Image.open(str(case.image)).mode == "RGB"
        assert load_image(str(case.image), 3).shape == (3, 32, 32)


def test_a_bundle_that_makes_one_channel_says_so(sequences: Path) -> None:
    with pytest.raises(
        ValueError, match=r"3 channels \(T1, smooth, edges\), and what is trained here makes images of one"
    ):
        open_dataset(sequences, verify=False, several_channels=False)


def test_pictures_do_not_hold_two_channels(mr_bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="cannot hold 2 channels"):
        write_like(np.zeros((2, 32, 32)), tmp_path / "a.png", tmp_path / "b.png", channels=2)
    with pytest.raises(ValueError, match=r"whose colors go from 0 to 255.*NIfTI"):
        generate_dataset(load_generator(mr_bundle), collect_masks(tmp_path), tmp_path / "made", progress=False)
