"""Where processes are started that inherit no thread of torch in the middle of its work."""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

__all__ = ["process_context", "ready_processes"]

_PRELOADED = ["monai_segdiff.data"]


def process_context() -> BaseContext:
    """A context that imports torch once for all processes, where the system has such a one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def ready_processes(workers: int) -> None:
    """Begin to import what processes need, in the background, while this one imports and looks at what there is to do.

    Args:
        workers: how many there will be; for one, nothing is begun.
    """
    if workers > 1 and process_context().get_start_method() == "forkserver":
        forkserver.ensure_running()
