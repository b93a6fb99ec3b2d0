"""The patients that generators were fine-tuned on: a segmenter must not be tested on these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from monai_segdiff.integrations.label.store.json_store import read_notes, write_notes

__all__ = ["note_seen", "seen_by", "warn_of_seen"]

_SHOWN = 5


def seen_by(file: Path, weights: str) -> set[str]:
    """Patients that weights were fine-tuned on, at any time.

    Args:
        file: the notes.
        weights: their hash.

    Raises:
        RuntimeError: if the notes are damaged; names the file.
    """
    return set((read_notes(file) or {}).get(weights, []))


def note_seen(file: Path, weights: str, patients: Iterable[str], before: str) -> None:
    """Note the patients of new weights; notes of earlier weights stay, as their synthetic studies may still exist.

    Args:
        file: the notes.
        weights: hash of the new weights.
        patients: that they were trained on now.
        before: hash of the weights that the training began with.

    Raises:
        OSError: if they cannot be written.
    """
    seen = {*patients, *seen_by(file, before)}
    write_notes(file, {**(read_notes(file) or {}), weights: sorted(seen)})


def warn_of_seen(file: Path, records: Sequence[dict[str, Any]], tested: Iterable[str]) -> list[str]:
    """Warn of synthetic images whose generator was fine-tuned on test patients.

    Args:
        file: the notes.
        records: of the synthetic studies.
        tested: patients that the segmenters are tested on.

    Returns:
        A warning, or nothing.
    """
    held_out = set(tested)
    known = {record["generator"]["weights_sha256"]: set[str]() for record in records}
    known = {weights: seen_by(file, weights) & held_out for weights in known}
    patients = sorted(set().union(*known.values()))
    if not patients:
        return []
    number = sum(bool(known[record["generator"]["weights_sha256"]]) for record in records)
    shown = ", ".join(patients[:_SHOWN]) + (", ..." if len(patients) > _SHOWN else "")
    return [
        f"{number} synthetic images come from a generator that was fine-tuned on test patients ({shown}): "
        "the Dice of segmenters trained on them may be too high; fine-tune and train with the same seed and held_out"
    ]
