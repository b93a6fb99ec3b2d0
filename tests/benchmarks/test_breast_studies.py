"""The studies on breast phantoms, with trainings of a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks import bundles, incomplete, rivals
from benchmarks.bundles import TrainingFacts
from benchmarks.subsets import GivenDice, Subset, subsets
from monai_segdiff.evaluation.measure.measure import Batch
from monai_segdiff.inferers import SamplingInferer

CLASSES = ("breast", "fgt", "vessel")
PARENTS = {"fgt": "breast", "vessel": "breast"}
TINY = {
    "channels": [8, 8],
    "num_res_blocks": 1,
    "attention_levels": [False, False],
    "num_head_channels": 4,
    "norm_num_groups": 4,
    "batch_size": 4,
    "num_steps": 2,
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies")


def words(work: Path, *others: str) -> list[str]:
    fixed = f"--work {work} --patients 12 --slices 2 --size 16 --seconds 2 --masks 4 --segmenter-images 40 --device cpu"
    return [*fixed.split(), "--overrides", json.dumps(TINY), *others]


def batch(reading: list[int], mask: list[int]) -> Batch:
    def indices(values: list[int]) -> torch.Tensor:
        return torch.tensor(values).reshape(1, 1, -1)

    images = torch.zeros(1, 1, len(mask))
    return Batch([], images, indices(mask), torch.ones(1, dtype=torch.bool), indices(reading))


def test_every_subset_is_there_once_and_the_whole_first() -> None:
    found = subsets(CLASSES)
    assert [subset.key for subset in found[:3]] == ["breast+fgt+vessel", "breast+fgt", "breast+vessel"]
    assert len(found) == len({subset.given for subset in found}) == 7
    assert found[1].dropped == ["vessel"]


@pytest.mark.parametrize(
    ("given", "reading", "mask", "expected"),
    [
        # a vessel that moved costs the vessel, and nothing once it was not given: it is breast on both sides
        (("vessel",), [0, 1, 1, 3], [0, 3, 1, 1], 0.0),
        (("breast", "fgt"), [0, 1, 1, 3], [0, 3, 1, 1], 1.0),
        # breast where none was given is no error, glandular tissue elsewhere is
        (("fgt",), [1, 2, 2, 0], [0, 2, 2, 1], 1.0),
        (("fgt",), [1, 2, 0, 2], [0, 2, 2, 1], 0.5),
        # both given: mean over the two classes, of which the breast overlaps in one of two pixels each
        (("breast", "fgt"), [1, 1, 2, 0], [0, 1, 2, 1], 0.75),
    ],
)
def test_dice_on_given_classes_forgives_what_was_not_given(given, reading, mask, expected) -> None:
    found = GivenDice(Subset(given, CLASSES), PARENTS)(batch(reading, mask))
    assert found.tolist() == pytest.approx([expected])


def test_a_mask_without_any_given_class_has_no_dice() -> None:
    assert GivenDice(Subset(("vessel",), CLASSES), PARENTS)(batch([3, 0], [1, 0])).isnan().all()


def check_the_halves_of_controlnet_make_up_one_budget(work: Path, limits: dict[str, list[int]]) -> None:
    assert limits == {"one_hot_0": [2], "one_hot_1": [2], "controlnet_0": [1, 1], "controlnet_1": [1, 1]}
    markers = {name: work / "trained" / f"{name}_0" / "trained.json" for name in ("one_hot", "controlnet")}
    seconds = {name: json.loads(file.read_text())["facts"]["seconds"] for name, file in markers.items()}
    assert all(2 <= each < 120 for each in seconds.values())
    models = work / "trained" / "controlnet_0" / "models"
    frozen, joined = (torch.load(models / n / "model.pt", weights_only=True) for n in ("unconditional", "controlnet"))
    assert all(torch.equal(joined[name], value) for name, value in frozen.items())


@pytest.mark.slow
def test_rivals_from_the_command_line_in_lanes(work: Path, own_logging, monkeypatch: pytest.MonkeyPatch) -> None:
    output = ["--output", str(work / "out" / "rivals")]
    train = bundles.train_bundle
    limits: dict[str, list[int]] = {}

    def train_and_note(bundle: Path, overlays: Any, overrides: Any) -> TrainingFacts:
        limits.setdefault(bundle.name, []).append(overrides["limit_seconds"])
        return train(bundle, overlays, overrides)

    monkeypatch.setattr(bundles, "train_bundle", train_and_note)
    with own_logging():
        rivals.main(words(work, *output, "--stage", "data"))
        for lane in ("one_hot", "controlnet"):
            rivals.main(words(work, *output, "--stage", "train", "--rivals", lane, "--seeds", "0", "1"))
        rivals.main(words(work, *output, "--stage", "table", "--seeds", "0", "1"))
        rows = json.loads((work / "out" / "rivals.json").read_text())["rows"]
        page = (work / "out" / "rivals.md").read_text()
        assert set(rows) == {"one_hot", "controlnet", *(f"{n}/{s}" for n in ("one_hot", "controlnet") for s in (0, 1))}
        # a second time: nothing is trained or sampled again
        monkeypatch.setattr(SamplingInferer, "__call__", lambda *_, **__: pytest.fail("sampled again"))
        rivals.main(
            words(work, *output, "--stage", "train", "table", "--rivals", "one_hot", "controlnet", "--seeds", "0", "1")
        )
    assert (work / "out" / "rivals.md").read_text() == page
    single = [rows[f"one_hot/{seed}"]["dice"]["value"] for seed in (0, 1)]
    assert rows["one_hot"]["dice"]["value"] == pytest.approx(sum(single) / 2)
    assert rows["one_hot"]["rank"] >= 1
    assert rows["one_hot/0"]["weights"] != rows["one_hot/1"]["weights"]
    assert rows["controlnet"]["parameters"] > rows["one_hot"]["parameters"]
    assert "| concatenation, one-hot with known flags [one_hot] |" in page
    assert Image.open(work / "out" / "rivals.png").width >= 4 * 96
    check_the_halves_of_controlnet_make_up_one_budget(work, limits)


@pytest.mark.slow
def test_incomplete_masks_from_the_command_line(work: Path, own_logging) -> None:
    output = [
        "--output",
        str(work / "out" / "incomplete"),
        "--trainings",
        "per_sample",
        "background",
        "--seeds",
        "0",
        "--clock",
        "cpu",
    ]
    with own_logging():
        incomplete.main(words(work, *output))
    rows = json.loads((work / "out" / "incomplete.json").read_text())["rows"]
    whole = rows["per_sample/breast+fgt+vessel"]
    assert whole["difference"]["value"] == 0
    assert whole["dice"]["value"] == whole["whole"]["value"]
    assert sum(key.startswith("background/") for key in rows) == 8
    others = [rows[f"per_sample/{subset.key}"]["difference"]["value"] for subset in subsets(CLASSES)[1:]]
    assert rows["per_sample/overview"]["worst"]["value"] == min(others)
    assert Image.open(work / "out" / "incomplete.png").width >= 4 * 96


def test_what_is_not_trained_is_not_compared(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="run --stage train first"):
        rivals.main(words(tmp_path, "--stage", "table", "--output", str(tmp_path / "rivals")))


def test_the_rivals_are_told_the_mask_in_ways_that_differ_as_their_labels_say() -> None:
    assert rivals.RIVALS["spade"].overrides == {}
    assert not rivals.RIVALS["spade"].overlays
    assert {variant.conditioning for variant in rivals.RIVALS.values()} == {"concat", "spade", "controlnet"}
    assert all(bool(v.base_overlays) == (v.conditioning == "controlnet") for v in rivals.RIVALS.values())
