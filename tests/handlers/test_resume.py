from __future__ import annotations

import multiprocessing
import random
import re
import time
from pathlib import Path

import pytest
import torch
import toy_training
from ignite.engine import Events
from toy_training import build_training

from monai_segdiff.handlers import ResumeCheckpoint


def assert_equal(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


def train(directory: Path, epochs: int, **options: object) -> toy_training.ToyTraining:
    training = build_training(directory, epochs, **options)
    training.trainer.run()
    return training


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resumed_training_equals_uninterrupted_one_bit_for_bit(tmp_path: Path, num_workers: int) -> None:
    expected = train(tmp_path / "whole", 4, num_workers=num_workers).state()
    halfway = train(tmp_path / "parts", 2, num_workers=num_workers).state()
    assert not torch.equal(halfway["network.last.weight"], expected["network.last.weight"])
    resumed = build_training(tmp_path / "parts", 4, num_workers=num_workers)
    iterations: list[int] = []
    resumed.trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda engine: iterations.append(engine.state.iteration)
    )
    resumed.trainer.run()
    assert iterations == [7, 8, 9, 10, 11, 12]
    assert_equal(resumed.state(), expected)
    exported = [torch.load(tmp_path / run / "models" / "model.pt", weights_only=True) for run in ("whole", "parts")]
    assert_equal(exported[1], exported[0])
    assert_equal(exported[1], resumed.ema.network.state_dict())


def test_complete_training_has_nothing_to_do(tmp_path: Path) -> None:
    expected = train(tmp_path, 2).state()
    again = build_training(tmp_path, 2)
    again.trainer.add_event_handler(Events.ITERATION_STARTED, lambda: pytest.fail("trained on"))
    again.trainer.run()
    assert_equal(again.state(), expected)


def test_only_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    train(tmp_path, 5, interval=2, keep=2)
    assert [path.name for path in ResumeCheckpoint(tmp_path, {}).files()] == [
        "checkpoint_epoch=4.pt",
        "checkpoint_epoch=5.pt",  # the last epoch, though not a multiple of 2
    ]


def test_epoch_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    for name in ["checkpoint_epoch=9.pt", "checkpoint_epoch=10.pt", "checkpoint_epoch=11.pt.tmp", "model.pt"]:
        (tmp_path / name).touch()
    names = [path.name for path in ResumeCheckpoint(tmp_path, {}).files()]
    assert names == ["checkpoint_epoch=9.pt", "checkpoint_epoch=10.pt"]


def test_damaged_file_falls_back_to_the_one_before_and_the_result_is_the_same(tmp_path: Path, caplog) -> None:
    expected = train(tmp_path / "whole", 4).state()
    train(tmp_path / "parts", 3)
    damaged = tmp_path / "parts" / "checkpoint_epoch=3.pt"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    assert_equal(train(tmp_path / "parts", 4).state(), expected)
    assert str(damaged) in caplog.text


def test_when_no_checkpoint_can_be_read_the_run_stops(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_epoch=1.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"checkpoint_epoch=1\.pt.*start anew"):
        train(tmp_path, 2)


def test_checkpoint_holds_tensors_and_plain_types_only(tmp_path: Path) -> None:
    train(tmp_path, 1)
    content = torch.load(tmp_path / "checkpoint_epoch=1.pt", weights_only=True)
    assert set(content) == {"trainer", "network", "ema", "optimizer", "lr_scheduler"}
    assert content["trainer"] == {"epoch": 1, "iteration": 3, "epoch_length": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 32}, r"another 'network'.*size mismatch"),
        ({"size": 16}, "counts 3 iterations an epoch, this training 4"),
    ],
)
def test_checkpoint_of_another_training_is_refused(tmp_path: Path, change: dict[str, int], message: str) -> None:
    train(tmp_path, 1)
    with pytest.raises(ValueError, match=message) as error:
        train(tmp_path, 2, **change)
    assert str(tmp_path / "checkpoint_epoch=1.pt") in str(error.value)
    assert "another folder to start anew" in str(error.value)


def test_checkpoint_with_other_objects_is_refused(tmp_path: Path) -> None:
    train(tmp_path, 1)
    with pytest.raises(ValueError, match=re.escape("this training has ['network']")):
        train(tmp_path, 2, objects={"network": toy_training.ToyNetwork()})


def test_full_disk_stops_the_training_and_keeps_what_was_there(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    train(tmp_path, 1)
    before = (tmp_path / "checkpoint_epoch=1.pt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write .*checkpoint_epoch=2\.pt.*free space"):
            train(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "checkpoint_epoch=1.pt").read_bytes() == before
    assert [path.name for path in tmp_path.glob("checkpoint*")] == ["checkpoint_epoch=1.pt"]


def test_unwritable_folder_is_found_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    training = build_training(tmp_path / "file" / "folder", 1)
    with pytest.raises(OSError, match=r"cannot write .*file/folder.*writable folder"):
        training.trainer.run()
    assert training.trainer.state.iteration == 0


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_killed_training_run_again_ends_with_the_same_weights(tmp_path: Path, num_workers: int) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toy_training"])
    epochs = 6

    def start(name: str, kill_in_save: int = 0) -> multiprocessing.process.BaseProcess:
        (tmp_path / name).mkdir(exist_ok=True)
        arguments = (str(tmp_path / name), epochs, num_workers, kill_in_save)
        process = context.Process(target=toy_training.run_in_process, args=arguments)
        process.start()
        return process

    begin = time.perf_counter()
    start("whole").join()
    duration = time.perf_counter() - begin
    expected = torch.load(tmp_path / "whole" / "state.pt", weights_only=True)

    process = start("killed", kill_in_save=2)  # the second checkpoint is half written
    process.join()
    assert process.exitcode == -9
    assert (tmp_path / "killed" / "checkpoint_epoch=2.pt.tmp").exists()
    moments, kills = random.Random(num_workers), 1
    for _ in range(4):
        process = start("killed")
        process.join(timeout=moments.uniform(0.2, 0.9) * duration / 2)
        process.kill()
        process.join()
        kills += process.exitcode == -9
        for path in ResumeCheckpoint(tmp_path / "killed", {}).files():
            torch.load(path, weights_only=True)
    assert kills >= 2
    start("killed").join()
    assert_equal(torch.load(tmp_path / "killed" / "state.pt", weights_only=True), expected)
