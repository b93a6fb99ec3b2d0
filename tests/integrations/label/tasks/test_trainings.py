"""Trainings on the studies of a server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests
import yaml
from monai.bundle import ConfigParser

from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.firewall.parameters import TrainingParameters
from monai_segdiff.integrations.label.store.datastore import StudyDatastore
from monai_segdiff.integrations.label.store.studies import real_cases
from monai_segdiff.integrations.label.store.training_data import split_studies
from monai_segdiff.integrations.label.store.training_patients import note_seen, seen_by, warn_of_seen
from monai_segdiff.integrations.label.tasks.batch import GeneratePairs
from monai_segdiff.integrations.label.tasks.pairs import PairGenerator
from monai_segdiff.integrations.label.tasks.segmenter import TrainSegmenter
from monai_segdiff.integrations.label.tasks.tuning import TuneGenerator

from ..server import children_of, pixels, runs, wait_until

TUNE = """
import sys
from pathlib import Path
from monai_segdiff.integrations.label.store.datastore import StudyDatastore
from monai_segdiff.integrations.label.tasks.pairs import PairGenerator
from monai_segdiff.integrations.label.tasks.tuning import TuneGenerator
bundle, work, studies = sys.argv[1:]
TuneGenerator(PairGenerator(bundle, Path(work)))({"images": 2500}, StudyDatastore(studies))
"""


def test_a_segmenter_learns_with_and_without_pairs(
    serve: Callable[..., Any], make_studies: Callable[..., Path]
) -> None:
    server = serve(make_studies(8))
    few = requests.post(f"{server.url}/train/segmenter?run_sync=true", json={"images": 32}, timeout=900)
    assert few.status_code == 400
    assert "run a batch without drop_classes first" in few.text
    server.post("/batch/infer/ct_organ", {"number": 1}, run_sync="true")
    server.post("/train/segmenter", {"images": 1600})
    task = server.finished("/train/")
    assert task["status"] == "DONE", task
    found = server.get("/info/")["train_stats"]["segmenter"]
    assert set(found["dice"]) == {"real", "synthetic", "both", "synthetic_difference", "both_difference"}
    # Two of eight patients are held out, and so are the pairs that were made of them.
    assert found["images"] == {"real": 6, "synthetic": 6, "both": 12}
    assert found["dice"]["real"] > 0.3
    difference = found["dice"]["both"] - found["dice"]["real"]
    np.testing.assert_allclose(found["dice"]["both_difference"], difference, atol=1e-6)


def test_tuning_changes_the_generator_and_keeps_the_bundle(
    serve: Callable[..., Any], make_studies: Callable[..., Path], trained_bundle: Any
) -> None:
    studies = make_studies(6)
    server = serve(studies)
    study = sorted(server.get("/datastore/", output="all")["objects"])[0]
    before = server.infer("ct_organ", image=study)
    weights = trained_bundle.weights.read_bytes()
    files = sorted(trained_bundle.root.rglob("*"))
    server.post("/train/ct_organ", {"images": 64, "learning_rate": 0.01})
    task = server.finished("/train/")
    assert task["status"] == "DONE", "\n".join(task["details"])
    after = server.infer("ct_organ", image=study)
    assert after.status_code == 200, after.text
    assert np.abs(pixels(before.content) - pixels(after.content)).max() > 0.1
    assert trained_bundle.weights.read_bytes() == weights
    assert sorted(trained_bundle.root.rglob("*")) == files
    stats = server.get("/info/")["train_stats"]["ct_organ"]
    assert sum(stats["studies"].values()) == 6
    facts = server.infer("ct_organ", image=study, output="json").json()
    assert facts["generator"]["weights_sha256"] == stats["weights_sha256"]
    # A small step from the weights that were there, and no start from nothing.
    from monai_segdiff.networks import weights_hash

    assert stats["weights_sha256"] != weights_hash(trained_bundle.weights)


def test_nothing_of_studies_or_cards_is_evaluated(
    make_studies: Callable[..., Path], trained_bundle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of classes come from data sets: in the training's configuration stands where they are, and no more."""
    monkeypatch.chdir(tmp_path)
    Path("@work").mkdir()
    card = trained_bundle.weights.with_suffix(".yaml")
    tuning = TuneGenerator(PairGenerator(trained_bundle.root, Path("@work")))
    splits = split_studies(real_cases(StudyDatastore(str(make_studies(6)))), 0.25, 0, "validation")
    start = tuning.work / "start.pt"
    start.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(trained_bundle.weights, start)
    content = yaml.safe_load(card.read_text())
    name = "$__import__('os').mkdir('run')"
    content["classes"], content["parents"] = {name: 1, "@seed": 2, "%a#b": 3}, {"@seed": name}
    start.with_suffix(".yaml").write_text(yaml.safe_dump(content))
    *_, overlay = tuning._configuration(tuning.work, start, splits, TrainingParameters())
    values = yaml.safe_load(overlay.read_text())
    assert {key for key in content if key != "weights_sha256"} <= set(values)
    texts = [value for value in values.values() if isinstance(value, str)]
    assert not any("mkdir" in text or text[0] in "@%" for text in texts)
    found = ConfigParser({key: values[key] for key in ("start", "start_card", "classes", "parents")})
    found.config["imports"] = ["$import monai_segdiff"]
    assert found.get_parsed_content("classes") == content["classes"]
    assert found.get_parsed_content("parents") == content["parents"]
    assert not Path("run").exists()


def test_too_few_studies_are_refused(serve: Callable[..., Any], make_studies: Callable[..., Path]) -> None:
    server = serve(make_studies(1))
    answer = requests.post(f"{server.url}/train/ct_organ?run_sync=true", json={}, timeout=900)
    assert answer.status_code == 400
    assert "patient" in answer.text


def test_a_training_that_was_killed_leaves_no_other_and_goes_on(
    make_studies: Callable[..., Path], trained_bundle: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies, work = make_studies(6), tmp_path / "work"
    command = [sys.executable, "-c", TUNE, str(trained_bundle.root), str(work), str(studies)]
    task = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wait_until(lambda: list(work.rglob("checkpoint_epoch=*.pt")) or task.poll() is not None, every=0.01)
    (training,) = children_of(task.pid)
    os.kill(training, signal.SIGSTOP)  # it learns nothing more until it sees that its parent has gone
    task.send_signal(signal.SIGKILL)
    task.wait()
    time.sleep(1.5)  # it looks every second
    os.kill(training, signal.SIGCONT)
    assert wait_until(lambda: not runs(training))
    assert not list(work.rglob("checkpoint_epoch=10.pt"))  # it was ended, and did not end by itself
    store = StudyDatastore(str(studies))
    found = TuneGenerator(PairGenerator(trained_bundle.root, work))({"images": 2500}, store)
    assert "continuing after epoch" in capsys.readouterr().out
    assert found["weights_sha256"] == PairGenerator(trained_bundle.root, work).weights_hash()
    noted = json.loads((work / trained_bundle.root.name / "seen.json").read_text())
    assert list(noted) == [found["weights_sha256"]]
    assert len(noted[found["weights_sha256"]]) == found["studies"]["training"] < len(store.list_images())


def test_studies_of_another_size_are_named_and_not_unpacked(
    make_studies: Callable[..., Path], trained_bundle: Any, tmp_path: Path
) -> None:
    studies = make_studies(4)
    pairs = PairGenerator(trained_bundle.root, tmp_path / "work")
    store = StudyDatastore(str(studies))
    source = store.list_images()[0]
    files = studies / f"{source}.nii.gz", studies / "labels" / "final" / f"{source}.nii.gz"
    record = {"synthetic": True, "source": source, "patient": source, "parameters": {}}
    store.add_pair("made", *files, record)
    nib.save(nib.Nifti1Image(np.zeros((16, 16, 40), np.uint8), np.eye(4)), files[0])
    for task in (TuneGenerator(pairs), TrainSegmenter(pairs, tmp_path / "segmenter")):
        with pytest.raises(RequestError, match=rf"study '{source}': the image has size 16x16x40"):
            task({"images": 4}, store)


def test_a_generator_that_has_seen_test_patients_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "seen.json"
    note_seen(file, "first", ["a", "b"], "bundle")
    note_seen(file, "second", ["c"], "first")
    assert [seen_by(file, weights) for weights in ("bundle", "first", "second")] == [set(), {"a", "b"}, {"a", "b", "c"}]
    records = [{"generator": {"weights_sha256": weights}} for weights in ("bundle", "first", "second", "second")]
    assert warn_of_seen(file, records, ["d"]) == []
    assert warn_of_seen(file, records[:1], ["a", "c"]) == []
    (warning,) = warn_of_seen(file, records, ["c", "d"])
    assert warning.startswith("2 synthetic images come from a generator that was fine-tuned on test patients")
    assert "(c)" in warning


def test_segmenters_warn_of_patients_whom_their_generator_was_tuned_on(
    make_studies: Callable[..., Path], trained_bundle: Any, tmp_path: Path
) -> None:
    pairs = PairGenerator(trained_bundle.root, tmp_path / "work")
    store = StudyDatastore(str(make_studies(6)))
    TuneGenerator(pairs)({"images": 64, "seed": 0}, store)
    GeneratePairs(pairs, tmp_path / "batch")({"number": 1}, store, lambda: None)
    (seen,) = json.loads((pairs.work / "seen.json").read_text()).values()
    segmenter = TrainSegmenter(pairs, tmp_path / "segmenter")

    def warnings(seed: int) -> list[str]:
        found = segmenter({"images": 16, "seed": seed}, store)["warnings"]
        return [warning for warning in found if "fine-tuned" in warning]

    assert warnings(seed=0) == []  # the same patients are held out
    tested = {case.patient for case in split_studies(real_cases(store), 0.25, 1, "test")["test"]}
    assert tested & set(seen)
    (warning,) = warnings(seed=1)
    assert warning.startswith("6 synthetic images come from a generator that was fine-tuned on test patients")
    assert f"({', '.join(sorted(tested & set(seen)))})" in warning
