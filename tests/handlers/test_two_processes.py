from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch
import toy_training
from ignite.engine import Events


def train_one_rank(rank: int, directory: str) -> None:
    """One of two processes: a whole training, and another one in two parts."""
    import ignite.distributed as idist

    torch.set_num_threads(1)
    folder = Path(directory)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    idist.sync()
    states, inputs = [], []
    for name, epochs in (("whole", 2), ("parts", 1), ("parts", 2)):
        training = toy_training.build_training(folder / name, epochs, rank=rank, world_size=2)
        prepare_batch = training.trainer.prepare_batch

        def remember(*arguments, prepare_batch=prepare_batch, **keywords):
            batch = prepare_batch(*arguments, **keywords)
            inputs.append(torch.randn(4))  # what the generator holds after level and noise were drawn
            return batch

        training.trainer.prepare_batch = remember
        training.trainer.run()
        states.append(training.state())
    torch.save({"states": states, "inputs": inputs}, folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_one_network_with_different_noise(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=train_one_rank, args=(rank, str(tmp_path))) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=900)
        process.kill()  # does nothing to one that has ended
    assert [process.exitcode for process in processes] == [0, 0]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    for first, second in zip(ranks[0]["states"], ranks[1]["states"], strict=True):
        assert all(torch.equal(first[name], second[name]) for name in first)
    whole, _, resumed = ranks[0]["states"]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not any(torch.equal(a, b) for a, b in zip(ranks[0]["inputs"], ranks[1]["inputs"], strict=True))
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == ["checkpoint_epoch=1.pt", "checkpoint_epoch=2.pt", "models"]


def stop_and_go_on(rank: int, directory: str, exits: bool) -> None:
    """One of two processes: a whole training, or one that a signal to the second process stops."""
    import ignite.distributed as idist

    torch.set_num_threads(1)
    folder = Path(directory)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/{exits}", rank=rank, world_size=2)
    idist.sync()
    training = toy_training.build_training(folder / "parts", 3, rank=rank, world_size=2)
    if exits and rank == 1:
        event = Events.ITERATION_STARTED(once=3)  # of 2 an epoch
        training.trainer.add_event_handler(event, lambda: os.kill(os.getpid(), signal.SIGTERM))
    training.trainer.run()  # which ends the process, where it was stopped
    whole = toy_training.build_training(folder / "whole", 3, rank=rank, world_size=2)
    whole.trainer.run()
    assert all(torch.equal(value, training.state()[name]) for name, value in whole.state().items())
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_at_the_same_step(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for exits, expected in ((True, 128 + signal.SIGTERM), (False, 0)):
        arguments = [(rank, str(tmp_path), exits) for rank in (0, 1)]
        processes = [context.Process(target=stop_and_go_on, args=one) for one in arguments]
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=900)
            process.kill()  # does nothing to one that has ended
        assert [process.exitcode for process in processes] == [expected, expected]
        if exits:
            names = sorted(path.name for path in (tmp_path / "parts").iterdir())
            assert names == ["checkpoint_epoch=1.pt", "checkpoint_epoch=1_iteration=3.pt"]
