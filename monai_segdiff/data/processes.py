"""Work shared out over processes that end when their parent does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch

from monai_segdiff.forkserver import process_context

__all__ = ["in_processes"]

Task = TypeVar("Task")
Result = TypeVar("Result")

_acts: list[Callable[[Any], Any]] = []  # of a worker, what it does with each task


def in_processes(
    act: Callable[[Task], Result], tasks: Sequence[Task], workers: int, in_order: bool = False
) -> Generator[tuple[Task, Result | None], None, None]:
    """Do something with each task, several at a time.

    Stopped, it ends the processes at once, and returns when they have ended. They are started anew, so nothing of
    torch's threads is inherited; each has one thread.

    Args:
        act: what is done; it and the tasks can be pickled.
        tasks: what with.
        workers: number of processes.
        in_order: whether results come in the order of the tasks, else as they are there.

    Yields:
        Tasks and results; None where the process was killed, which takes those beside it along.

    Raises:
        Exception: what `act` raised.
    """
    pool = ProcessPoolExecutor(workers, process_context(), _start_worker, (act,))
    try:
        futures = {_submit(pool, task): task for task in tasks}
        for future in futures if in_order else as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                yield futures[future], None
    except BaseException:  # stopped: nobody waits until what is at work is through
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, task: Any) -> Future[Any]:
    try:
        return pool.submit(_act, task)
    except BrokenProcessPool as error:  # already
        broken: Future[Any] = Future()
        broken.set_exception(error)
        return broken


def _start_worker(act: Callable[[Any], Any]) -> None:
    _acts[:] = [act]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # on Ctrl-C end at once and in silence; the parent reports it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """Do not outlive a parent that was killed: it would go on writing beside the run that follows."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _act(task: Any) -> Any:
    return _acts[0](task)
