"""What stands beside a file of weights: what the network is and was trained on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

__all__ = ["read_card"]


def read_card(weights: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the card that a training writes beside its weights, ``model.yaml`` for ``model.pt``.

    Args:
        weights: file of the weights.

    Returns:
        What the card says.

    Raises:
        FileNotFoundError: when weights or card are missing.
        ValueError: when the card cannot be read.
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
    return content
