"""Load a network's weights from a file, and name them by their hash."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["load_autoencoder", "load_weights", "unwrapped_network", "weights_hash"]

SHOWN = 5


def load_weights(network: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Load weights into a network; all of them must fit.

    Wrappers for data parallel training and compilation are looked through.

    Args:
        network: the network; it stays as it is where the weights do not fit.
        path: a file that holds a state dict, such as a bundle's ``models/model.pt``.

    Returns:
        The same network.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is no state dict, or that of another architecture; the message names the file and
            the first few entries that differ.
    """
    target = unwrapped_network(network)
    weights = _read_state_dict(path)
    expected = target.state_dict()
    missing = [key for key in expected if key not in weights]
    surplus = [key for key in weights if key not in expected]
    misshaped = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in weights and weights[key].shape != expected[key].shape
    ]
    if missing or surplus or misshaped:
        differences = [
            _listing("missing", missing),
            _listing("not of this network", surplus),
            _listing("of another shape", misshaped),
        ]
        raise ValueError(
            f"{os.fspath(path)} holds the weights of another architecture than this {type(target).__name__}: "
            f"{'; '.join(text for text in differences if text)}. Use the network settings (channels, classes, "
            "encoding) that it was trained with, or train again."
        )
    target.load_state_dict(weights)
    return network


def load_autoencoder(autoencoder: nn.Module, file: str | os.PathLike[str], sha256: str | None = None) -> nn.Module:
    """Load the weights of the autoencoder in whose latent space a diffusion model works.

    Two autoencoders of one architecture have different latents, and no shape shows it: a diffusion model that samples
    those of one gives noise when the other decodes them. So what was trained on the latents keeps the hash.

    Args:
        autoencoder: the autoencoder; it stays as it is where the weights do not fit.
        file: a file that holds its state dict, such as a bundle's ``models/autoencoder.pt``.
        sha256: what :func:`weights_hash` gave for the weights whose latents the diffusion model was trained on; without
            it only the shapes are checked.

    Returns:
        The same autoencoder.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the hash is another, or for what :func:`load_weights` refuses.
    """
    if sha256 is not None:
        found = weights_hash(file)
        if found != sha256:
            raise ValueError(
                f"{os.fspath(file)} holds the autoencoder {found}, but the diffusion model was trained on another "
                f"autoencoder's latents, those of {sha256}: give that autoencoder, or train the diffusion model again."
            )
    return load_weights(autoencoder, file)


def weights_hash(weights: str | os.PathLike[str] | Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of a network's weights: of names, dtypes, shapes and values, not of the file that holds them.

    Args:
        weights: a state dict, or a file that holds one. Both give the same hash, whatever the device.

    Returns:
        64 hexadecimal digits.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is no state dict.
    """
    state = weights if isinstance(weights, Mapping) else _read_state_dict(weights)
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read_state_dict(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    name = os.fspath(path)
    if not os.path.exists(name):
        raise FileNotFoundError(f"no weights at {name}: train first, or give the file of a trained network.")
    try:
        content: Any = torch.load(name, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ValueError(f"{name} is not a readable file of weights alone (it may be cut short): {error}") from error
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        held = ", ".join(map(str, list(content)[:SHOWN])) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"{name} is not a state dict but holds {held}: give the network's own weights (model.pt).")
    return dict(content)


def unwrapped_network(network: nn.Module) -> nn.Module:
    """The network inside its wrappers for data parallel training and compilation."""
    if isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return unwrapped_network(network.module)
    compiled_from = getattr(network, "_orig_mod", None)
    return network if compiled_from is None else unwrapped_network(compiled_from)


def _listing(title: str, entries: list[str]) -> str:
    if not entries:
        return ""
    return f"{len(entries)} {title} ({', '.join(entries[:SHOWN])}{', ...' if len(entries) > SHOWN else ''})"
