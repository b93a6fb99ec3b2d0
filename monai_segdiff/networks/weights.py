"""Load a network's weights from a file, and name them by their hash."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_segdiff.errors import reading

__all__ = [
    "HASHES",
    "check_archive",
    "check_card",
    "check_fit",
    "load_autoencoder",
    "load_weights",
    "read_tensors",
    "read_weights",
    "spoiled_tensors",
    "unwrapped_network",
    "weights_hash",
]

HASHES = "weights_sha256"
"""The entry of a card that says which weights it belongs to."""

SHOWN = 5
_MOST_CODE = 256 * 2**20
REMEDY = "restore it from its source, or train again"


def load_weights(
    network: nn.Module | Callable[[], nn.Module],
    path: str | os.PathLike[str],
    card: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Load weights into a network; all of them must fit.

    Wrappers for data parallel training and compilation are looked through.

    Args:
        network: the network; it stays as it is where the weights do not fit. Or what makes it: then sizes are compared
            before memory is taken, which matters where they come from a file.
        path: a file that holds a state dict, such as a bundle's ``models/model.pt``.
        card: what :func:`~monai_segdiff.networks.open_card` gave; the weights must be those that it belongs to.

    Returns:
        The network.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is damaged or no state dict, or that of another architecture, or none of the card's;
            the message names the file and the first few entries that differ.
    """
    weights = read_weights(path)
    made = _made(network, weights, path)
    if card is not None:
        check_card(path, weights_hash(weights), card)
    unwrapped_network(made).load_state_dict(weights)
    return made


def _made(
    network: nn.Module | Callable[[], nn.Module], weights: Mapping[str, torch.Tensor], path: str | os.PathLike[str]
) -> nn.Module:
    """A network that fits the weights."""
    if isinstance(network, nn.Module):
        check_fit(network, weights, path)
        return network
    with torch.device("meta"):
        check_fit(network(), weights, path)
    return network()


def check_fit(network: nn.Module, weights: Mapping[str, torch.Tensor], path: str | os.PathLike[str]) -> None:
    """Refuse weights of another architecture.

    Args:
        network: the network, on any device.
        weights: what :func:`read_weights` gave.
        path: their file, for the message.

    Raises:
        ValueError: naming the file and the first few entries that differ.
    """
    target = unwrapped_network(network)
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


def check_card(path: str | os.PathLike[str], digest: str, card: Mapping[str, Any]) -> None:
    """Refuse weights that a card does not belong to.

    Args:
        path: file of the weights, for the message.
        digest: what :func:`weights_hash` gave for them.
        card: what is said of them; a card without hashes does not say which weights it belongs to.

    Raises:
        ValueError: naming both files.
    """
    listed = card.get(HASHES)
    if listed is not None and digest not in listed:
        raise ValueError(
            f"{os.fspath(path)} holds the weights {digest[:12]}..., but {Path(path).with_suffix('.yaml').name} beside "
            f"it is the card of {' or '.join(f'{one[:12]}...' for one in listed)}: put back weights and card of one "
            "training"
        )


def load_autoencoder(
    autoencoder: nn.Module | Callable[[], nn.Module], file: str | os.PathLike[str], sha256: str | None = None
) -> nn.Module:
    """Load the weights of the autoencoder in whose latent space a diffusion model works.

    Two autoencoders of one architecture have different latents, and no shape shows it: a diffusion model that samples
    those of one gives noise when the other decodes them. So what was trained on the latents keeps the hash.

    Args:
        autoencoder: the autoencoder, or what makes it; see :func:`load_weights`.
        file: a file that holds its state dict, such as a bundle's ``models/autoencoder.pt``.
        sha256: what :func:`weights_hash` gave for the weights whose latents the diffusion model was trained on; without
            it only the shapes are checked.

    Returns:
        The autoencoder.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the hash is another, or for what :func:`load_weights` refuses.
    """
    weights = read_weights(file)
    if sha256 is not None:
        found = weights_hash(weights)
        if found != sha256:
            raise ValueError(
                f"{os.fspath(file)} holds the autoencoder {found}, but the diffusion model was trained on another "
                f"autoencoder's latents, those of {sha256}: give that autoencoder, or train the diffusion model again."
            )
    made = _made(autoencoder, weights, file)
    unwrapped_network(made).load_state_dict(weights)
    return made


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
    state = weights if isinstance(weights, Mapping) else read_weights(weights)
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_weights(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read a network's weights.

    Args:
        path: a file that holds a state dict.

    Returns:
        The state dict, on the CPU.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is no state dict, or holds weights that are not finite.
    """
    name = os.fspath(path)
    if not os.path.exists(name):
        raise FileNotFoundError(f"no weights at {name}: train first, or give the file of a trained network.")
    content = read_tensors(path)
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        held = ", ".join(map(str, list(content)[:SHOWN])) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"{name} is not a state dict but holds {held}: give the network's own weights (model.pt).")
    if unnamed := [key for key in content if not isinstance(key, str)]:
        raise ValueError(
            f"{name} names weights by {unnamed[0]!r}, which is no text: give the network's own weights (model.pt)."
        )
    if spoiled := spoiled_tensors(content):
        raise ValueError(
            f"{name} holds {_listing('weights with NaN or infinite values', spoiled)}: give weights of an earlier "
            "epoch, or train again with a smaller learning rate."
        )
    return dict(content)


def read_tensors(path: str | os.PathLike[str], kind: str = "a file of weights alone", remedy: str = REMEDY) -> Any:
    """Read what ``torch.save`` wrote: tensors and plain types, with nothing in the file run.

    The checksums that the file itself carries are checked, which ``torch.load`` does not.

    Args:
        path: the file.
        kind: what it should be, for messages.
        remedy: what helps, for messages.

    Returns:
        Its content, tensors on the CPU.

    Raises:
        FileNotFoundError: where there is no such file.
        UnreadableFileError: where it cannot be read, is damaged, or holds other objects, which could run code.
    """
    check_archive(path, kind, remedy)
    with reading(os.fspath(path), kind, remedy):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # torch's own advice is to run what is in the file
            raise ValueError(
                "torch.save did not write it, or it holds objects beside tensors and plain types, which could run code"
            ) from None
        if not all(_holds_its_values(value) for _, value in _tensors(content)):
            raise ValueError("it claims more values than it holds")
        return content


def check_archive(path: str | os.PathLike[str], kind: str = "a file of weights alone", remedy: str = REMEDY) -> None:
    """Check the checksums of a zip archive, which files of ``torch.save``, ``torch.jit.save`` and ``torch.export`` are.

    Args:
        path: the file; one that is no such archive carries no checksums.
        kind: what it should be, for messages.
        remedy: what helps, for messages.

    Raises:
        FileNotFoundError: where there is no such file.
        UnreadableFileError: where a checksum does not fit, or the entries claim more bytes than the file has.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise FileNotFoundError(f"{name} does not exist: check the path ({kind} is expected there)")
    with reading(name, kind, remedy):
        if not zipfile.is_zipfile(name):
            return
        with zipfile.ZipFile(name) as archive:
            # torch compresses nothing but the code in files of torch.jit.save.
            code, other = (
                sum(entry.file_size for entry in archive.infolist() if ("/code/" in entry.filename) == is_code)
                for is_code in (True, False)
            )
            claimed = other + max(0, code - _MOST_CODE)
            if claimed > os.path.getsize(name):
                raise ValueError(f"its entries claim {claimed} bytes, more than the file has")
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"it is damaged: the checksum of its entry {damaged} does not fit")


def spoiled_tensors(content: Any) -> list[str]:
    """Names of the tensors that hold NaN or infinite values.

    Args:
        content: tensors in mappings and lists, as :func:`read_tensors` gives them, however deep they lie.
    """
    return [name for name, value in _tensors(content) if not bool(torch.isfinite(value).all())]


def _tensors(content: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors with their names; ``model.conv.weight`` is an entry of a mapping."""
    if isinstance(content, torch.Tensor):
        yield name, content
        return
    items: Any = ()
    if isinstance(content, Mapping):
        items = content.items()
    elif isinstance(content, (list, tuple)):
        items = enumerate(content)
    for key, value in items:
        yield from _tensors(value, f"{name}.{key}" if name else str(key))


def _holds_its_values(value: torch.Tensor) -> bool:
    dense = value.layout == torch.strided and value.device.type == "cpu"
    return dense and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


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
