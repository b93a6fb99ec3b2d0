"""The machine that a study runs on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["Machine", "this_machine"]


@dataclass(frozen=True)
class Machine:
    """What there is to compute with.

    Args:
        cores: that this process may use.
        threads: that PyTorch uses.
        memory: bytes.
        gpu: name of the GPU; empty without one.
        gpu_memory: bytes.
    """

    cores: int
    threads: int
    memory: int
    gpu: str = ""
    gpu_memory: int = 0

    def __str__(self) -> str:
        parts = [f"{self.cores} cores ({self.threads} threads)", f"{self.memory / 2**30:.0f} GiB"]
        if self.gpu:
            parts.append(f"{self.gpu} with {self.gpu_memory / 2**30:.0f} GiB")
        return ", ".join(parts)


def this_machine() -> Machine:
    """Look at the machine: cores and memory as far as this process may use them, and the first GPU."""
    gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    return Machine(
        cores=_cores(),
        threads=torch.get_num_threads(),
        memory=_memory(),
        gpu="" if gpu is None else gpu.name,
        gpu_memory=0 if gpu is None else gpu.total_memory,
    )


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def _memory() -> int:
    """Bytes of memory; in a container, what it is allowed."""
    if platform.system() == "Windows":
        return 8 * 2**30  # the least that a machine with a GPU comes with
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
    return min(total, int(text)) if text.isdigit() else total
