"""The processes that share a generation under `torchrun`."""

from __future__ import annotations

import os
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
        """Wait until all processes have come here."""
        if dist.is_initialized():
            dist.barrier()

    def __exit__(self, *_: object) -> None:
        if self._joined:
            dist.destroy_process_group()
