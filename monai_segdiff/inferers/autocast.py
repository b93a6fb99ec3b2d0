"""Training and validation under autocast, on any device."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from monai.inferers import SimpleInferer

__all__ = ["AutocastInferer", "fast_autocast_dtype"]


def fast_autocast_dtype(device: torch.device | str) -> str | None:
    """The half precision in which a device computes faster than in float32 and that needs no scaling of the loss.

    Args:
        device: where the network runs.

    Returns:
        ``"bfloat16"`` on GPUs that have it and on CPUs with AVX-512, otherwise ``None``.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else None
    # oneDNN computes in bfloat16 on older CPUs too, but by way of float32, which is slower than not to.
    if kind == "cpu" and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "bfloat16"
    return None


class AutocastInferer(SimpleInferer):
    """MONAI's ``SimpleInferer`` with the network under autocast and a float32 result.

    The ``amp`` of MONAI's trainers is CUDA's alone and scales the loss, which bfloat16 does not need. On a CPU with
    bfloat16 instructions this makes a training step about 1.6 times faster.

    Args:
        dtype: ``"bfloat16"`` or ``"float16"``; ``None`` runs the network as it is.

    Raises:
        ValueError: for another type.
    """

    def __init__(self, dtype: str | None = None) -> None:
        super().__init__()
        if dtype not in (None, "bfloat16", "float16"):
            raise ValueError(f"dtype must be 'bfloat16', 'float16' or None, got {dtype!r}.")
        self.dtype: torch.dtype | None = None if dtype is None else getattr(torch, dtype)

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run the network once.

        Args:
            inputs: the network's input, (B, C, *spatial).
            network: the network.
            *args: further positional arguments of the network.
            **kwargs: further keyword arguments of the network.

        Returns:
            The network's output, float32.
        """
        with nullcontext() if self.dtype is None else torch.autocast(inputs.device.type, dtype=self.dtype):
            output = network(inputs, *args, **kwargs)
        return output.float()
