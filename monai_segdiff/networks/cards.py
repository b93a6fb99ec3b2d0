"""What stands beside a file of weights: what the network is and was trained on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

__all__ = ["read_card"]


def read_card(weights: str | os.PathLike[str], **expected: Any) -> dict[str, Any]:
    """Read the card that a training writes beside its weights, ``model.yaml`` for ``model.pt``.

    Args:
        weights: file of the weights.
        **expected: entries that the card must have, as another network was trained on them.

    Returns:
        What the card says.

    Raises:
        FileNotFoundError: when weights or card are missing.
        ValueError: when the card cannot be read, or an entry is another than expected.
    """
    file = Path(weights)
    card = file.with_suffix(".yaml")
    for needed in (file, card):
        if not needed.is_file():
            raise FileNotFoundError(
                f"no file {needed}: run the training that writes it first ({file.stem} of the bundle)"
            )
    try:
        content = yaml.safe_load(card.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{card} is not readable YAML ({error}): run the training again, which writes it") from error
    if not isinstance(content, dict):
        raise ValueError(f"{card} holds no settings: run the training again, which writes it")
    for name, value in expected.items():
        if _plain(content.get(name)) != _plain(value):
            raise ValueError(
                f"{card} says {name}: {content.get(name)}, but the other networks were trained with {value}: train "
                "all of them on the same data set and size"
            )
    return content


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
