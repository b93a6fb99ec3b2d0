"""Training and validation under autocast, on any device."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from monai.inferers import SimpleInferer

__all__ = ["AutocastInferer", "autocast_dtype", "fast_autocast_dtype"]


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


def autocast_dtype(name: str | None) -> torch.dtype | None:
    """The type for autocast that a configuration names.

    ``"float32"`` says the same as ``None``: a command line of ``monai.bundle`` drops overrides with ``None``.

    Args:
        name: ``"bfloat16"``, ``"float16"``, ``"float32"`` or ``None``.

    Returns:
        The type, or ``None`` for a network that runs as it is.

    Raises:
        ValueError: for another name.
    """
    if name in (None, "float32"):
        return None
    if name not in ("bfloat16", "float16"):
        raise ValueError(f"amp_dtype must be 'bfloat16', 'float16', 'float32' or None, got {name!r}.")
    return getattr(torch, name)


class AutocastInferer(SimpleInferer):
    """MONAI's ``SimpleInferer`` with the network under autocast and a float32 result.

    The ``amp`` of MONAI's trainers is CUDA's alone and scales the loss, which bfloat16 does not need. It
    works on CPUs with bfloat16 instructions too.

    Args:
        dtype: ``"bfloat16"`` or ``"float16"``; ``"float32"`` or ``None`` runs the network as it is.

    Raises:
        ValueError: for another type.
    """

    def __init__(self, dtype: str | None = None) -> None:
        super().__init__()
        self.dtype = autocast_dtype(dtype)

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
