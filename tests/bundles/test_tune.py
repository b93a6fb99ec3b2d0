"""The overlay `tune.yaml`: tuned weights beside those before, and which of both a generator takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from monai_segdiff import copy_bundle
from monai_segdiff.digests import digest_of
from monai_segdiff.errors import unwrapped_errors
from monai_segdiff.generation import collect_masks, generate_dataset, load_generator
from monai_segdiff.workflows import train_bundle


def weights_in(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)


def trained_again(trained: Any, make_bundle: Callable[..., Any], folder: Path) -> Any:
    """A copy of a trained bundle, which tests may change."""
    bundle = make_bundle(folder, trained.root.name, **trained.overrides, dataset_dir=str(trained.phantoms))
    (bundle.root / "models").mkdir()
    for name in ("model.pt", "model.yaml"):
        (bundle.root / "models" / name).write_bytes((trained.root / "models" / name).read_bytes())
    return bundle


@pytest.fixture(scope="module")
def tuned(trained_bundle: Any, make_bundle: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    bundle = trained_again(trained_bundle, make_bundle, tmp_path_factory.mktemp("tuned"))
    bundle.run("training", "tune.yaml", sampler="consistency", num_steps=3)
    return bundle


def test_the_tuned_weights_are_files_of_their_own(tuned: Any, trained_bundle: Any) -> None:
    assert digest_of(tuned.weights) == digest_of(trained_bundle.weights)
    before, after = weights_in(tuned.weights), weights_in(tuned.root / "models" / "tuned" / "model.pt")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    card = yaml.safe_load((tuned.root / "models" / "tuned" / "model.yaml").read_text())
    assert (card["sampler"], card["num_steps"], card["built_in_guidance"]) == ("consistency", 3, 1.0)
    assert card["noise_levels"] == [[80.0], [80.0, 0.8], [80.0, 1.5, 0.2]]
    assert list((tuned.root / "eval" / "tuned").glob("preview_epoch=*.png"))


def test_it_begins_at_the_trained_weights(trained_bundle: Any, make_bundle: Callable[..., Any], tmp_path: Path) -> None:
    bundle = trained_again(trained_bundle, make_bundle, tmp_path)
    bundle.run("training", "tune.yaml", sampler="consistency", num_steps=3, learning_rate=1e-12)
    before, after = weights_in(bundle.weights), weights_in(bundle.root / "models" / "tuned" / "model.pt")
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_generator_takes_them_and_each_step_is_one_evaluation(tuned: Any, tmp_path: Path, steps: int) -> None:
    generator = load_generator(tuned.root, overrides={"num_steps": steps})
    assert generator.weights == tuned.root / "models" / "tuned" / "model.pt"
    assert generator.settings["sampler"] == "consistency"
    assert generator.settings["sigmas"] == [[80.0, 0.0], [80.0, 0.8, 0.0], [80.0, 1.5, 0.2, 0.0]][steps - 1]
    dataset = generate_dataset(
        generator, collect_masks(tuned.overrides["dataset_dir"]), tmp_path / "pairs", progress=False
    )
    assert generator.inferer.evaluations == steps
    assert len(dataset.splits["training"]) > 0


@pytest.mark.parametrize("asked", [{"num_steps": 20}, {"guidance_weight": 2.0}, {"sampler": "heun"}])
def test_what_they_do_not_serve_gets_the_weights_before(tuned: Any, asked: dict[str, Any]) -> None:
    generator = load_generator(tuned.root, overrides=asked)
    assert generator.weights == tuned.weights
    assert generator.settings["sigmas"] is None
    assert load_generator(tuned.root, tuned=False).weights == tuned.weights


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"num_steps": 20}, "tuned for at most 3 steps, and num_steps is 20"),
        ({"guidance_weight": 2.0}, "guidance built in, and guidance_weight is 2"),
        ({"sampler": "heun"}, "tuned for the sampler consistency, and sampler is heun"),
    ],
)
def test_named_weights_that_cannot_do_it_are_refused(tuned: Any, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}.*--weights models/model.pt"):
        load_generator(tuned.root, tuned.root / "models" / "tuned" / "model.pt", overrides=asked)


def test_built_in_guidance_is_in_the_card_and_costs_no_evaluation(
    trained_breast: Any, make_bundle: Callable[..., Any], tmp_path: Path
) -> None:
    bundle = trained_again(trained_breast, make_bundle, tmp_path)
    bundle.run("training", "tune.yaml", sampler="consistency", num_steps=3, built_in_guidance=2.0)
    card = yaml.safe_load((bundle.root / "models" / "tuned" / "model.yaml").read_text())
    assert card["built_in_guidance"] == 2.0
    generator = load_generator(bundle.root)
    generate_dataset(generator, collect_masks(trained_breast.phantoms)[:1], tmp_path / "pairs", progress=False)
    assert generator.inferer.evaluations == 3


def test_a_network_that_was_not_trained_cannot_be_tuned(make_bundle: Callable[..., Any], tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    with (
        pytest.raises(FileNotFoundError, match=r"no file .*model\.pt: run the training that writes it first"),
        unwrapped_errors(),
    ):
        bundle.run("training", "tune.yaml", sampler="consistency", num_steps=3)


def test_weights_of_other_data_are_not_tuned(
    trained_bundle: Any, make_bundle: Callable[..., Any], tmp_path: Path
) -> None:
    bundle = trained_again(trained_bundle, make_bundle, tmp_path)
    with pytest.raises(ValueError, match=r"model\.yaml says full_prob"), unwrapped_errors():
        bundle.run("training", "tune.yaml", sampler="consistency", num_steps=3, full_prob=0.9)


def test_one_budget_is_divided(
    trained_bundle: Any,
    make_bundle: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    own_logging: Callable[[], Any],
) -> None:
    bundle = make_bundle(tmp_path)
    plan = tmp_path / "plan.yaml"
    without = {"image_size", "sampler", "num_steps", "phantoms#fractions", "phantoms#progress"}
    plan.write_text(yaml.safe_dump({name: value for name, value in bundle.overrides.items() if name not in without}))
    given = {"dataset": trained_bundle.phantoms, "plan": plan, "images": 64, "tune": 0.25}
    with own_logging():
        weights = train_bundle(bundle.root, **given)
    assert weights == bundle.root / "models" / "tuned" / "model.pt"
    first, second = [line for line in capsys.readouterr().out.splitlines() if line.startswith("the same by MONAI")]
    assert "tune.yaml" not in first
    assert first.endswith("--max_images 48")
    assert "tune.yaml" in second
    assert second.endswith("--max_images 16")
    digests = digest_of(weights), digest_of(bundle.weights)
    with own_logging():
        train_bundle(bundle.root, **given)  # has nothing left to do
    assert (digest_of(weights), digest_of(bundle.weights)) == digests


def test_a_bundle_without_the_overlay_says_so(tmp_path: Path) -> None:
    bundle = copy_bundle("knee_drr", tmp_path / "knee_drr")
    with pytest.raises(ValueError, match=r"has no configs/tune\.yaml, so its network cannot be tuned"):
        train_bundle(bundle, tune=0.25)
