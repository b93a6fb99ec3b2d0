"""The card beside a file of weights: what the network is and was trained on. It is data; nothing in it is evaluated."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from monai_segdiff.documents import read_yaml
from monai_segdiff.errors import UnreadableFileError
from monai_segdiff.files import atomic_file
from monai_segdiff.networks.card_entries import ENTRIES, OPTIONAL, check_entries, parameterization_of, plain
from monai_segdiff.networks.weights import HASHES, weights_hash

__all__ = ["card_of", "change_card", "is_card", "open_card", "opened", "read_card", "save_weights"]

_KIND = "the card of a network's weights"
_REMEDY = "restore it, or run the training again, which writes it"


def open_card(weights: str | os.PathLike[str], untrained: Mapping[str, Any], **wanted: Any) -> dict[str, Any]:
    """What a network is and was trained on, for the configuration that builds it.

    Args:
        weights: file of the weights, whether it is there or not; the card is ``model.yaml`` for ``model.pt``.
        untrained: the entries that the configuration uses, with what they are as long as there are neither weights nor
            card.
        **wanted: entries that the caller asks for; None for whatever the card says.

    Returns:
        The entries: those of the card where there is one. ``parameterization`` is made, the others are plain data.

    Raises:
        ValueError: if there are weights without a card, or the card is damaged, or says other things than the
            configuration uses or than are asked for; names the file and the entry.
    """
    file = card_of(weights)
    if not file.is_file():
        if Path(weights).is_file():
            raise ValueError(
                f"{os.fspath(weights)} lies there without a card that says what it was trained with: put back "
                f"{file.name}, which the training wrote beside it"
            )
        content = dict(untrained)
    else:
        content = {name: OPTIONAL[name] for name in untrained if name in OPTIONAL}
        content |= _read(file, known={*ENTRIES, *untrained})
        if missing := [name for name in untrained if name not in content]:
            raise UnreadableFileError(f"{file} does not say {', '.join(missing)}; {_REMEDY}")
        if surplus := [name for name in content if name not in {HASHES, *OPTIONAL, *untrained}]:
            raise ValueError(
                f"{file} says {surplus[0]}, which this bundle does not use: are these the weights of another bundle?"
            )
        content = opened(content)
    for name, value in wanted.items():
        if value is not None and plain(content[name]) != plain(value):
            raise ValueError(f"{file} says {name}: {content[name]}, but {value} is asked for: give other weights")
    return content


def opened(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration takes from a card.

    Args:
        content: what the card says, checked.

    Returns:
        The same, with the parameterization made.
    """
    made = {name: parameterization_of(content[name]) for name in ("parameterization",) if name in content}
    return {**content, **made}


def read_card(weights: str | os.PathLike[str], **expected: Any) -> dict[str, Any]:
    """Read the card that a training writes beside its weights, ``model.yaml`` for ``model.pt``.

    Args:
        weights: file of the weights.
        **expected: entries that the card must have, as another network was trained on them.

    Returns:
        What the card says, as plain data.

    Raises:
        FileNotFoundError: when weights or card are missing.
        ValueError: when the card is damaged, or an entry is another than expected; names the file and the entry.
    """
    file, card = Path(weights), card_of(weights)
    for needed in (file, card):
        if not needed.is_file():
            raise FileNotFoundError(
                f"no file {needed}: run the training that writes it first ({file.stem} of the bundle)"
            )
    content = _read(card, known=ENTRIES)
    for name, value in expected.items():
        if plain(content.get(name)) != plain(value):
            raise ValueError(
                f"{card} says {name}: {content.get(name)}, but the other networks were trained with {value}: train "
                "all of them on the same data set and size"
            )
    return content


def change_card(weights: str | os.PathLike[str], **entries: Any) -> None:
    """Change what a card says of how to sample; the weights stay as they are.

    Args:
        weights: file of the weights.
        **entries: the entries that are new.

    Raises:
        FileNotFoundError: when weights or card are missing.
        ValueError: when the card is damaged, or an entry is none that a card can have.
        OSError: when the card cannot be written, naming it.
    """
    content = {**read_card(weights), **plain(entries)}
    hashes = content.pop(HASHES, None) or [weights_hash(weights)]
    check_entries(content)
    _write(Path(weights), content, hashes)


def save_weights(
    state: Mapping[str, torch.Tensor], file: str | os.PathLike[str], card: Mapping[str, Any] | None = None
) -> None:
    """Write weights, and the card beside them, so that at any time a kill leaves weights with their card.

    While both are written, the card lists the weights that are there and those that come. Where the card that is there
    says something else, the new one lists those that come alone: the others are refused, rather than used under it.

    Args:
        state: the state dict.
        file: the file of the weights.
        card: what the network is and was trained on, as plain data; without it none is written. What was chosen for
            the same weights since they were written (``guidance_weight`` with its curve) stays.

    Raises:
        ValueError: if the card says what no card can say.
        OSError: when a file cannot be written, naming it.
    """
    file = Path(file)
    content = {} if card is None else _without_hashes(plain(card))
    new = weights_hash(state)
    if card is not None:
        content |= _chosen_for(file, new)
        check_entries(content)
        _write(file, content, [new, *_hashes_there(file, content)])
    with atomic_file(file) as temporary, open(temporary, "wb") as stream:
        torch.save(dict(state), stream)  # to a stream, since an archive that is given a path holds its name
    if card is not None:
        _write(file, content, [new])


def card_of(weights: str | os.PathLike[str]) -> Path:
    """Where the card of a file of weights lies, whether it is there or not."""
    return Path(weights).with_suffix(".yaml")


def is_card(file: Path) -> bool:
    """Whether a file holds an entry of a card, or cannot be read; a configuration of the same name holds none."""
    try:
        content = read_yaml(file, _KIND)
    except ValueError:
        return True
    return not isinstance(content, dict) or not content or bool(content.keys() & {*ENTRIES, HASHES})


def _read(card: Path, known: Iterable[str]) -> dict[str, Any]:
    content = read_yaml(card, _KIND, remedy=_REMEDY)
    if not isinstance(content, dict) or not content:
        raise UnreadableFileError(f"{card} holds no entries; {_REMEDY}")
    try:
        if unknown := [name for name in content if name not in known]:
            raise ValueError(f"{unknown[0]!r} is no entry of a card")
        check_entries(content)
    except ValueError as error:
        raise UnreadableFileError(f"{card}: {error}; {_REMEDY}") from error
    return content


def _without_hashes(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != HASHES}


def _chosen_for(file: Path, digest: str) -> dict[str, Any]:
    """What the card that is there says of the guidance of these weights, where that was chosen."""
    try:
        there = _read(card_of(file), known=ENTRIES)
    except (FileNotFoundError, ValueError):
        return {}
    if digest not in there.get(HASHES, ()) or there.get("guidance_curve") is None:
        return {}
    return {name: there[name] for name in ("guidance_weight", "guidance_curve")}


def _hashes_there(file: Path, content: Mapping[str, Any]) -> list[str]:
    """The weights that may be in the file, where the card beside it says the same as the new one."""
    try:
        there = _read(card_of(file), known={*ENTRIES, *content})
        if _without_hashes(there) != content:
            return []
        return there[HASHES] if HASHES in there else [weights_hash(file)]
    except (FileNotFoundError, ValueError):
        return []


def _write(weights: Path, content: Mapping[str, Any], hashes: Iterable[str]) -> None:
    with atomic_file(card_of(weights)) as temporary:
        text = yaml.safe_dump(
            {HASHES: list(dict.fromkeys(hashes)), **content}, sort_keys=False, default_flow_style=None
        )
        temporary.write_text(text, encoding="utf-8")
