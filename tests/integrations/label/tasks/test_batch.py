"""Batches of pairs: what is written, what is not written twice, and what a kill leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests
import yaml
from filelock import FileLock

from monai_segdiff.data import read_dataset
from monai_segdiff.integrations.label.errors import RequestError
from monai_segdiff.integrations.label.store.datastore import StudyDatastore
from monai_segdiff.integrations.label.tasks.batch import GeneratePairs, pair_id, pair_seed
from monai_segdiff.integrations.label.tasks.pairs import PairGenerator
from monai_segdiff.networks import save_weights

from ..server import children_of, pixels, runs, wait_until

SLOW = {"num_steps": 400, "seed": 7}


def made_images(studies: Path) -> list[Path]:
    """Images of synthetic studies; what is being written is none yet."""
    return sorted(file for file in studies.glob("*_synthetic_*.nii.gz") if not file.name.startswith("."))


def pair_files(studies: Path) -> dict[str, tuple[bytes, bytes]]:
    """Image and label map of each synthetic study that has an image."""
    found = {}
    for image in made_images(studies):
        label = studies / "labels" / "final" / image.name
        found[image.name.removesuffix(".nii.gz")] = (image.read_bytes(), label.read_bytes())
    return found


def real_studies(studies: Path) -> list[str]:
    return sorted(p.name.removesuffix(".nii.gz") for p in studies.glob("*.nii.gz") if "_synthetic_" not in p.name)


def test_pairs_are_new_finished_studies_with_their_marks(
    serve: Callable[..., Any], make_studies: Callable[..., Path]
) -> None:
    studies = make_studies(2)
    server = serve(studies)
    sources = real_studies(studies)
    result = server.post("/batch/infer/ct_organ", {"number": 2, "seed": 7}, run_sync="true")
    wanted = [pair_id(source, 7, k) for source in sources for k in (0, 1)]
    assert result == {"made": wanted, "present": [], "failed": {}}
    assert server.get("/datastore/") == {"total": 6, "completed": 6, "label_tags": {"final": 6}}
    objects = server.get("/datastore/", output="all")["objects"]
    for source in sources:
        for k in (0, 1):
            study = objects[pair_id(source, 7, k)]
            for info in (study["image"]["info"], study["labels"]["final"]["info"]):
                assert (info["synthetic"], info["source"], info["seed"]) == (True, source, pair_seed(source, 7, k))
            label = studies / "labels" / "final" / f"{pair_id(source, 7, k)}.nii.gz"
            original = studies / "labels" / "final" / f"{source}.nii.gz"
            assert label.read_bytes() == original.read_bytes()
            np.testing.assert_array_equal(nib.load(studies / label.name).affine, nib.load(original).affine)
        assert "synthetic" not in objects[source]["image"]["info"]
    # The record is enough to make the image again.
    again = server.infer("ct_organ", image=sources[0], params={"seed": pair_seed(sources[0], 7, 1)})
    np.testing.assert_array_equal(pixels(again.content), pixels(pair_files(studies)[pair_id(sources[0], 7, 1)][0]))


def test_synthetic_studies_are_no_sources(serve: Callable[..., Any], make_studies: Callable[..., Path]) -> None:
    studies = make_studies(2)
    server = serve(studies)
    source = real_studies(studies)[0]
    server.post("/batch/infer/ct_organ", {"number": 1}, run_sync="true")
    made = pair_id(source, 0, 0)
    refused = server.infer("ct_organ", image=made)
    assert refused.status_code == 400
    assert source in refused.text
    answer = requests.post(f"{server.url}/batch/infer/ct_organ?run_sync=true", json={"images": [made]}, timeout=900)
    assert answer.status_code == 400
    # Neither a client's word nor the loss of the list makes it a real one.
    changed = requests.put(
        f"{server.url}/datastore/image/info",
        params={"image": made},
        data={"info": '{"synthetic": false}'},
        timeout=900,
    )
    assert changed.ok
    server.stop()
    (studies / "datastore_v2.json").unlink()
    server.start()
    second = server.post("/batch/infer/ct_organ", {"number": 1, "seed": 1}, run_sync="true")
    assert second["made"] == [pair_id(name, 1, 0) for name in real_studies(studies)]
    assert server.get("/datastore/", output="all")["objects"][made]["image"]["info"]["synthetic"] is True


def test_a_batch_is_not_made_twice_and_not_otherwise(
    serve: Callable[..., Any], make_studies: Callable[..., Path]
) -> None:
    studies = make_studies(2)
    server = serve(studies)
    first = server.post("/batch/infer/ct_organ", {"number": 1}, run_sync="true")
    before = pair_files(studies)
    again = server.post("/batch/infer/ct_organ", {"number": 2}, run_sync="true")
    assert again["present"] == first["made"]
    assert len(again["made"]) == 2
    assert {name: pair_files(studies)[name] for name in before} == before
    answer = requests.post(f"{server.url}/batch/infer/ct_organ?run_sync=true", json={"num_steps": 3}, timeout=900)
    assert answer.status_code == 400
    assert "made with other settings" in answer.text


def test_dropped_classes_are_not_in_the_label_maps(
    serve: Callable[..., Any], make_studies: Callable[..., Path]
) -> None:
    studies = make_studies(2)
    server = serve(studies)
    result = server.post("/batch/infer/ct_organ", {"drop_classes": ["lungs"], "max_images": 1}, run_sync="true")
    source = real_studies(studies)[0]
    assert result["made"] == [pair_id(source, 0, 0)]
    final = studies / "labels" / "final"
    ids, original = (np.unique(nib.load(final / f"{name}.nii.gz").dataobj) for name in (result["made"][0], source))
    assert 2 not in ids
    assert set(ids) == set(original) - {2}


def test_studies_that_do_not_fit_are_named_and_the_others_made(
    serve: Callable[..., Any], make_studies: Callable[..., Path]
) -> None:
    studies = make_studies(2)
    for file in (studies / "wrong.nii.gz", studies / "labels" / "final" / "wrong.nii.gz"):
        nib.save(nib.Nifti1Image(np.full((16, 16), 99, np.uint8), np.eye(4)), file)
    result = serve(studies).post("/batch/infer/ct_organ", {}, run_sync="true")
    assert len(result["made"]) == 2
    assert list(result["failed"]) == ["wrong"]
    assert "99" in result["failed"]["wrong"]


def test_a_batch_that_is_killed_twice_leaves_no_half_pair_and_goes_on(
    serve: Callable[..., Any], make_studies: Callable[..., Path]
) -> None:
    studies = make_studies(3)
    server = serve(studies)
    killed: dict[str, Any] = {}
    for after in (1, 4):
        server.post("/batch/infer/ct_organ", {"number": 100, **SLOW})
        wait_until(lambda after=after: len(made_images(studies)) >= after, every=0.002)
        _kill_all(server.process.pid)
        found = pair_files(studies)  # every image has its label map, or this raises
        assert after <= len(found) < 300, server.log.read_text()[-2000:]
        assert {name: found[name] for name in killed} == killed
        killed = found
        for name in killed:
            assert json.loads((studies / "synthetic" / f"{name}.json").read_text())["synthetic"] is True
        server.start()
        listed = server.get("/datastore/", output="all")["objects"]
        assert {name for name in listed if "_synthetic_" in name} == set(killed)
        assert all(listed[name]["image"]["info"]["synthetic"] for name in killed)
    server.post("/batch/infer/ct_organ", {"number": 3, **SLOW})
    assert server.finished("/batch/infer")["status"] == "DONE"
    finished = pair_files(studies)
    wanted = {pair_id(source, 7, k) for source in real_studies(studies) for k in range(3)}
    assert set(finished) == wanted | set(killed)
    assert {name: finished[name] for name in killed} == killed
    assert not list(studies.rglob(".tmp-*"))
    total = len(finished) + 3
    status = {"total": total, "completed": total, "label_tags": {"final": total}}
    assert wait_until(lambda: server.get("/datastore/") == status)


def test_a_batch_whose_server_is_killed_makes_way_for_the_next(
    serve: Callable[..., Any], make_studies: Callable[..., Path]
) -> None:
    studies = make_studies(3)
    server = serve(studies)
    source = real_studies(studies)[0]
    server.post("/batch/infer/ct_organ", {"number": 100, **SLOW})

    def has_made_three() -> bool:
        assert server.infer("ct_organ", image=source).status_code == 200  # whatever the batch adds meanwhile
        return len(made_images(studies)) >= 3

    assert wait_until(has_made_three)
    children = children_of(server.process.pid)
    _stop_between_writes(children, studies)
    try:
        server.stop(signal.SIGKILL)
        server.start()
        server.post("/batch/infer/ct_organ", {"number": 1, **SLOW})
        time.sleep(1)
    finally:
        for child in children:
            os.kill(child, signal.SIGCONT)
    assert server.finished("/batch/infer")["status"] == "DONE"
    assert wait_until(lambda: not any(map(runs, children)))
    assert {pair_id(name, 7, 0) for name in real_studies(studies)} <= set(pair_files(studies))


@pytest.fixture
def batch(trained_bundle: Any, make_studies: Callable[..., Path], tmp_path: Path) -> tuple[Any, PairGenerator, Path]:
    """A batch on two studies, without a server."""
    pairs, studies = PairGenerator(trained_bundle.root, tmp_path / "work"), make_studies(2)
    task, store = GeneratePairs(pairs, tmp_path / "work"), StudyDatastore(str(studies))
    return lambda **request: task(request, store, lambda: None), pairs, studies


def test_a_pair_without_its_label_map_is_made_again(batch: tuple[Any, PairGenerator, Path]) -> None:
    run, _, studies = batch
    made = run(seed=1)["made"]
    before = pair_files(studies)
    (studies / "labels" / "final" / f"{made[0]}.nii.gz").unlink()
    assert run(seed=1) == {"made": made[:1], "present": made[1:], "failed": {}}
    assert pair_files(studies) == before


def test_a_batch_is_of_one_generator(
    batch: tuple[Any, PairGenerator, Path], trained_bundle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    run, pairs, studies = batch
    make = pairs.make

    def make_and_tune(*args: Any) -> Any:
        made = make(*args)
        pairs.tuned.parent.mkdir(parents=True, exist_ok=True)
        weights = torch.load(trained_bundle.weights, weights_only=True)
        card = yaml.safe_load(trained_bundle.weights.with_suffix(".yaml").read_text())
        save_weights({name: value * 1.1 for name, value in weights.items()}, pairs.tuned, card)
        return made

    monkeypatch.setattr(pairs, "make", make_and_tune)
    with pytest.raises(RequestError, match="fine-tuned during this batch") as stopped:
        run(number=2)
    assert stopped.value.status == 409
    assert len(made_images(studies)) == 1
    monkeypatch.undo()
    assert len(run(number=2, seed=1)["made"]) == 4


def _stop_between_writes(pids: list[int], studies: Path) -> None:
    """Stop processes as in the middle of a long step, in which they hold no lock on the studies."""
    with FileLock(str(studies / ".pairs.lock")), FileLock(str(studies / ".lock")):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        assert wait_until(lambda: all(map(_stands, pids)))


def _stands(pid: int) -> bool:
    """Whether each thread of a process is stopped."""
    try:
        stats = [(thread / "stat").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):  # a thread that has just ended
        return False
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def _kill_all(pid: int) -> None:
    pids = [*children_of(pid), pid]
    for one in pids:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    assert wait_until(lambda: not any(map(runs, pids)))


def test_covariates_are_told_to_images_and_batches(
    serve: Callable[..., Any], aging: Path, aging_bundle: Any, tmp_path: Path
) -> None:
    studies = tmp_path / "studies"
    (studies / "labels" / "final").mkdir(parents=True)
    case = read_dataset(aging).splits["test"][0]
    shutil.copy(case.image, studies / "p1.nii.gz")
    shutil.copy(case.label, studies / "labels" / "final" / "p1.nii.gz")
    server = serve(studies, bundle=aging_bundle.root)
    assert set(server.get("/info/")["models"]["ct_organ"]["covariates"]) == {"age", "sex"}
    told = {"age": 60, "sex": "F"}
    answer = server.infer("ct_organ", image="p1", output="json", params={"covariates": told}).json()
    assert answer["parameters"]["covariates"] == told
    wrong = server.infer("ct_organ", image="p1", params={"covariates": {"weight": 1}})
    assert wrong.status_code == 400
    assert "'weight' is no covariate; known are age, sex" in wrong.text
    result = server.post("/batch/infer/ct_organ", {"covariates": "age=120", "seed": 7}, run_sync="true")
    assert result["made"] == [pair_id("p1", 7, 0)]
    record = json.loads((studies / "synthetic" / f"{pair_id('p1', 7, 0)}.json").read_text())
    assert record["parameters"]["covariates"] == {"age": 120}
    assert "age is 120, and the training images have" in record["remarks"][0]
    assert server.post("/batch/infer/ct_organ", {"covariates": {"age": 120}, "seed": 7}, run_sync="true")["present"]
