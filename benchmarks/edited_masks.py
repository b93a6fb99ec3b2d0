"""Edits of breast masks: a vessel moved, the gland grown, the gland removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label

from monai_segdiff.data import Case, load_image, write_like

__all__ = ["EDITS", "write_edits"]

Mask: TypeAlias = NDArray[Any]
BREAST, FGT, VESSEL = 1, 2, 3
_SHIFTS = [(u, v) for u in range(-5, 6) for v in range(-5, 6) if 9 <= u * u + v * v <= 25]  # 3 to 5 pixels


def move_vessel(mask: Mask, rng: np.random.Generator) -> Mask | None:
    """Move the largest vessel by 3 to 5 pixels, to where there is only breast."""
    pieces, number = label(mask == VESSEL)
    if number == 0:
        return None
    piece = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    without = np.where(piece, BREAST, mask)
    for shift in rng.permutation(_SHIFTS):
        moved = np.roll(piece, shift, axis=(0, 1))
        if (without[moved] == BREAST).all():
            return np.where(moved, VESSEL, without)
    return None


def grow_gland(mask: Mask, rng: np.random.Generator) -> Mask | None:
    """Grow fibroglandular tissue by 2 pixels into the breast."""
    grown = binary_dilation(mask == FGT, iterations=2) & (mask == BREAST)
    return np.where(grown, FGT, mask) if np.any(grown) else None


def remove_gland(mask: Mask, rng: np.random.Generator) -> Mask | None:
    """Make fibroglandular tissue breast."""
    return np.where(mask == FGT, BREAST, mask) if np.any(mask == FGT) else None


EDITS: Mapping[str, tuple[str, Callable[[Mask, np.random.Generator], Mask | None], str]] = {
    "moved": ("largest vessel moved by 3 to 5 pixels", move_vessel, "vessel"),
    "grown": ("gland grown by 2 pixels", grow_gland, "fgt"),
    "removed": ("gland removed", remove_gland, "breast"),
}
"""Name to what tables call it, the edit, and the class that is to be found afterwards."""


def write_edits(cases: Sequence[Case], name: str, folder: Path, seed: int) -> int:
    """Write an edited mask for each mask that can be edited so, under the same file name.

    Args:
        cases: with label maps of the breast phantoms.
        name: key of `EDITS`.
        folder: where to.
        seed: of the edits that leave a choice.

    Returns:
        How many.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for index, case in enumerate(cases):
        assert case.label is not None
        edited = EDITS[name][1](load_image(case.label)[0].numpy(), np.random.default_rng([seed, index]))
        if edited is not None:
            write_like(edited.astype(np.uint8), case.label, folder / case.label.name)
            written += 1
    return written
