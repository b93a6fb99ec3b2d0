"""`choose_guidance`: which weight fits, and that it is kept where `generate` and the tuning find it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from monai_segdiff.__main__ import main
from monai_segdiff.digests import digest_of
from monai_segdiff.evaluation import evaluate
from monai_segdiff.generation import collect_masks, load_generator
from monai_segdiff.workflows.choose_guidance import GuidanceFigures, choose_guidance, fitting_weight


def figures(weight: float, dice: float, failed: float = 0.0, kid: float = 0.001) -> GuidanceFigures:
    return GuidanceFigures(weight, dice, 0.9, failed, kid, kid_high=kid + 0.002)


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([figures(1, 0.7), figures(2, 0.8)], 2),
        ([figures(1, 0.799), figures(2, 0.8), figures(3, 0.8)], 1),
        ([figures(1, 0.7), figures(2, 0.8), figures(3, 0.9, kid=0.0031)], 2),
        ([figures(1, 0.7), figures(2, 0.8), figures(3, 0.9, kid=0.0029)], 3),
        ([figures(1, 0.7), figures(2, 0.8, failed=0.01), figures(3, 0.75)], 3),
        ([figures(1, 0.7, failed=0.1), figures(2, 0.8, failed=0.02)], 2),
        ([figures(1, 0.7), figures(2, 0.91), figures(3, 0.95)], 2),
        ([figures(1, 0.7, kid=0.01), figures(2, 0.6, kid=0.001)], 2),
        ([figures(1.5, 0.7, failed=0.2, kid=0.0), figures(2, 0.8, kid=0.1)], 1.5),
    ],
    ids=[
        "faithful",
        "a tie",
        "not realistic",
        "as realistic",
        "more fail",
        "fewer fail",
        "the ceiling is enough",
        "less real",
        "none fits",
    ],
)
def test_the_most_faithful_weight_that_costs_no_realism(candidates: list[GuidanceFigures], expected: float) -> None:
    assert fitting_weight(candidates) == expected


PLACES = {
    "dice": ("faithfulness", "mean", "dice"),
    "ceiling": ("faithfulness", "mean", "ceiling"),
    "failed": ("failed", "any", "rate"),
    "kid": ("realism", "kid", "synthetic"),
}


@pytest.fixture(scope="module")
def copied(trained_bundle: Any, make_bundle: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    bundle = make_bundle(tmp_path_factory.mktemp("guided"), **trained_bundle.overrides)
    (bundle.root / "models").mkdir()
    for name in ("model.pt", "model.yaml"):
        (bundle.root / "models" / name).write_bytes((trained_bundle.root / "models" / name).read_bytes())
    return bundle


def test_it_is_kept_with_its_curve_and_read_by_generate_and_tuning(
    copied: Any, trained_bundle: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digest_of(copied.weights)
    options = {"weights": (1.0, 3.0), "segmenter_images": 32, "progress": False}
    found = choose_guidance(copied.root, trained_bundle.phantoms, tmp_path / "out", **options)
    card = yaml.safe_load((copied.root / "models" / "model.yaml").read_text())
    assert card["guidance_weight"] == found[0].weight == fitting_weight(found)
    assert [one["weight"] for one in card["guidance_curve"]] == [1.0, 3.0]
    for one in card["guidance_curve"]:
        pairs, report = tmp_path / "out" / f"guidance_{one['weight']:g}", tmp_path / f"report_{one['weight']:g}"
        split = {"held_out": ("validation",), "segmenter_images": 32, "cache_dir": tmp_path / "out" / "segmenter"}
        found = evaluate(trained_bundle.phantoms, pairs, report, progress=False, **split)
        for name, place in PLACES.items():
            assert found.cell(*place).value == pytest.approx(one[name])
    assert digest_of(copied.weights) == before
    validation = {case.id for case in collect_masks(trained_bundle.phantoms, "validation")}
    manifest = json.loads((tmp_path / "out" / "guidance_3" / "manifest.json").read_text())
    assert {sample["mask"] for sample in manifest["samples"]} <= validation

    card["guidance_weight"] = 3.0
    (copied.root / "models" / "model.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    assert load_generator(copied.root).settings["guidance_weight"] == 3.0
    assert load_generator(copied.root, overrides={"guidance_weight": 1.0}).settings["guidance_weight"] == 1.0
    copied.run("training", "tune.yaml", sampler="consistency", num_steps=3, dataset_dir=str(trained_bundle.phantoms))
    tuned = yaml.safe_load((copied.root / "models" / "tuned" / "model.yaml").read_text())
    assert (tuned["built_in_guidance"], tuned["guidance_weight"]) == (3.0, 1.0)


def test_a_bundle_that_takes_no_guidance_says_so(trained_knee: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="knee_drr takes its guidance from elsewhere"):
        choose_guidance(trained_knee.root, trained_knee.phantoms, tmp_path)


def test_without_validation_masks_nothing_is_changed(
    copied: Any, trained_bundle: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((trained_bundle.phantoms / "dataset.json").read_text())
    (tmp_path / "data").mkdir()
    for folder in trained_bundle.phantoms.iterdir():
        if folder.is_dir():
            (tmp_path / "data" / folder.name).symlink_to(folder)
    content.pop("validation", None)
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(content))
    card = (copied.root / "models" / "model.yaml").read_bytes()
    assert main(["choose-guidance", str(copied.root), "--data", str(tmp_path / "data")]) == 2
    assert "validation" in capsys.readouterr().err
    assert (copied.root / "models" / "model.yaml").read_bytes() == card
