from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_segdiff.data import check_dataset, read_dataset
from monai_segdiff.generation import Pathology, collect_masks, generate_dataset, load_generator


@pytest.fixture(scope="module")
def generator(trained_chest):
    return load_generator(trained_chest.root, overrides={"amp_dtype": "float32"})


@pytest.fixture(scope="module")
def masks(trained_chest):
    return collect_masks(trained_chest.phantoms, "training")


@pytest.fixture(scope="module")
def ill(masks):
    found = [mask for mask in masks if mask.findings and mask.region]
    assert len(found) >= 2
    return found[:2]


@pytest.fixture(scope="module")
def made(tmp_path_factory, generator, ill):
    root = tmp_path_factory.mktemp("findings") / "synthetic"
    generate_dataset(generator, ill, root, pathology=Pathology(("mass",)), progress=False)
    return root


def pixels(file: Path) -> np.ndarray:
    return nib.load(file).get_fdata()


def test_the_data_set_names_findings_regions_and_anatomies(made, ill):
    dataset = read_dataset(made)
    assert check_dataset(made) == []
    assert dataset.findings == ("opacity", "mass", "effusion")
    for case, mask in zip(dataset.splits["training"], ill, strict=True):
        assert case.findings == ("mass",)
        np.testing.assert_array_equal(pixels(case.region), 2 * (pixels(mask.region) > 0))
        assert pixels(made / "anatomyTr" / case.image.name).shape == pixels(case.image).shape
    header = json.loads((made / "manifest.json").read_text())
    assert header["pathology"]["findings"] == ["mass"]
    assert header["samples"][0]["evaluations"] == 4 + 2 * 4


def test_the_anatomy_is_the_image_of_the_mask_without_a_finding(made, generator, ill):
    conditions = torch.stack([generator.condition(mask.label) for mask in ill])
    plain = generator.sample(conditions, [0, 1])
    for image, case in zip(plain, read_dataset(made).splits["training"], strict=True):
        anatomy = pixels(made / "anatomyTr" / case.image.name)
        np.testing.assert_allclose(anatomy, image[0].numpy(), atol=1e-4)
        assert np.abs(pixels(case.image) - anatomy).max() > 1e-3


def test_findings_of_the_masks_are_taken_as_they_are(tmp_path, generator, masks):
    chosen = [next(m for m in masks if m.findings), next(m for m in masks if m.findings == ())]
    dataset = generate_dataset(generator, chosen, tmp_path / "own", pathology=Pathology(None), progress=False)
    first, second = dataset.splits["training"]
    assert (first.findings, second.findings) == (chosen[0].findings, ())
    np.testing.assert_array_equal(pixels(first.region), pixels(chosen[0].region))
    assert second.region is None
    np.testing.assert_array_equal(pixels(second.image), pixels(tmp_path / "own" / "anatomyTr" / second.image.name))


def test_a_stopped_run_goes_on_and_other_findings_are_refused(tmp_path, generator, ill, made):
    root = tmp_path / "parts"
    names = [file.name for file in (made / "imagesTr").iterdir()]
    pathology = Pathology(("mass",))
    generate_dataset(generator, ill, root, pathology=pathology, batch_size=1, progress=False)
    next((root / "anatomyTr").iterdir()).unlink()
    generate_dataset(generator, ill, root, pathology=pathology, progress=False)
    for name in names:
        np.testing.assert_allclose(pixels(root / "imagesTr" / name), pixels(made / "imagesTr" / name), atol=1e-4)
    assert sorted(file.name for file in (root / "anatomyTr").iterdir()) == sorted(names)
    with pytest.raises(ValueError, match="another pathology"):
        generate_dataset(generator, ill, root, pathology=Pathology(("opacity",)), progress=False)


def test_one_region_serves_all_masks_and_a_folder_has_one_for_each(tmp_path, ill):
    alone = Pathology(("mass",), ill[0].region)
    assert [alone.file(mask) for mask in ill] == [ill[0].region] * 2
    folder = tmp_path / "regions"
    folder.mkdir()
    target = folder / f"{ill[1].id}.nii.gz"
    target.write_bytes(ill[1].region.read_bytes())
    assert Pathology((), folder).file(ill[1]) == target
    with pytest.raises(FileNotFoundError, match=f"no region map named '{ill[0].id}'"):
        Pathology((), folder).file(ill[0])


def test_ids_of_regions_follow_the_names_and_not_their_order(tmp_path, generator, ill):
    turned = tuple(reversed(generator.findings))
    pathology = Pathology(None, vocabulary=turned)
    source = pixels(ill[0].region)
    written = pathology.write(ill[0], ill[0].label, tmp_path / "region.nii.gz", generator)
    np.testing.assert_array_equal(pixels(written), np.where(source > 0, 1 + len(turned) - source, 0))


def test_a_region_that_does_not_lie_on_its_mask_is_refused(tmp_path, generator, ill):
    file = tmp_path / "turned.nii.gz"
    original = nib.load(ill[0].region)
    nib.save(nib.Nifti1Image(original.get_fdata().astype(np.uint8), original.affine @ np.diag([-1, 1, 1, 1])), file)
    with pytest.raises(ValueError, match=r"turned\.nii\.gz and the mask .* do not fit"):
        generate_dataset(generator, ill[:1], tmp_path / "out", pathology=Pathology((), file), progress=False)


def test_evaluations_are_those_of_the_sample_and_not_of_its_batch(tmp_path, generator, masks):
    chosen = [next(m for m in masks if m.findings), next(m for m in masks if m.findings == ())]
    generate_dataset(generator, chosen, tmp_path / "both", pathology=Pathology(None), progress=False)
    records = json.loads((tmp_path / "both" / "manifest.json").read_text())["samples"]
    assert [record["evaluations"] for record in records] == [12, 4]


def test_a_model_that_has_the_mask_in_its_latents_knows_no_findings(generator):
    from dataclasses import replace

    with pytest.raises(ValueError, match="knows no findings"):
        Pathology(("mass",)).check(replace(generator, inferer=generator.inferer._anatomy_run))


def test_bad_input_is_named(tmp_path, generator, masks, ill, trained_bundle):
    healthy = next(mask for mask in masks if mask.findings == ())
    with pytest.raises(ValueError, match="does not know the findings nodule; it knows opacity, mass, effusion"):
        generate_dataset(generator, ill, tmp_path / "a", pathology=Pathology(("nodule",)), progress=False)
    with pytest.raises(FileNotFoundError, match=f"mask '{healthy.id}' are to be is not known"):
        generate_dataset(generator, [healthy], tmp_path / "b", pathology=Pathology(("mass",)), progress=False)
    empty = tmp_path / "empty.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((16, 16), np.uint8), nib.load(healthy.label).affine), empty)
    with pytest.raises(ValueError, match=r"empty\.nii\.gz has no labeled pixel"):
        generate_dataset(generator, ill, tmp_path / "c", pathology=Pathology(("mass",), empty), progress=False)
    nib.save(nib.Nifti1Image(np.ones((8, 16), np.uint8), np.eye(4)), tmp_path / "small.nii.gz")
    with pytest.raises(ValueError, match=r"small\.nii\.gz has size \(8, 16\)"):
        Pathology(("mass",), tmp_path / "small.nii.gz").regions(ill, generator)
    plain = load_generator(trained_bundle.root)
    with pytest.raises(ValueError, match="ct_organ knows no findings"):
        Pathology(("mass",)).check(plain)
