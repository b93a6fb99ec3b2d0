from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_segdiff.__main__ import main
from monai_segdiff.evaluation import TrainedSegmenter, save_segmenter
from monai_segdiff.generation import collect_masks, load_generator
from monai_segdiff.workflows.accept_by_dice import accept_by_dice

LEVELS = {0: -200.0, 1: -120.0, 2: -40.0, 3: 40.0, 4: 120.0, 5: 200.0, 6: 300.0}


class Levels(torch.nn.Module):
    """Reads a class off the gray level: exact on images that have one level a class."""

    def __init__(self) -> None:
        super().__init__()
        levels = torch.tensor([(level + 200) / 250 - 1 for level in LEVELS.values()])
        self.register_buffer("levels", levels.reshape(1, -1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return -((images - self.levels) ** 2)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    file = tmp_path_factory.mktemp("segmenter") / "levels.ts"
    torch.jit.trace(Levels(), torch.zeros(2, 1, 16, 16)).save(str(file))
    return file


@pytest.fixture(scope="module")
def generator(trained_bundle):
    return load_generator(trained_bundle.root, overrides={"amp_dtype": "float32"})


def painted(label) -> torch.Tensor:
    """The image of a label map that the segmenter reads without error."""
    array = np.asarray(nib.load(label).dataobj)
    return torch.from_numpy(np.vectorize(LEVELS.get)(array))[None].float()


def test_the_score_is_the_mean_dice_over_the_classes_of_the_label_map(generator, segmenter, trained_bundle):
    labels = [case.label for case in collect_masks(trained_bundle.phantoms)[:2]]
    judge = accept_by_dice(generator, segmenter, 0.5).judge
    exact = painted(labels[0])
    without_liver = torch.where(exact == LEVELS[3], torch.tensor(LEVELS[1]), exact)
    broken = torch.full_like(exact, float("nan"))
    scores = judge(torch.stack([exact, without_liver, broken, painted(labels[1])]), [labels[0]] * 3 + [labels[1]])
    assert scores[0] == scores[3] == 1.0
    assert scores[2] == 0.0
    array = np.asarray(nib.load(labels[0]).dataobj)
    body, liver, held = (array == 1).sum(), (array == 3).sum(), len(np.unique(array)) - 1
    body_dice = 2 * body / (2 * body + liver)
    assert scores[1] == pytest.approx((held - 2 + body_dice) / held, abs=1e-5)


def test_dropped_classes_are_dropped_from_the_reading_too(generator, segmenter, trained_bundle, tmp_path):
    label = collect_masks(trained_bundle.phantoms)[0].label
    ablated = nib.load(label)
    array = np.asarray(ablated.dataobj).copy()
    array[np.isin(array, (3, 5))] = 1
    nib.save(nib.Nifti1Image(array, ablated.affine, ablated.header), tmp_path / "ablated.nii.gz")
    image = painted(label)[None]  # with the liver in its place, or anywhere
    for drop, exact in ((["liver", "kidneys"], True), ([], False)):
        (score,) = accept_by_dice(generator, segmenter, 0.5, drop_classes=drop).judge(
            image, [tmp_path / "ablated.nii.gz"]
        )
        assert (score == 1.0) is exact


def test_an_empty_mask_cannot_be_judged(generator, segmenter, trained_bundle, tmp_path):
    mask = nib.load(collect_masks(trained_bundle.phantoms)[0].label)
    nib.save(nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine), tmp_path / "empty.nii.gz")
    (score,) = accept_by_dice(generator, segmenter, 0.5).judge(torch.zeros(1, 1, 16, 16), [tmp_path / "empty.nii.gz"])
    assert np.isnan(score)


def test_a_segmenter_for_other_classes_is_refused(generator, tmp_path):
    save_segmenter(TrainedSegmenter(["a", "b"], 2), tmp_path / "other.pt")
    with pytest.raises(ValueError, match="trained for a, b"):
        accept_by_dice(generator, tmp_path / "other.pt", 0.5)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        accept_by_dice(generator, tmp_path / "nowhere.pt", 0.5)


def test_generate_filters_and_names_what_never_passed(trained_bundle, segmenter, tmp_path, capsys):
    arguments = ["generate", "--bundle", str(trained_bundle.root), "--masks", str(trained_bundle.phantoms)]
    filtered = ["--segmenter", str(segmenter), "--max-tries", "2"]
    assert main([*arguments, "--output", str(tmp_path / "all"), *filtered, "--accept-dice", "0"]) == 0
    assert "accepted 4 of 4 images drawn (100%)" in capsys.readouterr().out
    scores = sorted(s["score"] for s in json.loads((tmp_path / "all" / "manifest.json").read_text())["samples"])
    bar = str((scores[-1] + scores[-2]) / 2)
    assert main([*arguments, "--output", str(tmp_path / "some"), *filtered, "--accept-dice", bar]) == 0
    out = capsys.readouterr().out
    manifest = json.loads((tmp_path / "some" / "manifest.json").read_text())
    assert manifest["accept"]["segmenter"] == "levels.ts"
    assert 1 <= len(manifest["samples"]) < 4
    assert f"{len(manifest['rejected'])} left out, as no try was accepted: {manifest['rejected'][0]['mask']}" in out
