from __future__ import annotations

import io
import signal
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from toy_training import build_training

from monai_segdiff.handlers import ImagesProgressBar


def with_bar(trainer: SupervisedTrainer) -> tuple[io.StringIO, list[int]]:
    """Attach a bar; its output, and the images seen after each iteration."""
    output, seen = io.StringIO(), []
    bar = ImagesProgressBar(file=output, mininterval=0, ncols=100)
    bar.attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(bar.bar.n))
    return output, seen


def test_bar_counts_images_and_shows_loss_rate_and_time_left(tmp_path: Path) -> None:
    training = build_training(tmp_path, 2, size=10)  # batches of 4, 4 and 2
    output, seen = with_bar(training.trainer)
    training.trainer.run()
    assert seen == [4, 8, 10, 14, 18, 20]
    lines = output.getvalue().split("\r")
    assert "20/20" in lines[-1]
    assert "loss=" in lines[-1]
    assert "img/s" in lines[-1]
    assert any("<" in line and " 8/20" in line for line in lines)


def test_bar_of_a_resumed_run_starts_where_it_was(tmp_path: Path) -> None:
    build_training(tmp_path, 1).trainer.run()
    resumed = build_training(tmp_path, 3)
    _, seen = with_bar(resumed.trainer)
    resumed.trainer.run()
    assert seen == [16, 20, 24, 28, 32, 36]


def test_bar_of_a_run_that_goes_on_within_an_epoch_starts_there(tmp_path: Path) -> None:
    stopped = build_training(tmp_path, 2)
    stopped.trainer.add_event_handler(Events.ITERATION_STARTED(once=2), lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit):
        stopped.trainer.run()
    resumed = build_training(tmp_path, 2)
    output, seen = with_bar(resumed.trainer)
    resumed.trainer.run()
    assert seen == [12, 16, 20, 24]
    assert "24/24" in output.getvalue().split("\r")[-1]


def test_in_a_log_the_bar_is_drawn_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(io.StringIO):
        terminal = False

        def isatty(self) -> bool:
            return self.terminal

    for terminal, interval in ((True, 0.1), (False, 10.0)):
        stream, drawn = Stream(), []
        stream.terminal = terminal
        monkeypatch.setattr(sys, "stderr", stream)
        training = build_training(tmp_path / str(terminal), 3)
        bar = ImagesProgressBar(file=stream)
        bar.attach(training.trainer)
        training.trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda _, bar, drawn: drawn.append(bar.bar.mininterval), bar, drawn
        )
        training.trainer.run()
        assert set(drawn) == {interval}
        assert "36/36" in stream.getvalue().split("\r")[-1]


def test_loss_is_a_running_mean() -> None:
    losses = iter([1.0, 3.0])
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=torch.utils.data.DataLoader(torch.ones(2, 1)),
        network=(network := torch.nn.Linear(1, 1)),
        optimizer=torch.optim.SGD(network.parameters()),
        loss_function=lambda prediction, _: prediction.mean() * 0 + next(losses),
        prepare_batch=lambda batch, *_, **__: (batch, batch),
    )
    output = io.StringIO()
    ImagesProgressBar(smoothing=0.25, file=output).attach(trainer)
    trainer.run()
    assert "loss=1.5" in output.getvalue().split("\r")[-1]


def test_other_ranks_are_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    training = build_training(tmp_path, 1)
    output, _ = with_bar(training.trainer)
    training.trainer.run()
    assert output.getvalue() == ""
