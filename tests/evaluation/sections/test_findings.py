"""The report's section on findings, on images whose findings and changes are known."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_segdiff.data import Case, SegmentationDataset, load_image, make_chest_phantoms, read_dataset, write_dataset
from monai_segdiff.data.nifti import save_nifti
from monai_segdiff.evaluation import PairReader, Segmenter, evaluate, train_finding_classifier
from monai_segdiff.evaluation.evidence import gather
from monai_segdiff.evaluation.measure.inputs import read_inputs
from monai_segdiff.evaluation.sections.finding_changes import FindingChanges
from monai_segdiff.evaluation.sections.findings import open_findings

from ..squares import FINDINGS, SIZE, in_turn, picture, shown, squares, write_squares


class Silent(Segmenter):
    """Finds nothing: what it reads is not looked at here."""

    name, classes = "silent", ("disc",)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images * 0, images * 0 - 1], 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("findings")
    write_squares(folder / "real", {"training": 60, "validation": 8, "test": 32}, in_turn)
    return folder


def section_of(folder, synthetic, real=None):
    """The section alone, and a function that looks up its cells."""
    inputs = read_inputs(real or folder / "real", synthetic)
    findings = open_findings(inputs, 1280, 0, folder / "cache", progress=False)
    section = findings(gather(inputs, Silent(), "", [findings], progress=False))
    cells = {row.key: row.cells for row in section.rows}
    return section, lambda row, column: cells[row][column]


def write_edits(root, asked, drawn, outside=0.0, number=24, with_before=True):
    """Images as `generate` writes them: findings asked for and drawn by number, and what is spoilt elsewhere."""
    rng = np.random.default_rng(9)
    cases, records = [], []
    for i in range(number):
        before, mask = picture(rng)
        region = squares(rng, drawn(i) or asked(i) or ())
        image = shown(before, region) if drawn(i) else before
        image = image + outside * (region == 0) * bool(asked(i))
        name = f"s{i:03d}"
        files = [root / part / f"{name}_000.nii.gz" for part in ("imagesTr", "labelsTr", "regionsTr", "anatomyTr")]
        for file, array in zip(files, (image.astype(np.float32), mask, region, before.astype(np.float32)), strict=True):
            if with_before or file is not files[3]:
                save_nifti(file, array, np.eye(4))
        region_file = files[2] if asked(i) else None
        cases.append(Case(f"{name}_000", files[0], files[1], name, asked(i), region_file))
        records.append({"index": i, "image": f"imagesTr/{name}_000.nii.gz", "mask": name, "patient": name})
    dataset = SegmentationDataset(root, "edits", {"disc": 1}, {"training": cases}, (0.0, 1.0), 2, findings=FINDINGS)
    write_dataset(root, dataset)
    (root / "manifest.json").write_text(json.dumps({"synthetic": True, "samples": records}))
    return root


@pytest.fixture(scope="module")
def faithful(folder):
    return write_edits(folder / "faithful", in_turn, in_turn, outside=0.02)


def test_what_was_asked_for_is_seen_and_nothing_else(folder, faithful):
    section, cell = section_of(folder, faithful)
    for name in FINDINGS:
        for key in ("sensitivity", "specificity"):
            assert cell(name, key).value >= 0.95
        hit, false = (cell(name, key) for key in ("hit", "false"))
        assert (hit.value, hit.n, false.value, false.n) == (1.0, 12, 0.0, 12)
        assert hit.low == pytest.approx(0.025 ** (1 / 12))
        assert cell(name, "images") == 12
    pooled = cell("all", "hit")
    assert (pooled.value, pooled.n, pooled.groups) == (1.0, 24, 18)
    assert cell("none", "false").value == 0
    assert cell("none", "images") == 6
    assert "12 images set aside" in section.notes[0]
    assert all(warning.startswith("Too few") for warning in section.warnings)


def test_change_is_what_was_changed(folder, faithful):
    _, cell = section_of(folder, faithful)
    for name in FINDINGS:
        assert cell(name, "inside").value == pytest.approx(0.3, abs=1e-6)
        outside = cell(name, "outside")
        assert (outside.value, outside.low, outside.high) == pytest.approx((0.02,) * 3, abs=1e-6)
    # Where none is asked for, nothing says where one might be.
    assert "the image before and the region" in cell("none", "inside").reason


def test_what_was_not_drawn_is_not_seen(folder, tmp_path):
    """Asked for the bright one, the generator draws nothing; asked for nothing, it draws the dark one."""
    synthetic = write_edits(
        tmp_path / "s",
        lambda i: ("bright",) if i % 2 else (),
        lambda i: () if i % 2 else ("dark",),
        with_before=False,
    )
    section, cell = section_of(folder, synthetic)
    assert cell("bright", "hit").value == 0
    assert cell("dark", "false").value == 0.5
    assert cell("none", "false").value == 1
    assert cell("dark", "hit").reason == "no synthetic image is asked for it"
    # Without images before the findings nothing is said of changes.
    assert "inside" not in section.columns
    assert any("dark: hit rate not computable, no synthetic image is asked for it" in w for w in section.warnings)
    assert any("Too few synthetic images asked for it" in w and "bright (12)" in w for w in section.warnings)


def test_finding_that_no_held_out_image_shows(folder, faithful, tmp_path):
    real = read_dataset(folder / "real")
    for split in ("validation", "test"):
        real.splits[split] = [case for case in real.splits[split] if "dark" not in case.findings]
    real.root = tmp_path / "real"
    real.root.mkdir()
    write_dataset(real.root, real)
    section, cell = section_of(folder, faithful, tmp_path / "real")
    sensitivity = cell("dark", "sensitivity")
    assert (sensitivity.value, sensitivity.reason) == (None, "no held-out real image shows it")
    assert cell("dark", "specificity").value == 1
    assert cell("dark", "hit").value == 1
    assert any("dark: sensitivity not computable" in warning for warning in section.warnings)
    assert any("are unknown and 100.0%" in w and "the hit rate says little" in w for w in section.warnings)


def test_classifier_that_sees_little_is_said_loudly(folder, faithful, tmp_path):
    """Half of the held-out images are said to show what they do not."""
    real = read_dataset(folder / "real")
    for split in ("validation", "test"):
        real.splits[split] = [replace(c, findings=FINDINGS, region=None) for c in real.splits[split]]
    real.root = tmp_path / "real"
    real.root.mkdir()
    write_dataset(real.root, real)
    section, cell = section_of(folder, faithful, tmp_path / "real")
    assert cell("bright", "sensitivity").value == pytest.approx(0.5, abs=0.06)
    assert any(w.startswith("bright: sensitivity and specificity") and "says little" in w for w in section.warnings)


def test_findings_that_all_training_images_show(folder, faithful, tmp_path):
    real = read_dataset(folder / "real")
    real.splits["training"] = [replace(c, findings=FINDINGS, region=None) for c in real.splits["training"]]
    real.root = tmp_path / "real"
    real.root.mkdir()
    write_dataset(real.root, real)
    section, cell = section_of(folder, faithful, tmp_path / "real")
    assert cell("bright", "hit").reason == "the real training images all show it, or none does"
    assert cell("bright", "outside").value == pytest.approx(0.02, abs=1e-6)
    assert any("bright: hit rate not computable" in warning for warning in section.warnings)


class Threshold(torch.nn.Module):
    """Reads the disc where the image is bright."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([-x - 0.15, x + 0.15], 1)


def without_findings(root, target):
    """A copy of which nobody says what it shows."""
    shutil.copytree(root, target)
    dataset = read_dataset(target)
    dataset.splits = {s: [replace(c, findings=None, region=None) for c in cs] for s, cs in dataset.splits.items()}
    dataset.findings = ()
    write_dataset(target, dataset)
    return target


def test_whole_report_with_findings_and_without(tmp_path):
    """Without findings on either side it is what it was before there was such a section."""
    write_squares(tmp_path / "real", {"training": 12, "test": 10}, in_turn)
    write_edits(tmp_path / "synthetic", in_turn, in_turn, outside=0.02, number=8)
    torch.jit.trace(Threshold(), torch.zeros(1, 1, SIZE, SIZE)).save(str(tmp_path / "segmenter.pt"))

    def run(real, synthetic, name):
        return evaluate(
            real,
            synthetic,
            tmp_path / name,
            segmenter=tmp_path / "segmenter.pt",
            classifier_images=16,
            progress=False,
        )

    report = run(tmp_path / "real", tmp_path / "synthetic", "with")
    output = tmp_path / "with"
    page = (output / "report.html").read_text()
    for text in ("Findings seen", "hit rate", "2.00%", "all findings, pooled", "asked for none"):
        assert text in page
    content = json.loads((output / "report.json").read_text())
    assert content["sections"]["findings"]["bright"]["outside"]["value"] == pytest.approx(0.02, abs=1e-6)
    with open(output / "report.csv") as file:
        assert ["findings", "bright", "images", "4"] in [line[:4] for line in csv.reader(file)]
    assert "change outside" in (output / "report.txt").read_text()
    assert len(list((output / "segmenter").glob("findings-*.pt"))) == 1

    own = report.to_dict()
    del own["sections"]["findings"], own["notes"]["findings"]
    plain_real = without_findings(tmp_path / "real", tmp_path / "plain_real")
    plain_synthetic = without_findings(tmp_path / "synthetic", tmp_path / "plain_synthetic")
    for name, real, synthetic in (
        ("a", plain_real, tmp_path / "synthetic"),
        ("b", tmp_path / "real", plain_synthetic),
    ):
        plain = run(real, synthetic, name)
        found = plain.to_dict()
        assert list(found["sections"]) == ["faithfulness", "failed", "realism", "diversity", "memorization"]
        assert found["sections"] == own["sections"]
        assert found["notes"] == own["notes"]
        assert [line.label for line in plain.headlines] == ["Dice to mask", "Failed samples", "KID", "Memorized share"]
        assert "Findings" not in (tmp_path / name / "report.html").read_text()
        assert not list((tmp_path / name).glob("**/findings-*.pt"))


def test_image_that_is_not_finite_shows_nothing(folder, tmp_path):
    synthetic = write_edits(tmp_path / "s", lambda i: ("bright",), lambda i: ("bright",))
    first = read_dataset(synthetic).splits["training"][0]
    broken = load_image(first.image)[0].numpy().copy()
    broken[2, 2] = np.nan
    save_nifti(first.image, broken, np.eye(4))
    _, cell = section_of(folder, synthetic)
    assert cell("bright", "hit").value == pytest.approx(23 / 24)
    assert cell("bright", "inside").n == 24
    assert cell("bright", "outside").n == 23


def test_manifest_names_the_image_before_and_the_region_of_an_empty_edit(folder, tmp_path):
    synthetic = write_edits(tmp_path / "s", lambda i: (), lambda i: (), number=4)
    manifest = json.loads((synthetic / "manifest.json").read_text())
    (synthetic / "anatomyTr" / "s000_000.nii.gz").rename(synthetic / "before.nii.gz")
    region = np.zeros((SIZE, SIZE), np.uint8)
    region[:8] = 1
    save_nifti(tmp_path / "regions" / "left.nii.gz", region, np.eye(4))
    manifest["samples"][0] |= {"anatomy": "before.nii.gz", "region_source": "../regions/left.nii.gz"}
    manifest["samples"][1] |= {"region_source": "../regions/gone.nii.gz"}
    (synthetic / "manifest.json").write_text(json.dumps(manifest))
    inputs = read_inputs(folder / "real", synthetic)
    changes = FindingChanges(inputs)
    cases = inputs.generated
    assert changes.before(cases[0]) == synthetic / "before.nii.gz"
    assert changes.before(cases[1]) == synthetic / "anatomyTr" / "s001_000.nii.gz"
    assert changes.region(cases[0]).samefile(tmp_path / "regions" / "left.nii.gz")
    assert changes.region(cases[1]) is None
    _, cell = section_of(folder, synthetic)
    assert cell("none", "inside").value == 0
    assert cell("none", "outside").n == 1


def test_chest_phantoms(tmp_path):
    real = make_chest_phantoms(tmp_path / "chest", 20, 24, fractions=(1.0, 0.0, 0.0), healthy=0.4, progress=False)
    reader = PairReader(real.classes, real.intensity_range, 2)
    classifier = train_finding_classifier(
        real.splits["training"], reader, real.findings, 32, cache_dir=tmp_path / "cache", progress=False
    )
    assert set(classifier.findings) <= set(real.findings)
    assert torch.isfinite(classifier.thresholds).all()
