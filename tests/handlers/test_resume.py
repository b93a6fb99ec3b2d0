from __future__ import annotations

import multiprocessing
import random
import re
import signal
import time
from pathlib import Path

import pytest
import torch
import toy_training
from ignite.engine import Events
from toy_training import build_training

from monai_segdiff.files import claim_folder
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


def test_state_is_saved_after_what_other_handlers_change_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    training = build_training(tmp_path, 1)
    training.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: training.network.last.bias.data.fill_(42.0))
    training.trainer.run()
    saved = torch.load(tmp_path / "checkpoint_epoch=1.pt", weights_only=True)
    assert saved["network"]["last.bias"].item() == 42.0


def test_run_that_is_ended_within_an_epoch_keeps_the_last_whole_epoch(tmp_path: Path) -> None:
    training = build_training(tmp_path, 3)
    training.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=5), lambda: training.trainer.terminate())
    training.trainer.run()
    assert [path.name for path in ResumeCheckpoint(tmp_path, {}).files()] == ["checkpoint_epoch=1.pt"]


def test_epoch_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    for name in ["checkpoint_epoch=9.pt", "checkpoint_epoch=10.pt", ".tmp-1-checkpoint_epoch=11.pt", "model.pt"]:
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


def test_values_that_are_no_numbers_are_refused_by_name(tmp_path: Path) -> None:
    train(tmp_path, 2)
    path = tmp_path / "checkpoint_epoch=2.pt"
    content = torch.load(path, weights_only=True)
    content["ema"]["last.bias"].fill_(torch.nan)
    content["optimizer"]["state"][0]["exp_avg"][0] = torch.inf
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"checkpoint_epoch=2\.pt' holds NaN or infinite values in ema and optimizer"):
        train(tmp_path, 3)
    path.unlink()  # as the message says
    train(tmp_path, 3)


@pytest.mark.parametrize("content", [[1, 2], {"trainer": 3}, {"trainer": {"epoch": 1}, "settings": {}}, torch.ones(2)])
def test_a_file_that_is_no_checkpoint_is_passed_over(tmp_path: Path, content: object, caplog) -> None:
    expected = train(tmp_path / "whole", 3).state()
    train(tmp_path / "parts", 1)
    torch.save(content, tmp_path / "parts" / "checkpoint_epoch=2.pt")
    assert_equal(train(tmp_path / "parts", 3).state(), expected)
    assert "checkpoint_epoch=2.pt is no checkpoint of a training; trying the one before" in caplog.text


def test_a_byte_that_changed_is_found(tmp_path: Path, caplog) -> None:
    expected = train(tmp_path / "whole", 3).state()
    train(tmp_path / "parts", 2)
    damaged = tmp_path / "parts" / "checkpoint_epoch=2.pt"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1  # within a tensor, which torch.load takes
    damaged.write_bytes(content)
    assert_equal(train(tmp_path / "parts", 3).state(), expected)
    assert "checksum" in caplog.text


def test_two_trainings_on_one_folder_are_kept_apart(tmp_path: Path) -> None:
    refusal = pytest.raises(FileExistsError, match=f"another run is writing to {tmp_path}")
    with claim_folder(tmp_path), refusal:  # as another process has it
        train(tmp_path, 1)
    leftover = tmp_path / ".tmp-0123456789abcdef-checkpoint_epoch=1.pt"
    leftover.write_bytes(b"half")
    second = build_training(tmp_path, 1)
    first = build_training(tmp_path, 2)
    refused: list[str] = []

    def start_second() -> None:
        with pytest.raises(FileExistsError) as error:
            second.trainer.run()
        refused.append(str(error.value))

    first.trainer.add_event_handler(Events.ITERATION_STARTED(once=2), start_second)
    first.trainer.run()
    assert len(refused) == 1
    assert not leftover.exists()
    train(tmp_path, 3)  # who is through holds it no longer


def test_checkpoint_holds_tensors_and_plain_types_only(tmp_path: Path) -> None:
    train(tmp_path, 1)
    content = torch.load(tmp_path / "checkpoint_epoch=1.pt", weights_only=True)
    assert set(content) == {"trainer", "settings", "network", "ema", "optimizer", "lr_scheduler"}
    assert content["trainer"] == {"epoch": 1, "iteration": 3, "epoch_length": 3}


@pytest.mark.parametrize(("options", "message"), [({"interval": 0}, "at least 1"), ({"keep": 0}, "at least 1")])
def test_numbers_below_one_are_refused(tmp_path: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResumeCheckpoint(tmp_path, {}, **options)


def test_name_of_the_counters_is_reserved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\['trainer'\] are reserved"):
        ResumeCheckpoint(tmp_path, {"trainer": toy_training.ToyNetwork()})


def test_ranks_that_find_different_checkpoints_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ignite.distributed.all_gather", lambda iteration: [iteration, iteration + 3])
    with pytest.raises(ValueError, match="must be shared"):
        train(tmp_path, 1)


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
        with pytest.raises(OSError, match=r"cannot write .*checkpoint_epoch=2\.pt.*free some space"):
            train(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "checkpoint_epoch=1.pt").read_bytes() == before
    assert [path.name for path in tmp_path.glob("checkpoint*")] == ["checkpoint_epoch=1.pt"]


def test_unwritable_folder_is_found_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    training = build_training(tmp_path / "file" / "folder", 1)
    with pytest.raises(OSError, match=r"cannot write .*file/folder.*choose another folder"):
        training.trainer.run()
    assert training.trainer.state.iteration == 0


def kill_and_run_again(folder: Path) -> None:
    """Train undisturbed; train with kills, one inside the writing of a checkpoint; compare."""
    multiprocessing.set_start_method("fork", force=True)  # of this process, which has trained nothing itself
    epochs, num_workers = 8, 2

    def start(name: str, kill_in_save: int = 0) -> multiprocessing.Process:
        (folder / name).mkdir(parents=True, exist_ok=True)
        arguments = (str(folder / name), epochs, num_workers, kill_in_save)
        process = multiprocessing.Process(target=toy_training.run_in_process, args=arguments)
        process.start()
        return process

    begin = time.perf_counter()
    start("whole").join()
    duration = time.perf_counter() - begin

    process = start("killed", kill_in_save=2)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list((folder / "killed").glob(".tmp-*-checkpoint_epoch=2.pt"))
    moments, kills, names = random.Random(num_workers), 1, ["killed"]
    while kills < 4:
        process = start(names[-1])
        process.join(timeout=moments.uniform(0.2, 0.6) * duration)
        process.kill()
        process.join()
        for path in ResumeCheckpoint(folder / names[-1], {}).files():
            torch.load(path, weights_only=True)
        if process.exitcode == -signal.SIGKILL:
            kills += 1
        else:  # it was complete before its moment: a fresh one, and sooner
            assert process.exitcode == 0
            names.append(f"killed_{len(names)}")
            duration /= 2
    whole = torch.load(folder / "whole" / "state.pt", weights_only=True)
    for name in names:
        start(name).join()
        assert_equal(torch.load(folder / name / "state.pt", weights_only=True), whole)
        assert not list((folder / name).glob(".tmp-*"))


@pytest.mark.slow
def test_killed_training_run_again_ends_with_the_same_weights(tmp_path: Path) -> None:
    # a fresh process, because one that has used threads or a GPU must not be forked
    process = multiprocessing.get_context("spawn").Process(target=kill_and_run_again, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    training = build_training(tmp_path, 1)
    model = {"size": (8, 8), "channels": 4, "sampler": "ddim"}
    resume = ResumeCheckpoint(tmp_path, {}, settings={"seed": 0, "model": model})
    resume.attach(training.trainer)
    training.trainer.run()
    fewer = {"size": [8, 8], "channels": 4}
    ResumeCheckpoint(tmp_path, {}, settings={"seed": 0, "model": fewer}).resume(training.trainer)
    without = {**model, "covariates": {}, "channels_of_image": 1}  # what a card that does not say them means
    ResumeCheckpoint(tmp_path, {}, settings={"seed": 0, "model": without}).resume(training.trainer)
    for settings, named in (
        ({"seed": 1, "model": model}, "another seed"),
        ({"seed": 1, "model": {**model, "channels": 8}}, r"another seed and model\.channels"),
        ({"model": {**model, "heads": None}}, r"another model\.heads"),
        ({"model": "other"}, "another model"),
        ({"model": {**without, "covariates": {"sex": {"values": ["F", "M"]}}}}, r"another model\.covariates"),
    ):
        with pytest.raises(ValueError, match=f"made with {named} than this training has"):
            ResumeCheckpoint(tmp_path, {}, settings=settings).resume(training.trainer)
