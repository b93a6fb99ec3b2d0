from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_segdiff import __version__
from monai_segdiff.data import Case, check_dataset, read_dataset
from monai_segdiff.generation import collect_masks, generate_dataset, load_generator
from monai_segdiff.networks import weights_hash
from monai_segdiff.verification import verify


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def without_times(root: Path) -> dict[str, bytes]:
    """All contents but those that no two runs share."""
    return {name: content for name, content in contents(root).items() if name != "manifest.seconds.json"}


def manifest_of(root: Path) -> dict:
    return json.loads((root / "manifest.json").read_text())


def test_the_result_is_a_sound_data_set_of_pairs(reference, masks):
    dataset = read_dataset(reference)
    assert check_dataset(reference) == []
    assert len(dataset.splits["training"]) == 3 * len(masks)
    assert dataset.classes == {"body": 1, "lungs": 2, "liver": 3, "spleen": 4, "kidneys": 5, "spine": 6}
    assert dataset.intensity_range == (-200.0, 300.0)
    assert dataset.settings == {"synthetic": True}
    assert {case.patient for case in dataset.splits["training"]} == {mask.patient for mask in masks}


def test_pairs_have_the_labels_and_the_geometry_of_the_mask(reference, masks):
    for mask in masks:
        original = nib.load(mask.label)
        for k in range(3):
            name = f"{mask.id}_{k:03d}.nii.gz"
            assert (reference / "labelsTr" / name).read_bytes() == mask.label.read_bytes()
            image = nib.load(reference / "imagesTr" / name)
            assert image.shape == original.shape
            np.testing.assert_array_equal(image.affine, original.affine)
            values = image.get_fdata()
            assert values.min() >= -200
            assert values.max() <= 300


def test_images_of_one_mask_differ_from_each_other(reference, masks):
    images = [nib.load(reference / "imagesTr" / f"{masks[0].id}_{k:03d}.nii.gz").get_fdata() for k in range(3)]
    assert min(np.abs(images[a] - images[b]).mean() for a, b in ((0, 1), (0, 2), (1, 2))) > 5


def test_the_manifest_says_what_each_sample_was_made_from_and_how(reference, masks, trained_bundle, load):
    manifest = manifest_of(reference)
    weights = weights_hash(trained_bundle.weights)
    assert manifest["synthetic"] is True
    assert manifest["generator"] == {
        "bundle": "ct_organ",
        "weights": "model.pt",
        "weights_sha256": weights,
        "monai_segdiff": __version__,
    }
    settings = manifest["settings"]
    assert settings == load().settings
    assert (settings["sampler"], settings["num_steps"], settings["seed"]) == ("dpmpp_2m", 4, 0)
    assert settings["parameterization"]["_target_"] == "monai_segdiff.diffusion.EDM"
    assert (manifest["masks"]["number"], manifest["masks"]["per_mask"]) == (len(masks), 3)
    for index, sample in enumerate(manifest["samples"]):
        mask = masks[index // 3]
        assert sample == {
            "index": index,
            "image": f"imagesTr/{mask.id}_{index % 3:03d}.nii.gz",
            "label": f"labelsTr/{mask.id}_{index % 3:03d}.nii.gz",
            "mask": mask.id,
            "patient": mask.patient,
            "seed": 0,
            "evaluations": 4,
            "weights_sha256": weights,
        }


def test_the_time_of_every_sample_stands_beside_the_manifest(reference, tmp_path, load, masks):
    generator = load()
    sample = generator.sample
    generator.sample = lambda conditions, indices: time.sleep(0.2) or sample(conditions, indices)
    generate_dataset(generator, masks, tmp_path / "s", per_mask=3, batch_size=8, progress=False)
    seconds = json.loads((tmp_path / "s" / "manifest.seconds.json").read_text())
    assert list(seconds) == [str(index) for index in range(12)]
    assert all(seconds[str(index)] == seconds["0"] >= 0.2 / 8 for index in range(8))  # a batch's time, shared evenly
    assert all(seconds[str(index)] == seconds["8"] >= 0.2 / 4 for index in range(8, 12))
    assert manifest_of(tmp_path / "s") == manifest_of(reference)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_images_do_not_depend_on_the_batch_size(reference, tmp_path, load, masks, differences, batch_size):
    generate_dataset(load(), masks, tmp_path / "s", per_mask=3, batch_size=batch_size, progress=False)
    assert differences(reference, tmp_path / "s") < 1e-4
    assert manifest_of(tmp_path / "s") == manifest_of(reference)


def test_seed_and_guidance_change_the_images_and_are_recorded(reference, tmp_path, load, masks, differences):
    for name, overrides, evaluations in (("seed", {"seed": 1}, 4), ("guidance", {"guidance_weight": 3.0}, 8)):
        generate_dataset(load(**overrides), masks, tmp_path / name, per_mask=3, progress=False)
        assert differences(reference, tmp_path / name) > 1e-3
        manifest = manifest_of(tmp_path / name)
        assert manifest["settings"].items() >= overrides.items()
        assert {sample["evaluations"] for sample in manifest["samples"]} == {evaluations}


def test_a_finished_folder_stays_as_it_is(reference, tmp_path, load, masks):
    shutil.copytree(reference, tmp_path / "s")
    before = contents(tmp_path / "s")
    generator = load()
    generator.sample = None  # must not be called
    generate_dataset(generator, masks, tmp_path / "s", per_mask=3, progress=False)
    assert contents(tmp_path / "s") == before


def test_stopped_by_an_error_and_run_again_it_ends_the_same(reference, tmp_path, load, masks, differences):
    root, generator = tmp_path / "s", load()
    sample = generator.sample

    def fail_in_third_batch(conditions, indices):
        if indices[0] >= 4:
            raise RuntimeError("power cut")
        return sample(conditions, indices)

    generator.sample = fail_in_third_batch
    with pytest.raises(RuntimeError, match="power cut"):
        generate_dataset(generator, masks, root, per_mask=3, batch_size=2, progress=False)
    finished = contents(root / "imagesTr")
    assert len(finished) == 4
    drawn = []
    generator.sample = lambda conditions, indices: drawn.extend(indices) or sample(conditions, indices)
    generate_dataset(generator, masks, root, per_mask=3, batch_size=2, progress=False)
    assert drawn == list(range(4, 12))
    assert contents(root / "imagesTr").items() >= finished.items()
    assert differences(reference, root) < 1e-4
    assert manifest_of(root) == manifest_of(reference)


def test_other_settings_in_the_same_folder_are_refused_and_harm_nothing(reference, tmp_path, load, masks):
    shutil.copytree(reference, tmp_path / "s")
    before = contents(tmp_path / "s")
    for generator, per_mask, named in (
        (load(seed=1), 3, "settings"),
        (load(), 2, "masks"),
        (load(num_steps=5), 2, "settings and masks"),
    ):
        with pytest.raises(ValueError, match=rf"manifest\.json was made with another {named}:"):
            generate_dataset(generator, masks, tmp_path / "s", per_mask=per_mask, progress=False)
    with pytest.raises(ValueError, match="another masks"):
        generate_dataset(load(), masks[:2], tmp_path / "s", per_mask=3, progress=False)
    assert contents(tmp_path / "s") == before


def test_a_model_that_was_described_otherwise_is_refused_by_the_entry_that_differs(reference, tmp_path, load, masks):
    shutil.copytree(reference, tmp_path / "s")
    before = contents(tmp_path / "s")
    classes = load().classes
    for changes, named in (
        ({"intensity_range": [1000.0, 2000.0]}, "intensity_range"),
        ({"parents": {}}, "parents"),
        ({"classes": dict(reversed(classes.items()))}, "classes"),
        ({"clip": [-1.0, 1.0]}, "settings"),
        ({"encoder#known_flags": True}, "configuration_sha256"),
    ):
        with pytest.raises(ValueError, match=rf"manifest\.json was made with another (\w+ and )*{named}\b"):
            generate_dataset(load(**changes), masks, tmp_path / "s", per_mask=3, progress=False)
    assert contents(tmp_path / "s") == before


def test_a_bundle_that_was_moved_is_the_same(reference, tmp_path, trained_bundle, masks):
    shutil.copytree(reference, tmp_path / "s")
    root = tmp_path / "a # folder" / "ct_organ"
    shutil.copytree(trained_bundle.root, root, ignore=shutil.ignore_patterns("phantoms*", "eval", "checkpoint*"))
    generator = load_generator(root, overrides={"device": "cpu", "amp_dtype": "float32", "batch_size": 2})
    generate_dataset(generator, masks, tmp_path / "s", per_mask=3, progress=False)
    assert manifest_of(tmp_path / "s") == manifest_of(reference)


def test_a_mask_that_was_edited_is_another_mask(reference, tmp_path, load, masks):
    shutil.copytree(reference, tmp_path / "s")
    edited = tmp_path / masks[0].label.name
    image = nib.load(masks[0].label)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), edited)
    others = [Case(masks[0].id, None, edited, masks[0].patient), *masks[1:]]
    with pytest.raises(ValueError, match="another masks"):
        generate_dataset(load(), others, tmp_path / "s", per_mask=3, progress=False)


def test_overwriting_replaces_what_was_generated_and_nothing_else(reference, tmp_path, load, masks):
    root = tmp_path / "s"
    shutil.copytree(reference, root)
    (root / "notes.txt").write_text("mine")
    generate_dataset(load(seed=1), masks[:1], root, overwrite=True, progress=False)
    fresh = tmp_path / "fresh"
    generate_dataset(load(seed=1), masks[:1], fresh, progress=False)
    assert {**without_times(fresh), "notes.txt": b"mine"} == without_times(root)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["thesis.txt", "manifest.json", "manifest.csv"])
def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path, load, masks, overwrite, name):
    (tmp_path / name).write_text("{}")
    (tmp_path / ".tmp-precious").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f"{name}.*was not generated here: give an empty folder"):
        generate_dataset(load(), masks, tmp_path, overwrite=overwrite, progress=False)
    assert contents(tmp_path) == before


def test_what_a_killed_process_left_is_removed(reference, tmp_path, load, masks, differences):
    root = tmp_path / "s"
    (root / "imagesTr").mkdir(parents=True)
    leftovers = [root / ".tmp-1-manifest.header.json", root / "imagesTr" / ".tmp-1-a.nii.gz"]
    leftovers[0].write_text("{")
    with pytest.raises(ValueError, match="imagesTr"):  # without a header these are anybody's
        generate_dataset(load(), masks, root, per_mask=3, progress=False)
    (root / "imagesTr").rmdir()
    generate_dataset(load(), masks, root, per_mask=3, progress=False)
    leftovers[1].write_bytes(b"half an image")
    generate_dataset(load(), masks, root, per_mask=3, progress=False)
    assert not any(path.exists() for path in leftovers)
    assert differences(reference, root) == 0


def test_a_lost_image_is_made_again(reference, tmp_path, load, masks, differences):
    shutil.copytree(reference, tmp_path / "s")
    lost = next((tmp_path / "s" / "imagesTr").iterdir())
    lost.unlink()
    generate_dataset(load(), masks, tmp_path / "s", per_mask=3, progress=False)
    assert differences(reference, tmp_path / "s") < 1e-4


@pytest.mark.parametrize("part", ["imagesTr", "labelsTr"])
def test_a_damaged_file_is_made_again(reference, tmp_path, load, masks, differences, part):
    shutil.copytree(reference, tmp_path / "s")
    damaged = min((tmp_path / "s" / part).iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert [issue.file for issue in verify(tmp_path / "s").issues] == [str(damaged)]
    generate_dataset(load(), masks, tmp_path / "s", per_mask=3, progress=False)
    assert differences(reference, tmp_path / "s") < 1e-4
    assert verify(tmp_path / "s").issues == ()


def test_what_is_generated_is_whole_and_every_file_recorded(reference):
    verdict = verify(reference)
    assert verdict.whole
    assert verdict.issues == ()
    assert verdict.files == 2 * 12 + len(("dataset.json", "manifest.json"))


def test_names_keep_their_dots_and_the_format_of_the_file(tmp_path, load, masks):
    folder = tmp_path / "masks"
    folder.mkdir()
    nib.save(nib.load(masks[0].label), folder / "case.v1.2.nii")
    shutil.copy(masks[1].label, folder / "case.v1.nii.gz")
    generate_dataset(load(), collect_masks(folder), tmp_path / "s", progress=False)
    for kind in ("imagesTr", "labelsTr"):
        names = sorted(path.name for path in (tmp_path / "s" / kind).iterdir())
        assert names == ["case.v1.2_000.nii", "case.v1_000.nii.gz"]


def test_pictures_that_cannot_hold_the_intensities_are_refused_before_work(tmp_path, load, masks):
    labels = np.asarray(nib.load(masks[0].label).dataobj).reshape(16, 16)
    (tmp_path / "masks").mkdir()
    Image.fromarray(labels.T.astype(np.uint8)).save(tmp_path / "masks" / "case.png")
    for intensities in ((-200.0, 300.0), (0.0, 1.0)):  # negative; and black or white, nothing between
        generator = replace(load(), intensity_range=intensities)
        with pytest.raises(ValueError, match=r"case\.png is a picture.*give the label maps as NIfTI"):
            generate_dataset(generator, [*masks, *collect_masks(tmp_path / "masks")], tmp_path / "s", progress=False)
    assert not (tmp_path / "s").exists()


def test_nothing_to_do_is_an_error(tmp_path, load, masks):
    for numbers in ({"per_mask": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            generate_dataset(load(), masks, tmp_path / "s", **numbers)
