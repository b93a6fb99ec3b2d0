from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from monai_segdiff.data import Case
from monai_segdiff.generation import Similarity, collect_pairs, generate_dataset, load_generator
from monai_segdiff.inferers import ImageStart


@pytest.fixture(scope="module")
def pairs(trained_bundle):
    return collect_pairs(trained_bundle.phantoms)


def images(root, cases) -> np.ndarray:
    return np.stack([nib.load(root / "imagesTr" / f"{case.id}_000.nii.gz").get_fdata() for case in cases])


def test_from_the_plain_samples_to_the_real_images(tmp_path, load, pairs, differences):
    generate_dataset(load(), pairs, tmp_path / "plain", progress=False)
    real = np.stack([nib.load(case.image).get_fdata() for case in pairs]).clip(-200, 300)
    distances = []
    for value in (0.0, 0.5, 1.0):
        root = tmp_path / str(value)
        generate_dataset(load(), pairs, root, similarity=Similarity(value, t0=0.2), progress=False)
        distances.append(np.abs(images(root, pairs) - real).mean())
    assert differences(tmp_path / "plain", tmp_path / "0.0") == 0
    assert distances == sorted(distances, reverse=True)


def test_the_manifest_says_how_like_what_and_where(tmp_path, load, pairs):
    root = tmp_path / "s"
    generator = load()
    generate_dataset(generator, pairs, root, per_mask=2, similarity=Similarity(0.5, t0=0.3), progress=False)
    manifest = json.loads((root / "manifest.json").read_text())
    found = manifest["similarity"]
    assert (found["value"], found["independent_noise"]) == (0.5, False)
    grid = generator.inferer.grid()
    assert float((grid - found["sigma"]).abs().min()) < 1e-5
    for sample in manifest["samples"]:
        case = next(case for case in pairs if case.id == sample["mask"])
        assert sample["evaluations"] == 5  # 4 steps, and one where the image is met
        assert (root / sample["source"]["image"]).resolve() == case.image


def test_batches_and_drops_go_with_it(tmp_path, load, pairs, differences):
    options = {"similarity": Similarity(0.7), "drop_classes": ["liver"], "progress": False}
    generate_dataset(load(), pairs, tmp_path / "one", per_mask=2, batch_size=16, **options)
    generate_dataset(load(), pairs, tmp_path / "other", per_mask=2, batch_size=3, **options)
    assert differences(tmp_path / "one", tmp_path / "other") < 1e-4
    contents = [(tmp_path / name / "manifest.json").read_text() for name in ("one", "other")]
    assert contents[0] == contents[1]


def test_another_similarity_or_another_image_is_another_run(tmp_path, load, pairs):
    root = tmp_path / "s"
    generate_dataset(load(), pairs, root, similarity=Similarity(0.5), progress=False)
    for similarity, named in ((Similarity(0.6), "similarity"), (Similarity(0.5, t0=0.1), "similarity"), (None, "")):
        with pytest.raises(ValueError, match=f"another .*{named}"):
            generate_dataset(load(), pairs, root, similarity=similarity, progress=False)
    swapped = [Case(a.id, b.image, a.label, a.patient) for a, b in zip(pairs, pairs[::-1], strict=True)]
    with pytest.raises(ValueError, match="another masks"):
        generate_dataset(load(), swapped, root, similarity=Similarity(0.5), progress=False)


@pytest.mark.parametrize("arguments", [(-0.1,), (1.5,), (0.5, 0.0), (0.5, 1.2)])
def test_values_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=r"similarity must lie between 0|\(t0, --similarity-level\) must be above 0"):
        Similarity(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize("bundle", ["trained_bundle", "trained_knee"])
def test_an_image_goes_to_the_networks_range_and_back(request, bundle):
    folder = request.getfixturevalue(bundle)
    generator = load_generator(folder.root)
    case = collect_pairs(folder.phantoms)[0]
    image = generator.image(case.image)
    low, high = generator.network_range
    assert (low, high) == ((0, 1) if bundle == "trained_knee" else (-1, 1))
    assert low <= float(image.min()) < float(image.max()) <= high
    stored = nib.load(case.image).get_fdata().clip(*generator.intensity_range)
    span = generator.intensity_range[1] - generator.intensity_range[0]
    np.testing.assert_allclose(generator.intensities(image[None])[0, 0], stored.squeeze(), atol=1e-5 * span)


def test_what_cannot_be_done_is_named(tmp_path, load, pairs):
    generator = load()
    bare = [Case(case.id, None, case.label, case.patient) for case in pairs]
    with pytest.raises(ValueError, match=f"case '{pairs[0].id}' has no image"):
        generate_dataset(generator, bare, tmp_path / "s", similarity=Similarity(0.5))
    other = tmp_path / "small.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((8, 8), np.float32), np.eye(4)), other)
    wrong = [Case(pairs[0].id, other, pairs[0].label, pairs[0].patient)]
    with pytest.raises(ValueError, match=r"small.nii.gz has size \(8, 8\), the images of ct_organ \(16, 16\)"):
        generate_dataset(generator, wrong, tmp_path / "s", similarity=Similarity(0.5), progress=False)
    nib.save(nib.Nifti1Image(np.full((16, 16), np.nan, np.float32), np.eye(4)), other)
    with pytest.raises(ValueError, match=r"small.nii.gz holds NaN"):
        generator.image(other)
    generator.inferer.start = ImageStart(generator.image(pairs[0].image)[None], t0=0.4)
    with pytest.raises(ValueError, match="does not sample from noise"):
        generate_dataset(generator, pairs, tmp_path / "t", similarity=Similarity(0.5))


def test_pairs_are_found_in_every_way(trained_bundle, pairs, tmp_path):
    assert all(case.image is not None and case.image.name == case.label.name for case in pairs)
    (single,) = collect_pairs(pairs[1].image)
    assert single == pairs[1]
    folder = tmp_path / "masks"
    folder.mkdir()
    for case in pairs[:2]:
        (folder / case.label.name).write_bytes(case.label.read_bytes())
    by_name = collect_pairs(trained_bundle.phantoms, folder)
    assert [(case.id, case.image) for case in by_name] == [(case.id, case.image) for case in pairs[:2]]
    assert by_name == collect_pairs(pairs[0].image.parent, folder)
    one_for_all = collect_pairs(pairs[3].image, folder)
    assert [case.image for case in one_for_all] == [pairs[3].image] * 2


def test_pairs_that_are_not_there_are_named(trained_bundle, pairs, tmp_path):
    lone = tmp_path / "lone.nii.gz"
    lone.write_bytes(pairs[0].image.read_bytes())
    with pytest.raises(ValueError, match=r"no label map of .*lone.nii.gz is known.*--masks"):
        collect_pairs(lone)
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / "stranger.nii.gz").write_bytes(pairs[0].label.read_bytes())
    with pytest.raises(ValueError, match="no image named 'stranger'"):
        collect_pairs(trained_bundle.phantoms, folder)
    with pytest.raises(ValueError, match=r"no label map of .*is known: .*--masks"):
        collect_pairs(pairs[0].image.parent)
    with pytest.raises(FileNotFoundError, match="no image file, data set or folder"):
        collect_pairs(tmp_path / "nowhere", folder)
