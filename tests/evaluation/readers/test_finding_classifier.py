"""The classifier of findings: what it learns, from what, and that it is the same every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.evaluation import PairReader, load_finding_classifier, train_finding_classifier
from monai_segdiff.evaluation.readers.finding_classifier import FindingClassifier, save_finding_classifier
from monai_segdiff.evaluation.readers.train_finding_classifier import finding_flags

from ..squares import FINDINGS, in_turn, write_squares


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_squares(tmp_path_factory.mktemp("squares") / "real", {"training": 60, "test": 40}, in_turn)


@pytest.fixture(scope="module")
def reader():
    return PairReader({"disc": 1}, (0.0, 1.0), 2)


@pytest.fixture(scope="module")
def classifier(dataset, reader, tmp_path_factory):
    cases = dataset.splits["training"]
    return train_finding_classifier(
        cases, reader, FINDINGS, 1280, cache_dir=tmp_path_factory.mktemp("cache"), progress=False
    )


def share_right(classifier, cases, reader):
    images = torch.stack([reader.image(case) for case in cases])
    return (classifier.sees(images) == finding_flags(cases, classifier.findings)).float().mean(0)


def test_learns_findings_of_unseen_patients(dataset, reader, classifier):
    assert classifier.findings == FINDINGS
    assert (share_right(classifier, dataset.splits["test"], reader) >= 0.95).all()
    assert classifier.set_aside.all()
    assert classifier.threshold_images.tolist() == [12, 12]


def test_learns_without_region_maps(dataset, reader, tmp_path):
    cases = [replace(case, region=None) for case in dataset.splits["training"]]
    classifier = train_finding_classifier(cases, reader, FINDINGS, 2400, cache_dir=tmp_path, progress=False)
    assert (share_right(classifier, dataset.splits["test"], reader) >= 0.9).all()


def test_places_are_learned_from_region_maps(dataset, reader, classifier):
    """Pixels where the finding is score high, others low."""
    for case in dataset.splits["test"][1:12:4]:
        with torch.inference_mode():
            classes = classifier(reader.image(case)[None]).classes[0]
        odds, inside = (classes[1] - classes[0]).flatten(), reader.region(case).flatten() == 1
        assert odds[inside].mean() > 0 > odds[~inside].mean()


def test_the_same_every_time_and_kept_under_what_was_trained_on(dataset, reader, tmp_path, monkeypatch):
    cases = dataset.splits["training"][:16]
    torch.manual_seed(5)
    before = torch.get_rng_state()

    def train(cases, name, seed=0):
        return train_finding_classifier(cases, reader, FINDINGS, 32, seed, cache_dir=tmp_path / name, progress=False)

    one, two, other = train(cases, "a"), train(cases, "b"), train(cases, "a", 1)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])
    assert not torch.equal(one.offset, other.offset)
    # Another finding of one image is another data set.
    train([replace(cases[0], findings=("dark",)), *cases[1:]], "a")
    assert len(list((tmp_path / "a").glob("findings-*.pt"))) == 3

    def fail(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr("monai_segdiff.evaluation.readers.train_finding_classifier.fit", fail)
    again = train(cases, "a")
    assert torch.equal(again.thresholds, one.thresholds)
    assert torch.equal(again.offset, one.offset)


def test_only_what_can_be_told_apart_is_learned(dataset, reader, tmp_path):
    """All images show the first, none the third; of some nothing is known."""
    cases = [replace(case, findings=(*case.findings, "always")) for case in dataset.splits["training"][:8]]
    cases += [replace(case, findings=None) for case in dataset.splits["training"][8:12]]
    vocabulary = ("always", *FINDINGS, "never")
    classifier = train_finding_classifier(cases, reader, vocabulary, 16, cache_dir=tmp_path, progress=False)
    assert classifier.findings == FINDINGS
    # Of so few patients none is set aside.
    assert not classifier.set_aside.any()
    assert classifier.threshold_images.tolist() == [8, 8]
    with pytest.raises(ValueError, match="images that show a finding and others that do not"):
        train_finding_classifier(cases, reader, ["always", "never"], cache_dir=tmp_path, progress=False)


def test_patients_set_aside_are_not_trained_on(dataset, reader, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "monai_segdiff.evaluation.readers.train_finding_classifier.fit",
        lambda network, cases, *args: seen.extend(cases),
    )
    cases = [replace(case, patient=f"q{i // 2}") for i, case in enumerate(dataset.splits["training"])]
    train_finding_classifier(cases, reader, FINDINGS, 16, cache_dir=tmp_path, progress=False)
    left = [case for case in cases if case not in seen]
    assert len(left) == 12
    assert not {case.patient for case in left} & {case.patient for case in seen}


def test_files_that_are_no_classifier(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_finding_classifier(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(ValueError, match=r"text\.pt cannot be read as a classifier of findings .*; remove it"):
        load_finding_classifier(tmp_path / "text.pt")
    torch.save({"format": "another"}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="is no classifier of findings"):
        load_finding_classifier(tmp_path / "other.pt")


@pytest.mark.parametrize("damage", ["a weight is missing", "a weight is no number", "a bit is another"])
def test_a_damaged_classifier_is_named(tmp_path, damage):
    file, classifier = tmp_path / "classifier.pt", FindingClassifier(FINDINGS, 2, 1)
    if damage == "a weight is no number":
        next(classifier.parameters()).data.flatten()[0] = torch.nan
    save_finding_classifier(classifier, file)
    if damage == "a weight is missing":
        content = torch.load(file, weights_only=True)
        content["state_dict"].popitem()
        torch.save(content, file)
    elif damage == "a bit is another":
        content = bytearray(file.read_bytes())
        largest = max(classifier.parameters(), key=torch.numel)
        content[content.index(largest.detach().numpy().tobytes()) + 2] ^= 0x40
        file.write_bytes(content)
    with pytest.raises(ValueError, match=r"classifier\.pt cannot be read as a classifier of findings"):
        load_finding_classifier(file)


def test_region_of_another_size(dataset, reader, tmp_path):
    other = PairReader({"disc": 1}, (0.0, 1.0), 2)
    other(dataset.splits["training"][0])
    file = tmp_path / "region.nii.gz"
    save_nifti(file, np.zeros((8, 8), np.uint8), np.eye(4))
    with pytest.raises(ValueError, match=r"region\.nii\.gz has size 8x8"):
        other.region(replace(dataset.splits["training"][0], region=file))
