from __future__ import annotations

import json
import math
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from monai_segdiff.data import check_dataset, load_label_map
from monai_segdiff.data.description.records import read_manifest
from monai_segdiff.generation import Edit, EditSettings, collect_edits, collect_pairs, edit_dataset, edit_images
from monai_segdiff.generation.edit_picture import edit_picture
from monai_segdiff.generation.region import edit_region
from monai_segdiff.inferers import ImageStart


@pytest.fixture(scope="module")
def edited(trained_bundle, tmp_path_factory):
    """Masks of three held-out images in which the spleen is gone and some of the liver has become body."""
    folder = tmp_path_factory.mktemp("edited")
    for case in collect_pairs(trained_bundle.phantoms)[:3]:
        mask = nib.load(case.label)
        array = np.asarray(mask.dataobj).copy()
        array[array == 4] = 1
        body = np.argwhere(array == 1)
        array[tuple(body[len(body) // 2])] = 3
        nib.save(nib.Nifti1Image(array, mask.affine, mask.header), folder / case.label.name)
    return folder


@pytest.fixture(scope="module")
def edits(trained_bundle, edited):
    return collect_edits(trained_bundle.phantoms, edited)


def arrays(root, edits, kind="imagesTr") -> np.ndarray:
    return np.stack([np.asarray(nib.load(root / kind / edit.edited.name).dataobj) for edit in edits])


@pytest.mark.parametrize("method", ["invert", "noise"])
def test_the_image_changes_in_the_region_of_the_edit_and_nowhere_else(tmp_path, load, edits, method):
    settings = EditSettings(method, dilation=1.0, softness=0.0)
    edit_dataset(load(), edits, tmp_path / "s", settings, progress=False)
    found = arrays(tmp_path / "s", edits)
    for image, edit in zip(found, edits, strict=True):
        real = nib.load(edit.image).get_fdata().clip(-200, 300)
        changed = np.asarray(nib.load(edit.label).dataobj) != np.asarray(nib.load(edit.edited).dataobj)
        region = edit_region(torch.from_numpy(changed), 1.0, 0.0).numpy() > 0
        np.testing.assert_allclose(image[~region], real[~region], atol=1e-3)
        assert np.abs(image - real)[changed].mean() > 1
        assert 0 < region.mean() < 0.7


def test_the_result_is_a_sound_data_set_that_says_where_it_comes_from(tmp_path, load, edits):
    root = tmp_path / "s"
    dataset = edit_dataset(load(), edits, root, EditSettings(dilation=2.0, softness=1.0), progress=False)
    assert [finding.message for finding in check_dataset(root)] == ["class 'spleen' is in none of the 3 label maps"]
    assert len(dataset.splits["training"]) == 3
    manifest = json.loads((root / "manifest.json").read_text())
    assert manifest["synthetic"] is True
    about = manifest["edits"]
    assert (about["number"], about["method"], about["dilation"], about["softness"]) == (3, "invert", 2.0, 1.0)
    for sample, edit in zip(manifest["samples"], edits, strict=True):
        assert (sample["mask"], sample["patient"]) == (edit.id, edit.patient)
        assert (root / sample["source"]["image"]).resolve() == edit.image
        assert (root / sample["source"]["label"]).read_bytes() == edit.label.read_bytes()
        assert (root / sample["label"]).read_bytes() == edit.edited.read_bytes()
        assert 0 < sample["edited"] < sample["region"] < 1
        with Image.open(root / sample["picture"]) as picture:
            assert picture.width > 5 * 100
            assert picture.height >= 128


def test_neither_batch_nor_stop_changes_the_result(tmp_path, load, edits):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    edit_dataset(load(), edits, whole, progress=False)
    edit_dataset(load(), edits, parts, batch_size=1, progress=False)
    np.testing.assert_allclose(arrays(parts, edits), arrays(whole, edits), atol=0.05)  # of a range of 500
    assert (parts / "manifest.json").read_text() == (whole / "manifest.json").read_text()
    (parts / "imagesTr" / edits[1].edited.name).unlink()
    edit_dataset(load(), edits, parts, progress=False)
    np.testing.assert_allclose(arrays(parts, edits), arrays(whole, edits), atol=0.05)
    with pytest.raises(ValueError, match="another edits"):
        edit_dataset(load(), edits, parts, EditSettings("noise"), progress=False)
    edit_dataset(load(), edits[:1], parts, EditSettings("noise"), overwrite=True, progress=False)
    assert len(list((parts / "pictures").iterdir())) == 1


def test_an_edit_mask_with_no_edit_is_refused_by_name(tmp_path, load, edits, trained_bundle):
    same = collect_edits(edits[0].image, edits[0].label, edits[0].label)
    with pytest.raises(ValueError, match=r"is the same mask as .*: move, remove or grow a class"):
        edit_dataset(load(), same, tmp_path / "s", progress=False)
    generator = load()
    condition = generator.condition(edits[0].label)[None]
    image = generator.image(edits[0].image)[None]
    with pytest.raises(ValueError, match="image number 0 equals its own"):
        edit_images(generator, image, condition, condition, [0])


def test_an_edited_mask_that_does_not_lie_on_the_image_is_refused_by_name(tmp_path, load, edits):
    mask = nib.load(edits[0].edited)
    turned = mask.affine @ np.diag([-1.0, 1.0, 1.0, 1.0])
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj)[::-1].copy(), turned), tmp_path / "turned.nii.gz")
    with pytest.raises(ValueError, match=r"turned.nii.gz: affine differs from its image's"):
        edit_dataset(load(), collect_edits(edits[0].image, tmp_path / "turned.nii.gz"), tmp_path / "s", progress=False)


def test_what_is_edited_is_not_overwritten(tmp_path, load, edits, edited):
    root = tmp_path / "s"
    edit_dataset(load(), edits, root, progress=False)
    again = collect_edits(root, edited, root / "sourceTr", "training")
    held = sorted(root.rglob("*"))
    with pytest.raises(ValueError, match=r"imagesTr.* lies in .*s, where the results go.*another folder"):
        edit_dataset(load(), again, root, overwrite=True, progress=False)
    assert sorted(root.rglob("*")) == held


def test_a_generator_that_starts_elsewhere_cannot_edit(load, edits):
    generator = load()
    image, condition = generator.image(edits[0].image)[None], generator.condition(edits[0].label)[None]
    generator.inferer.start = ImageStart(image, t0=0.5)
    with pytest.raises(ValueError, match="cannot edit"):
        edit_images(generator, image, condition, -condition, [0])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"method": "paint"}, "unknown method 'paint'"),
        *(({"t0": value}, r"\(t0, --level\) must be above 0 and at most 1") for value in (0.0, 1.5, math.nan)),
        ({"dilation": 1.0, "softness": 2.0}, r"softness \(--softness\) from 0 to dilation \(--dilation\), got 2 and 1"),
        ({"dilation": -1.0}, "dilation"),
        ({"dilation": math.inf}, "dilation"),
        ({"softness": math.nan}, "softness"),
        *(({"guidance": value}, r"\(--guidance\) must be at least 1") for value in (0.5, math.nan, math.inf)),
    ],
)
def test_settings_out_of_range_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        EditSettings(**options)


def test_edits_are_found_by_name_and_one_image_may_have_several(trained_bundle, edits, edited, tmp_path):
    assert [edit.label.name for edit in edits] == [edit.edited.name for edit in edits]
    (single,) = collect_edits(edits[0].image, edits[0].edited)
    assert single == edits[0]
    for name in ("smaller", "larger"):
        shutil.copy(edits[0].edited, tmp_path / f"{name}.nii.gz")
    several = collect_edits(edits[0].image, tmp_path, edits[0].label)
    assert [(edit.id, edit.image, edit.label) for edit in several] == [
        (name, edits[0].image, edits[0].label) for name in ("larger", "smaller")
    ]
    own = collect_edits(edits[0].image.parent, edited, edits[0].label.parent)
    assert [edit.id for edit in own] == [edit.id for edit in edits]


def test_edits_that_belong_nowhere_are_named(trained_bundle, edits, tmp_path):
    shutil.copy(edits[0].edited, tmp_path / "stranger.nii.gz")
    with pytest.raises(ValueError, match="belongs to no image with a mask"):
        collect_edits(trained_bundle.phantoms, tmp_path)
    with pytest.raises(FileNotFoundError, match="no edited label map"):
        collect_edits(trained_bundle.phantoms, tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no label map at"):
        collect_edits(edits[0].image, edits[0].edited, tmp_path / "nowhere.nii.gz")
    with pytest.raises(ValueError, match="no label map named like the image"):
        collect_edits(edits[0].image, edits[0].edited, tmp_path)


def test_of_a_volume_the_picture_shows_the_slice_with_most_of_the_edit(tmp_path):
    label = np.zeros((10, 12, 6), np.uint8)
    for name, at in (("own", None), ("edited", 4)):
        if at is not None:
            label[2:5, 3:7, at] = 1
        nib.save(nib.Nifti1Image(label, np.eye(4)), tmp_path / f"{name}.nii.gz")
    edit = Edit("edited", tmp_path / "image.nii.gz", tmp_path / "own.nii.gz", tmp_path / "edited.nii.gz", "p")
    image = torch.full((1, 10, 12, 6), -1.0)
    result = image.clone()
    result[0, ..., 4] = 1.0
    drawn = np.asarray(edit_picture(edit, image, result, torch.from_numpy(label > 0), (-1.0, 1.0)))
    width = (drawn.shape[1] + 2) // 5
    height = (width - 2) * 12 // 10
    assert (drawn[:-height] < 100).all(2).any(), "names above the tiles"
    tiles = drawn[-height:]
    assert tiles.shape[0] * 5 * 10 // 12 <= tiles.shape[1]
    means = [tiles[: height * 3 // 4, k * width : (k + 1) * width - 2].mean() for k in range(5)]
    assert tiles[height * 3 // 4 :, 3 * width : 4 * width - 2].min() < 100, "synthetic is burnt into the result"
    assert means[0] == means[1] == 0
    assert 0 < means[2] < 60
    assert means[3] == means[4] == 255


def test_the_region_fades_inside_its_dilation():
    changed = torch.zeros(15, dtype=torch.bool)
    changed[7] = True
    assert edit_region(changed, 0, 0).tolist() == changed.float().tolist()
    hard, soft = edit_region(changed, 3, 0), edit_region(changed, 3, 2)
    assert hard.tolist() == [float(abs(k - 7) <= 3) for k in range(15)]
    torch.testing.assert_close(soft[7:12], torch.tensor([1.0, 1.0, 2 / 3, 1 / 3, 0.0]))
    assert bool((soft <= hard).all())


def test_the_region_has_the_shape_of_a_volume_too():
    changed = torch.zeros(9, 9, 9, dtype=torch.bool)
    changed[4, 4, 4] = True
    region = edit_region(changed, 2, 0)
    inside = [
        abs(a - 4) ** 2 + abs(b - 4) ** 2 + abs(c - 4) ** 2 <= 4 for a in range(9) for b in range(9) for c in range(9)
    ]
    assert region.flatten().bool().tolist() == inside


@pytest.mark.parametrize("ending", [".tif", ".tiff"])
def test_masks_in_tiff_are_edited_and_written_as_nifti(tmp_path, load, ending):
    """TIFF is read only; both masks and the image come out on one grid, with the ids that were drawn."""
    mask = np.zeros((16, 16), np.uint8)
    mask[2:14, 2:14], mask[4:8, 4:8] = 1, 3
    changed = mask.copy()
    changed[8:10, 4:8] = 3
    for part, array in (("images", mask * 40), ("masks", mask), ("edited", changed)):
        (tmp_path / part).mkdir()
        Image.fromarray(array).save(tmp_path / part / f"p1{ending}")
    edits = collect_edits(tmp_path / "images", tmp_path / "edited", tmp_path / "masks")
    dataset = edit_dataset(load(), edits, tmp_path / "s", progress=False)
    case = dataset.splits["training"][0]
    assert (case.image.name, case.label.name) == ("p1.nii.gz", "p1.nii.gz")
    assert np.array_equal(load_label_map(case.label)[0], load_label_map(edits[0].edited)[0])
    source = read_manifest(tmp_path / "s")["samples"][0]["source"]["label"]
    assert source == "sourceTr/p1.nii.gz"
    assert np.array_equal(load_label_map(tmp_path / "s" / source)[0], load_label_map(edits[0].label)[0])
    assert not [issue for issue in check_dataset(tmp_path / "s") if issue.severity == "error"]
