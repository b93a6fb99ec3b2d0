"""What a checkpoint of a training holds: counters, settings, and a state for each part of the training."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from monai_segdiff.errors import UnreadableFileError
from monai_segdiff.networks.card_entries import OPTIONAL
from monai_segdiff.networks.weights import read_tensors, spoiled_tensors

__all__ = ["COUNTERS", "SETTINGS", "check_content", "read_checkpoint"]

COUNTERS = "trainer"
SETTINGS = "settings"
_REMEDY = "configure the training as when the file was written, or give another folder to start anew"


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint; its own checksums are checked, and nothing in it is run.

    Args:
        path: the file.

    Returns:
        Its content, tensors on the CPU.

    Raises:
        UnreadableFileError: where it is damaged, or no checkpoint of a training.
    """
    content = read_tensors(path, "a checkpoint of a training")
    counters = content.get(COUNTERS) if isinstance(content, Mapping) else None
    least = {"epoch": 0, "iteration": 0, "epoch_length": 1}
    if (
        not isinstance(counters, Mapping)
        or not isinstance(content.get(SETTINGS), Mapping)
        or not all(type(counters.get(name)) is int and counters[name] >= low for name, low in least.items())
    ):
        raise UnreadableFileError(f"{os.fspath(path)} is no checkpoint of a training")
    return content


def check_content(
    path: Path,
    checkpoint: Mapping[str, Any],
    parts: Collection[str],
    settings: Mapping[str, Any],
    epoch_length: int,
) -> None:
    """Refuse a checkpoint that a training cannot go on from.

    Args:
        path: its file, for messages.
        checkpoint: what :func:`read_checkpoint` gave.
        parts: names of the parts that the training has.
        settings: its settings.
        epoch_length: iterations of its epochs.

    Raises:
        ValueError: naming the file, and what differs or is not finite.
    """
    held = set(checkpoint) - {COUNTERS, SETTINGS}
    if held != set(parts):
        raise ValueError(f"'{path}' holds {sorted(map(str, held))}, this training has {sorted(parts)}: {_REMEDY}")
    counted = checkpoint[COUNTERS]["epoch_length"]
    if counted != epoch_length:
        raise ValueError(
            f"'{path}' counts {counted} iterations an epoch, this training {epoch_length}; data, batch size or number "
            f"of processes differ: {_REMEDY}"
        )
    if changed := _changed(checkpoint[SETTINGS], settings):
        raise ValueError(f"'{path}' was made with another {' and '.join(changed)} than this training has: {_REMEDY}")
    if spoiled := [name for name in parts if spoiled_tensors(checkpoint[name])]:
        raise ValueError(
            f"'{path}' holds NaN or infinite values in {' and '.join(spoiled)}: remove it to go on from the one before "
            "it, or give another folder to start anew"
        )


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a training says otherwise than a checkpoint; ``model.channels`` is an entry of a mapping."""
    changed = []
    for name, value in now.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            meant = {**OPTIONAL, **old}  # by what was written before an entry existed
            changed += [f"{name}.{entry}" for entry, new in value.items() if entry not in meant or meant[entry] != new]
        elif old != value:
            changed.append(name)
    return changed
