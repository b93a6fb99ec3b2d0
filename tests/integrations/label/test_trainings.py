"""Trainings on the studies of a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import requests

from .server import pixels


def test_a_segmenter_learns_with_and_without_pairs(
    serve: Callable[..., Any], make_studies: Callable[..., Path]
) -> None:
    server = serve(make_studies(8))
    few = requests.post(f"{server.url}/train/segmenter?run_sync=true", json={"images": 32}, timeout=120)
    assert few.status_code == 400
    assert "run a batch first" in few.text
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


def test_too_few_studies_are_refused(serve: Callable[..., Any], make_studies: Callable[..., Path]) -> None:
    server = serve(make_studies(1))
    answer = requests.post(f"{server.url}/train/ct_organ?run_sync=true", json={}, timeout=120)
    assert answer.status_code == 400
    assert "patient" in answer.text
