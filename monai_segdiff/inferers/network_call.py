"""How a sampling run calls the user's network, and leaves it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from monai.utils import convert_to_tensor
from torch.nn.parallel import DistributedDataParallel

__all__ = [
    "channels_last_weights",
    "evaluating",
    "local_module",
    "network_device",
    "output_channels",
    "plain_condition",
    "sample_indices",
]

Network = Callable[..., torch.Tensor]

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def local_module(network: Network) -> Network:
    """Take a network out of ``DistributedDataParallel``.

    Its forward may wait for the other processes (it shares the buffers), while each samples as much as it likes.

    Args:
        network: any network.
    """
    return network.module if isinstance(network, DistributedDataParallel) else network


def output_channels(network: Network) -> int:
    """Give the number of channels that a network puts out, found through wrappers of DDP and ``torch.compile``.

    Args:
        network: a network with an attribute ``out_channels``, wrapped or not.

    Raises:
        ValueError: when there is no such attribute.
    """
    inner: object = network
    while inner is not None:
        channels = getattr(inner, "out_channels", None)
        if channels is not None:
            return int(channels)
        inner = getattr(inner, "module", None) or getattr(inner, "_orig_mod", None)
    raise ValueError(f"{type(network).__name__} has no attribute out_channels; give SamplingInferer image_channels.")


def network_device(network: Network, default: torch.device) -> torch.device:
    """Give the device of a network's weights, or the default where it has none.

    Args:
        network: any network.
        default: device for a network without weights.
    """
    if isinstance(network, torch.nn.Module):
        for parameter in network.parameters():
            return parameter.device
    return default


def plain_condition(inputs: torch.Tensor | None, network: Network, takes_prompts: bool = False) -> torch.Tensor | None:
    """Bring a condition to the network's device, without its metadata.

    Args:
        inputs: (B, channels, *spatial) with 2 or 3 spatial dimensions, or ``None``.
        network: any network.
        takes_prompts: whether the inputs may be prompts, (B, L), too.

    Raises:
        ValueError: for another number of dimensions.
    """
    if inputs is None:
        return None
    # MetaTensor would cost the network time in every operation, and torch.compile recompilations.
    condition = convert_to_tensor(inputs, dtype=torch.float32, track_meta=False)
    if condition.ndim not in ((2, 4, 5) if takes_prompts else (4, 5)):
        raise ValueError(
            "the condition must be (B, channels, *spatial) with 2 or 3 spatial dimensions"
            f"{', or a prompt (B, L)' if takes_prompts else ''}, got shape {tuple(condition.shape)}."
        )
    return condition.to(network_device(network, condition.device))


def sample_indices(indices: Sequence[int] | torch.Tensor | None, batch_size: int, first: int) -> list[int]:
    """List the index of each sample of a batch.

    Args:
        indices: given indices, or ``None``.
        batch_size: number of samples.
        first: where indices that are not given go on.

    Raises:
        ValueError: when there are not as many indices as samples.
    """
    if indices is None:
        return list(range(first, first + batch_size))
    listed = [int(index) for index in (indices.tolist() if isinstance(indices, torch.Tensor) else indices)]
    if len(listed) != batch_size:
        raise ValueError(f"got {len(listed)} indices for a batch of {batch_size} samples.")
    return listed


@contextmanager
def evaluating(network: Network) -> Iterator[None]:
    """Put a network in evaluation mode, and each of its modules back in its own mode afterwards.

    ``monai.networks.eval_mode`` would put every module back in training mode, frozen ones too, and calls ``eval()``,
    which exported programs refuse.

    Args:
        network: any network.
    """
    modules = list(network.modules()) if isinstance(network, torch.nn.Module) else []
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


@contextmanager
def channels_last_weights(network: Network) -> Iterator[None]:
    """Lay the weights of a network out in channels last, and put the original tensors back afterwards.

    Convolutions then work and answer in that format, whatever the format of their input. The copies last as long as the
    context; the parameters are the same objects throughout, so an optimizer does not notice.

    Args:
        network: any network.
    """
    parameters = list(network.parameters()) if isinstance(network, torch.nn.Module) else []
    originals = [parameter.data for parameter in parameters]
    try:
        for parameter in parameters:
            layout = _CHANNELS_LAST.get(parameter.ndim, torch.preserve_format)
            parameter.data = parameter.data.to(memory_format=layout)
        yield
    finally:
        for parameter, original in zip(parameters, originals, strict=True):
            parameter.data = original
