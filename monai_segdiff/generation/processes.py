"""The processes that share a generation under `torchrun`."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

__all__ = ["Processes"]

# One process may be done long before another.
_PATIENCE = timedelta(days=30)


class Processes:
    """Those that share the work under ``torchrun``; a single process waits for nobody.

    Attributes:
        rank: number of this process.
        number: how many there are.
    """

    def __init__(self) -> None:
        self.rank, self.number = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self._joined = self.number > 1 and not dist.is_initialized()

    def __enter__(self) -> Processes:
        if self._joined:
            dist.init_process_group("gloo", timeout=_PATIENCE)
        return self

    def wait(self) -> None:
        """Wait until all processes have come here.

        Raises:
            ConnectionError: if one has ended instead.
        """
        self._together(dist.barrier)

    def first(self, act: Callable[[], object]) -> None:
        """Let the first process do something while the others wait.

        Args:
            act: what it does.

        Raises:
            ConnectionError: in the others, if it failed there.
            Exception: in the first process, what was raised.
        """
        failure: Exception | None = None
        if self.rank == 0:
            try:
                act()
            except Exception as error:
                failure = error
        failed = [failure is not None]
        self._together(lambda: dist.broadcast_object_list(failed, src=0))
        if failure is not None:
            raise failure
        if failed[0]:
            raise ConnectionError("the first process of this run has stopped, see its message")

    def _together(self, act: Callable[[], object]) -> None:
        if not dist.is_initialized():
            return
        try:
            act()
        except RuntimeError as error:  # what it says names addresses and ports
            raise ConnectionError("another process of this run has stopped, see its message") from error

    def __exit__(self, *_: object) -> None:
        if self._joined:
            dist.destroy_process_group()
