"""A folder that is filled: by one run at a time, and by its processes together."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from monai_segdiff.files import claim_folder
from monai_segdiff.generation import generate_dataset
from monai_segdiff.generation.folder import digest_of_inputs
from monai_segdiff.generation.processes import Processes


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_runs_the_second_is_refused_and_harms_nothing(tmp_path, load, masks, overwrite):
    output = tmp_path / "synthetic"
    generate_dataset(load(), masks[:1], output, progress=False)
    before = contents(output)
    with (
        claim_folder(output),
        pytest.raises(FileExistsError, match=r"another run is writing to .*synthetic: wait for it, or choose another"),
    ):
        generate_dataset(load(seed=3), masks[:1], output, overwrite=overwrite, progress=False)
    assert contents(output) == before
    with claim_folder(output):
        pass


def test_a_folder_of_somebody_else_is_not_cleared(tmp_path, load, masks):
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".tmp-1-notes.txt").touch()
    with pytest.raises(ValueError, match=r"holds 'notes\.txt', which was not generated here"):
        generate_dataset(load(), masks[:1], tmp_path, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-1-notes.txt", "notes.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_for_images_that_lies_elsewhere_is_refused_and_left_alone(tmp_path, load, masks, overwrite):
    output = tmp_path / "synthetic"
    generate_dataset(load(), masks[:1], output, progress=False)
    (output / "imagesTr").rename(tmp_path / "elsewhere")
    (output / "imagesTr").symlink_to(tmp_path / "elsewhere")
    before = contents(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"'imagesTr' is no path inside .*synthetic"):
        generate_dataset(load(), masks, output, overwrite=overwrite, progress=False)
    assert contents(tmp_path / "elsewhere") == before


def test_the_name_of_a_case_is_no_path(tmp_path, load, masks):
    hostile = replace(masks[0], id="../../outside")
    with pytest.raises(ValueError, match=r"is no path inside .*labelsTr"):
        generate_dataset(load(), [hostile], tmp_path / "a" / "synthetic", progress=False)
    assert not list(tmp_path.rglob("outside*"))


def test_a_sample_beyond_those_that_there_are_is_refused(tmp_path, load, masks):
    output = tmp_path / "synthetic"
    generate_dataset(load(), masks[:1], output, progress=False)
    (output / "SHA256SUMS").unlink()
    manifest = output / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"index": 0', '"index": 7'))
    with pytest.raises(ValueError, match="holds sample 7, and there are 1 from 0 on: its manifest was changed"):
        generate_dataset(load(), masks[:1], output, progress=False)


def test_masks_of_other_patients_are_other_masks(tmp_path, load, masks):
    generate_dataset(load(), masks[:1], tmp_path / "s", progress=False)
    for change in ({"patient": "another"}, {"patient_known": not masks[0].patient_known}):
        with pytest.raises(ValueError, match="made with another patients:"):
            generate_dataset(load(), [replace(masks[0], **change)], tmp_path / "s", progress=False)


def test_whose_samples_are_is_no_more_known_than_whose_their_masks_are(tmp_path, load, masks):
    unknown = [replace(masks[0], patient_known=False)]
    told, guessed = (
        generate_dataset(load(), given, tmp_path / name, progress=False)
        for name, given in (("told", masks[:1]), ("guessed", unknown))
    )
    assert [case.patient_known for dataset in (told, guessed) for case in dataset.splits["training"]] == [True, False]
    assert "patients_known" not in (told.root / "dataset.json").read_text()
    assert '"patients_known": false' in (guessed.root / "dataset.json").read_text()


def test_inputs_are_told_apart_by_every_fact_and_byte(tmp_path):
    files = [tmp_path / name for name in ("a", "b")]
    for file in files:
        file.write_text("same")
    digests = [
        digest_of_inputs(inputs)
        for inputs in (
            [],
            [{}],
            [{"mask": "a", "file": files[0]}],
            [{"mask": "a", "file": files[1]}],
            [{"mask": "b", "file": files[0]}],
            [{"mask": "a"}, {"file": files[0]}],
            [{"mask": "a", "file": None}],
        )
    ]
    assert len(set(digests)) == len(digests)
    files[0].write_text("other")
    assert digest_of_inputs([{"mask": "a", "file": files[0]}]) not in digests


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """This process as one of two; what the first one tells the other."""
    told: list[Any] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "broadcast_object_list", lambda held, src: told.extend(held))
    return told


def refuse() -> None:
    raise FileExistsError("another run is writing")


def test_the_first_process_says_what_is_wrong_after_it_has_told_the_others(joined):
    with pytest.raises(FileExistsError, match="another run is writing"):
        Processes().first(refuse)
    assert joined == [True]


@pytest.mark.parametrize("failed", [False, True])
def test_the_others_end_when_the_first_fails_and_do_nothing_themselves(joined, failed, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(dist, "broadcast_object_list", lambda held, src: held.__setitem__(0, failed))
    if not failed:
        Processes().first(refuse)
        return
    with pytest.raises(ConnectionError, match="the first process of this run has stopped"):
        Processes().first(refuse)


def test_a_process_whose_partner_is_gone_ends_in_one_line(joined, monkeypatch):
    def gone() -> None:
        raise RuntimeError("[../third_party/gloo/transport/tcp/pair.cc:598] Connection closed by peer [127.0.0.1]:1")

    monkeypatch.setattr(dist, "barrier", gone)
    with pytest.raises(ConnectionError, match=r"^another process of this run has stopped, see its message$"):
        Processes().wait()


@pytest.mark.slow
def test_two_processes_that_are_refused_end_both(trained_bundle, tmp_path):
    verb = ["generate", "--bundle", str(trained_bundle.root), "--masks", str(trained_bundle.phantoms)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*torchrun, "-m", "monai_segdiff", *verb, "--output", str(tmp_path / "out")]
    with claim_folder(tmp_path / "out"):
        done = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900
        )
    assert done.returncode != 0
    assert done.stderr.count("error: another run is writing to") == 1
    assert list((tmp_path / "out").iterdir()) == []
