"""Ctrl-C and SIGTERM in a training: where it was is saved, and it goes on as if nothing had been."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from test_resume import assert_equal, train
from toy_training import ToyTraining, build_training

from monai_segdiff.ends import Ending
from monai_segdiff.handlers import ResumeCheckpoint
from monai_segdiff.handlers import interruption as listening
from monai_segdiff.handlers.interruption import Interruption


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Every test starts from Python's own handlers, and leaves them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int, training: ToyTraining, event: Events, times: int) -> None:
    """Send this process a signal when an event comes for that time."""
    training.trainer.add_event_handler(event(once=times), lambda: os.kill(os.getpid(), number))


def names(folder: Path) -> list[str]:
    return [path.name for path in ResumeCheckpoint(folder, {}).files()]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_within_an_epoch_the_step_ends_and_the_resumed_run_equals_an_undisturbed_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], num_workers: int, number: int, code: int
) -> None:
    expected = train(tmp_path / "whole", 3).state()
    stopped = build_training(tmp_path / "parts", 3, num_workers=num_workers)
    send(number, stopped, Events.ITERATION_STARTED, 5)  # of 3 iterations an epoch
    with pytest.raises(SystemExit) as end:
        stopped.trainer.run()
    assert end.value.code == code
    assert names(tmp_path / "parts") == ["checkpoint_epoch=1.pt", "checkpoint_epoch=1_iteration=5.pt"]
    assert not (tmp_path / "parts" / "models" / "model.pt").exists()  # it is no trained network yet
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1] == "stopped at image 20 of 36 (epoch 2 of 3): run the same command again to go on"
    resumed = build_training(tmp_path / "parts", 3, num_workers=num_workers)
    iterations: list[int] = []
    resumed.trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda engine: iterations.append(engine.state.iteration)
    )
    resumed.trainer.run()
    assert iterations == [6, 7, 8, 9]
    assert_equal(resumed.state(), expected)
    assert names(tmp_path / "parts") == ["checkpoint_epoch=2.pt", "checkpoint_epoch=3.pt"]


def test_stopped_after_every_step_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    expected = train(tmp_path / "whole", 2).state()
    for _ in range(4):
        training = build_training(tmp_path / "parts", 2)
        send(signal.SIGTERM, training, Events.ITERATION_COMPLETED, 1)
        # `once` counts iterations of the whole training, this run's first is another one
        training.trainer.add_event_handler(
            Events.ITERATION_STARTED, lambda engine: engine.state.iteration > 1 and os.kill(os.getpid(), signal.SIGTERM)
        )
        with pytest.raises(SystemExit):
            training.trainer.run()
    last = build_training(tmp_path / "parts", 2)
    last.trainer.run()
    assert_equal(last.state(), expected)


def test_at_the_end_of_an_epoch_its_validation_is_waited_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    expected = train(tmp_path / "whole", 3).state()
    stopped = build_training(tmp_path / "parts", 3)
    validated: list[int] = []
    stopped.evaluator.add_event_handler(Events.COMPLETED, lambda: validated.append(stopped.trainer.state.epoch))
    stopped.evaluator.add_event_handler(
        Events.STARTED, lambda: stopped.trainer.state.epoch == 2 and os.kill(os.getpid(), signal.SIGINT)
    )
    with pytest.raises(SystemExit) as end:
        stopped.trainer.run()
    assert end.value.code == 130
    assert validated == [1, 2]
    assert names(tmp_path / "parts") == ["checkpoint_epoch=1.pt", "checkpoint_epoch=2.pt"]
    assert "stopping at the end of epoch 2 (once more: at once)" in capfd.readouterr().err
    assert_equal(train(tmp_path / "parts", 3).state(), expected)


def test_a_training_that_is_about_to_be_complete_completes(tmp_path: Path) -> None:
    training = build_training(tmp_path, 2)
    training.evaluator.add_event_handler(
        Events.STARTED, lambda: training.trainer.state.epoch == 2 and os.kill(os.getpid(), signal.SIGTERM)
    )
    training.trainer.run()
    assert names(tmp_path) == ["checkpoint_epoch=1.pt", "checkpoint_epoch=2.pt"]
    assert (tmp_path / "models" / "model.pt").is_file()


def test_epochs_that_are_not_saved_are_when_the_training_is_stopped(tmp_path: Path) -> None:
    training = build_training(tmp_path, 9, interval=5)
    send(signal.SIGTERM, training, Events.EPOCH_COMPLETED, 2)
    with pytest.raises(SystemExit):
        training.trainer.run()
    assert names(tmp_path) == ["checkpoint_epoch=2.pt"]


def test_where_no_epoch_can_be_started_within_the_last_whole_one_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monai_segdiff.handlers.checkpoint._can_start_within", lambda engine: False)
    training = build_training(tmp_path, 3)
    send(signal.SIGTERM, training, Events.ITERATION_STARTED, 5)
    with pytest.raises(SystemExit):
        training.trainer.run()
    assert names(tmp_path) == ["checkpoint_epoch=1.pt"]
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        f"stopped at image 20 of 36 (epoch 2 of 3), saved in {tmp_path}/checkpoint_epoch=1.pt before: "
        "run the same command again to go on from there"
    )


def test_where_nothing_is_saved_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monai_segdiff.handlers.checkpoint._can_start_within", lambda engine: False)
    training = build_training(tmp_path, 3)
    send(signal.SIGTERM, training, Events.ITERATION_STARTED, 2)
    with pytest.raises(SystemExit):
        training.trainer.run()
    assert names(tmp_path) == []
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        "stopped at image 8 of 36 (epoch 1 of 3), nothing is saved: run the same command again to begin anew"
    )


def test_a_state_within_an_epoch_is_refused_where_none_can_be_started_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = build_training(tmp_path, 3)
    send(signal.SIGTERM, training, Events.ITERATION_STARTED, 2)
    with pytest.raises(SystemExit):
        training.trainer.run()
    monkeypatch.setattr("monai_segdiff.handlers.checkpoint._can_start_within", lambda engine: False)
    again = build_training(tmp_path, 3)
    with pytest.raises(ValueError, match=r"checkpoint_epoch=0_iteration=2\.pt' was saved within an epoch"):
        again.trainer.run()


def test_what_is_open_is_closed_and_nothing_follows_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    class Writer:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    writer, training = Writer(), build_training(tmp_path / "other", 3)
    resume = ResumeCheckpoint(tmp_path, {"network": training.network}, closing=[writer])
    resume.attach(training.trainer)
    send(signal.SIGTERM, training, Events.ITERATION_STARTED, 2)
    with pytest.raises(SystemExit):
        training.trainer.run()
    assert writer.closed <= 1
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert capsys.readouterr().err.strip().count("\n") == 0


def test_who_handles_the_signal_otherwise_keeps_it(tmp_path: Path) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    training = build_training(tmp_path, 2)
    send(signal.SIGTERM, training, Events.ITERATION_STARTED, 2)
    training.trainer.run()
    assert received == [signal.SIGTERM]
    signal.signal(signal.SIGTERM, before)


def test_a_training_within_one_of_our_commands_is_saved_too(tmp_path: Path) -> None:
    training = build_training(tmp_path, 3)
    send(signal.SIGTERM, training, Events.ITERATION_STARTED, 5)
    with pytest.raises(SystemExit) as end:
        Ending("demo", "run it again").run(lambda: training.trainer.run() or 0)
    assert end.value.code == 143
    assert names(tmp_path) == ["checkpoint_epoch=1.pt", "checkpoint_epoch=1_iteration=5.pt"]


def test_after_an_error_the_signals_are_as_before(tmp_path: Path) -> None:
    training = build_training(tmp_path, 2)

    def fail() -> None:
        raise OSError("no camera")

    training.trainer.add_event_handler(Events.ITERATION_STARTED(once=2), fail)
    with pytest.raises(OSError, match="no camera"):
        training.trainer.run()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    train(tmp_path, 2)  # whose folder is free again


@pytest.mark.parametrize(("launched", "passed_on", "second"), [(False, 0.2, 0.5), (True, 0.5, 3.0)])
def test_a_second_signal_ends_the_process_at_once(
    launched: bool, passed_on: float, second: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    if launched:
        monkeypatch.setenv("LOCAL_RANK", "0")
    clock = iter([10.0, 10.0 + passed_on, 10.0 + second])
    monkeypatch.setattr(listening.time, "monotonic", lambda: next(clock))
    interruption = Interruption()
    interruption.listen()
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):  # the second comes from who started the process
            signal.raise_signal(number)
        assert interruption.wished() == signal.SIGINT
    finally:
        interruption.release()
    assert codes == [130]


def test_outside_the_main_thread_a_training_runs_as_ever(tmp_path: Path) -> None:
    states: list[dict[str, torch.Tensor]] = []
    thread = threading.Thread(target=lambda: states.append(train(tmp_path / "thread", 1).state()))
    thread.start()
    thread.join()
    assert_equal(states[0], train(tmp_path / "main", 1).state())


def test_processes_agree_on_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []

    def reduce(value: int, op: str) -> int:
        asked.append((value, op))
        return 15  # another process has received it

    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("ignite.distributed.all_reduce", reduce)
    assert Interruption().wished() == 15
    assert asked == [(0, "MAX")]


def test_a_worker_that_got_the_signal_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    interruption = Interruption()
    interruption.listen()
    try:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        signal.raise_signal(signal.SIGINT)
        assert interruption.wished() == 0
    finally:
        interruption.release()


def test_engines_report_other_errors_as_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training = build_training(tmp_path, 1)

    def fail(engine: Engine) -> None:
        raise RuntimeError("no camera")

    training.trainer.add_event_handler(Events.ITERATION_STARTED, fail)
    with pytest.raises(RuntimeError):
        training.trainer.run()
    assert "no camera" in caplog.text
