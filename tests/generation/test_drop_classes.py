from __future__ import annotations

import json
import logging
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_segdiff.data import check_dataset
from monai_segdiff.generation import generate_dataset
from monai_segdiff.transforms import EncodeMask


def labels_of(file) -> np.ndarray:
    return np.asarray(nib.load(file).dataobj)


def seen_by(generator):
    """Conditions that the generator samples under, by index."""
    seen, sample = {}, generator.sample

    def watch(conditions, indices, **shaping):
        seen.update(zip(indices, conditions, strict=True))
        return sample(conditions, indices, **shaping)

    generator.sample = watch
    return seen


def test_the_condition_is_that_of_class_ablation(tmp_path, load, masks):
    generator, names = load(), ["liver", "kidneys"]
    seen = seen_by(generator)
    generate_dataset(generator, masks, tmp_path / "s", per_mask=2, drop_classes=names, progress=False)
    encoder = EncodeMask(generator.classes)
    for index, found in seen.items():
        whole = generator.condition(masks[index // 2].label)[None]
        assert torch.equal(found, encoder.drop(whole, names, generator.parents)[0])


def test_fill_with_background_leaves_a_hole(tmp_path, load, masks):
    generator = load()
    generate_dataset(
        generator, masks[:1], tmp_path / "s", drop_classes=["liver"], drop_fill="background", progress=False
    )
    whole, written = (
        labels_of(file) for file in (masks[0].label, tmp_path / "s" / "labelsTr" / f"{masks[0].id}_000.nii.gz")
    )
    np.testing.assert_array_equal(written, np.where(whole == 3, 0, whole))


def test_label_maps_and_data_set_say_what_the_images_obey(tmp_path, load, masks):
    root = tmp_path / "s"
    dataset = generate_dataset(load(), masks, root, drop_classes=["body", "spine"], progress=False)
    assert check_dataset(root) == []
    assert dataset.classes == {"lungs": 2, "liver": 3, "spleen": 4, "kidneys": 5}
    assert dataset.parents == {}  # what enclosed them is dropped
    for mask in masks:
        whole, written = labels_of(mask.label), labels_of(root / "labelsTr" / f"{mask.id}_000.nii.gz")
        assert written.dtype == whole.dtype
        np.testing.assert_array_equal(written, np.where(np.isin(whole, (1, 6)), 0, whole))


def test_a_class_lies_in_the_nearest_that_is_left(tmp_path, load, masks):
    generator = load()
    generator.parents = {"liver": "body", "lungs": "liver", "spleen": "lungs"}
    dataset = generate_dataset(generator, masks[:1], tmp_path / "s", drop_classes=["liver", "lungs"], progress=False)
    assert dataset.parents == {"spleen": "body"}


def test_the_manifest_links_every_sample_to_its_whole_mask_and_its_image(tmp_path, load, masks):
    root = tmp_path / "s"
    generate_dataset(load(), masks, root, per_mask=2, drop_classes=["body"], progress=False)
    manifest = json.loads((root / "manifest.json").read_text())
    assert manifest["dropped_classes"] == {"names": ["body"], "fill": "parent"}
    assert len(manifest["samples"]) == 2 * len(masks)
    for sample in manifest["samples"]:
        mask = next(mask for mask in masks if mask.id == sample["mask"])
        assert (root / sample["source"]["label"]).read_bytes() == mask.label.read_bytes()
        assert (root / sample["source"]["image"]).resolve() == mask.image


def test_it_goes_on_where_it_was_and_refuses_other_classes(tmp_path, load, masks, differences):
    root, whole = tmp_path / "s", tmp_path / "whole"
    generate_dataset(load(), masks, whole, drop_classes=["liver"], progress=False)
    shutil.copytree(whole, root)
    next((root / "imagesTr").iterdir()).unlink()
    generate_dataset(load(), masks, root, drop_classes=["liver"], batch_size=1, progress=False)
    assert differences(whole, root) < 1e-4
    assert (root / "manifest.json").read_text() == (whole / "manifest.json").read_text()
    for names in ([], ["spleen"]):
        with pytest.raises(ValueError, match="another dropped_classes"):
            generate_dataset(load(), masks, root, drop_classes=names, progress=False)
    generate_dataset(load(), masks, root, overwrite=True, progress=False)
    assert not (root / "sourceTr").exists()


def test_what_cannot_be_dropped_is_named(tmp_path, load, masks, caplog):
    with pytest.raises(ValueError, match="cannot drop heart: the classes are body, lungs"):
        generate_dataset(load(), masks, tmp_path / "s", drop_classes=["heart", "liver"])
    with pytest.raises(ValueError, match="every class is dropped"):
        generate_dataset(load(), masks, tmp_path / "s", drop_classes=list(load().classes))
    assert not (tmp_path / "s").exists()
    caplog.set_level(logging.WARNING)
    generate_dataset(load(), masks[:1], tmp_path / "a", drop_classes=["liver"], progress=False)
    assert not caplog.records
    generate_dataset(load(full_prob=1.0), masks[:1], tmp_path / "b", drop_classes=["liver"], progress=False)
    assert "trained on whole masks only" in caplog.text
