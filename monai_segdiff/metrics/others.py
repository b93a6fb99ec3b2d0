"""Does the mask of another patient fit an image better than its own: what an exchanged mask gives away."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["FEWEST_OTHERS", "MOST_OTHERS", "other_mask_advantage"]

FEWEST_OTHERS = 2
MOST_OTHERS = 80

_CHUNK = 2**22  # voxels compared at once, over all label maps of one kind


def other_mask_advantage(
    prediction: torch.Tensor,
    mask: torch.Tensor,
    patients: Sequence[str],
    other_masks: torch.Tensor,
    other_patients: Sequence[str],
    num_classes: int,
) -> torch.Tensor:
    """How much better the best mask of another patient fits each prediction than the sample's own mask.

    Fit is the mean Dice over the classes of the sample's own mask, whichever mask is held to the prediction. Over the
    classes of each mask, one that lacks a difficult class, such as a lung of two pixels, would fit better than the
    true one.

    Args:
        prediction: (N, 1, *spatial), class indices 0 (background) to num_classes; uint8 saves memory.
        mask: same shape, the masks that the samples were generated from.
        patients: N patients that these come from.
        other_masks: (M, 1, *spatial); each sample is held to the first `MOST_OTHERS` that are not its patient's.
        other_patients: M patients that those come from.
        num_classes: number of classes C without background.

    Returns:
        (N,) float32 in [-1, 1], above 0 where another mask fits better; NaN for an empty mask and where fewer than
        `FEWEST_OTHERS` masks are of other patients.

    Raises:
        ValueError: if shapes or numbers of patients do not fit.
    """
    if prediction.shape != mask.shape or other_masks.shape[1:] != mask.shape[1:]:
        raise ValueError(
            f"prediction, mask and other masks must have one size, got {tuple(prediction.shape)}, {tuple(mask.shape)} "
            f"and {tuple(other_masks.shape)}"
        )
    if len(patients) != len(mask) or len(other_patients) != len(other_masks):
        raise ValueError(
            f"every mask needs its patient, got {len(patients)} for {len(mask)} masks and {len(other_patients)} for "
            f"{len(other_masks)} others"
        )
    advantage = torch.full((len(mask),), torch.nan)
    rows = max(_CHUNK // max(prediction[:1].numel(), 1), 1)
    for start in range(0, len(mask), rows):
        part = slice(start, start + rows)
        allowed = _others_of(patients[part], other_patients)
        own, other = _fits(prediction[part].flatten(1), mask[part].flatten(1), other_masks.flatten(1), num_classes)
        best = other.masked_fill(~allowed, -torch.inf).amax(1)
        advantage[part] = torch.where(allowed.sum(1) >= FEWEST_OTHERS, best - own, torch.nan)
    return advantage


def _others_of(patients: Sequence[str], other_patients: Sequence[str]) -> torch.Tensor:
    """(n, M + 1) bool: which masks each sample is held to. The last column, none, spares a case for M = 0."""
    foreign = torch.zeros(len(patients), len(other_patients) + 1, dtype=torch.bool)
    for row, patient in enumerate(patients):
        foreign[row, :-1] = torch.tensor([other != patient for other in other_patients], dtype=torch.bool)
    return foreign & (foreign.cumsum(1) <= MOST_OTHERS)


def _fits(
    prediction: torch.Tensor, mask: torch.Tensor, others: torch.Tensor, num_classes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean Dice over the classes of the own mask: of the own mask (n,), and of the others (n, M + 1), the last 0."""
    own_total, other_total = torch.zeros(len(mask)), torch.zeros(len(mask), len(others) + 1)
    present = torch.zeros(len(mask))
    for index in range(1, num_classes + 1):
        both, other_both, other_size = torch.zeros(len(mask)), torch.zeros(len(mask), len(others)), 0
        columns = max(_CHUNK // (len(mask) + len(others)), 1)
        for start in range(0, mask.shape[1], columns):
            read, own, other = ((x[:, start : start + columns] == index).float() for x in (prediction, mask, others))
            both += (read * own).sum(1)
            other_both += read @ other.T
            other_size = other_size + other.sum(1)
        read_size, own_size = ((x == index).sum(1).float() for x in (prediction, mask))
        held = own_size > 0
        present += held
        own_total += torch.where(held, 2 * both / (read_size + own_size).clamp_min(1), 0)
        dice = 2 * other_both / (read_size[:, None] + other_size).clamp_min(1)
        other_total[:, :-1] += torch.where(held[:, None], dice, 0)
    return own_total / present, other_total / present[:, None]
