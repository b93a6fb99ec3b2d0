from __future__ import annotations

import json
import math
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_segdiff.generation import Acceptance, generate_dataset


def manifest_of(root) -> dict:
    return json.loads((root / "manifest.json").read_text())


def kept(root) -> dict[str, dict]:
    return {sample["image"]: sample for sample in manifest_of(root)["samples"]}


def test_first_tries_are_the_images_without_a_filter(reference, tmp_path, load, masks, differences):
    accept = Acceptance(lambda images, labels: [1.0] * len(images), 0.9)
    generate_dataset(load(), masks, tmp_path / "s", per_mask=3, accept=accept, progress=False)
    assert differences(reference, tmp_path / "s") == 0
    manifest = manifest_of(tmp_path / "s")
    assert manifest["acceptance"] == {"drawn": 12, "kept": 12, "rate": 1.0}
    assert manifest["accept"] == {"threshold": 0.9, "max_tries": 10}
    assert {(s["tries"], s["score"], s["noise_index"] - s["index"]) for s in manifest["samples"]} == {(1, 1.0, 0)}


def test_only_what_fails_is_drawn_again_with_noise_of_its_own(tmp_path, load, masks):
    drawn, generator = [], load()
    sample = generator.sample
    generator.sample = lambda conditions, indices: drawn.append(list(indices)) or sample(conditions, indices)
    accept = Acceptance(
        lambda images, labels: [0.9 if len(drawn) > 1 or n % 2 else 0.1 for n in range(len(images))], 0.5
    )
    generate_dataset(generator, masks, tmp_path / "s", accept=accept, progress=False)
    assert drawn == [[0, 1, 2, 3], [4, 6]]  # 2 of 4 again, number 4 further
    manifest = manifest_of(tmp_path / "s")
    assert [s["tries"] for s in manifest["samples"]] == [2, 1, 2, 1]
    assert [s["noise_index"] for s in manifest["samples"]] == [4, 1, 6, 3]
    assert [s["evaluations"] for s in manifest["samples"]] == [8, 4, 8, 4]
    assert manifest["acceptance"] == {"drawn": 6, "kept": 4, "rate": 0.666667}


def test_the_judge_sees_image_and_written_label_map(tmp_path, load, masks):
    seen = []

    def judge(images, labels):
        seen.extend(zip(images, [label.read_bytes() for label in labels], strict=True))
        return [1.0] * len(images)

    generate_dataset(load(), masks, tmp_path / "s", accept=Acceptance(judge, 0.5), progress=False)
    for (image, label), mask in zip(seen, masks, strict=True):
        assert image.shape == (1, 16, 16)
        assert -200 <= float(image.min()) < float(image.max()) <= 300
        assert label == mask.label.read_bytes()


@pytest.mark.parametrize("batch_size", [1, 5])
def test_what_is_kept_depends_neither_on_the_batch_nor_on_a_stop(reference, tmp_path, load, masks, batch_size):
    means = [nib.load(file).get_fdata().mean() for file in (reference / "imagesTr").iterdir()]
    bar = float(np.median(means))
    accept = Acceptance(lambda images, labels: [0.9 if image.mean() > bar else 0.1 for image in images], 0.5, 2)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    generate_dataset(load(), masks, whole, per_mask=3, accept=accept, progress=False)
    shutil.copytree(whole, stopped)
    content = manifest_of(stopped)
    content["samples"] = content["samples"][:-2]
    (stopped / "manifest.json").write_text(json.dumps(content))
    (stopped / "SHA256SUMS").unlink()
    generate_dataset(load(), masks, stopped, per_mask=3, accept=accept, batch_size=batch_size, progress=False)
    assert manifest_of(stopped)["acceptance"] == manifest_of(whole)["acceptance"]
    assert 12 < manifest_of(whole)["acceptance"]["drawn"] < 24
    assert kept(stopped).keys() == kept(whole).keys()


def test_a_mask_that_never_passes_is_named_and_kept_out(tmp_path, load, masks):
    root = tmp_path / "s"
    hopeless = masks[1].label.read_bytes()

    def judge(images, labels):
        return [0.2 if label.read_bytes() == hopeless else 0.8 for label in labels]

    dataset = generate_dataset(load(), masks, root, per_mask=2, accept=Acceptance(judge, 0.5, 3), progress=False)
    manifest = manifest_of(root)
    assert [(r["mask"], r["tries"], r["score"]) for r in manifest["rejected"]] == [(masks[1].id, 3, 0.2)] * 2
    assert manifest["acceptance"] == {"drawn": 12, "kept": 6, "rate": 0.5}
    assert len(dataset.splits["training"]) == 6
    names = {path.name for kind in ("imagesTr", "labelsTr") for path in (root / kind).iterdir()}
    assert not any(name.startswith(masks[1].id) for name in names)
    before = (root / "manifest.json").read_text()
    generator = load()
    generator.sample = None  # what was rejected is done with
    generate_dataset(generator, masks, root, per_mask=2, accept=Acceptance(judge, 0.5, 3), progress=False)
    assert (root / "manifest.json").read_text() == before


def test_where_there_is_nothing_to_judge_the_image_is_kept(tmp_path, load, masks):
    accept = Acceptance(lambda images, labels: [math.nan] * len(images), 0.5)
    generate_dataset(load(), masks, tmp_path / "s", accept=accept, progress=False)
    assert [(s["tries"], s["score"]) for s in manifest_of(tmp_path / "s")["samples"]] == [(1, None)] * 4


def test_nothing_accepted_is_an_error_that_says_so(tmp_path, load, masks):
    accept = Acceptance(lambda images, labels: torch.zeros(len(images)), 0.5, 2)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"no image reached 0.5 in 2 tries, see .*manifest.json"):
            generate_dataset(load(), masks, tmp_path / "s", accept=accept, progress=False)
    assert len(manifest_of(tmp_path / "s")["rejected"]) == 4


def test_another_threshold_is_another_run(tmp_path, load, masks):
    def accept(threshold):
        return Acceptance(lambda images, labels: [1.0] * len(images), threshold)

    generate_dataset(load(), masks, tmp_path / "s", accept=accept(0.5), progress=False)
    for other in (accept(0.6), None):
        with pytest.raises(ValueError, match="another accept"):
            generate_dataset(load(), masks, tmp_path / "s", accept=other, progress=False)


@pytest.mark.parametrize(("threshold", "tries"), [(-0.1, 1), (1.1, 1), (0.5, 0)])
def test_numbers_out_of_range_are_refused(threshold, tries):
    with pytest.raises(ValueError, match=r"between 0 and 1|at least one try"):
        Acceptance(lambda images, labels: [], threshold, tries)
