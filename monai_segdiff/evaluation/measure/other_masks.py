"""Masks of other patients that a sample is compared with, drawn once from its data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from monai_segdiff.data import Case
from monai_segdiff.evaluation.pairs import PairReader, small_indices
from monai_segdiff.metrics import MOST_OTHERS, other_mask_advantage

__all__ = ["OtherMasks", "draw_other_masks"]

_MOST_READ = 4 * MOST_OTHERS  # several samples of each mask: draws that find no new one


@dataclass(frozen=True)
class OtherMasks:
    """Different masks, a few of each patient.

    Args:
        masks: (M, 1, *spatial) class indices.
        patients: M patients that they come from.
    """

    masks: torch.Tensor
    patients: tuple[str, ...]

    def advantage(
        self, readings: torch.Tensor, masks: torch.Tensor, patients: Sequence[str], num_classes: int
    ) -> torch.Tensor:
        """`other_mask_advantage` of readings (B, 1, *spatial) with their masks, (B,)."""
        readings, masks = small_indices(readings.cpu()), small_indices(masks.cpu())
        return other_mask_advantage(readings, masks, patients, self.masks, self.patients, num_classes)


def draw_other_masks(cases: Sequence[Case], reader: PairReader, seed: int = 0) -> OtherMasks:
    """Draw so many masks that every patient finds `MOST_OTHERS` of other patients, or as many as there are.

    The draw is random, as evenly spaced cases could be the same slice of every patient.

    Args:
        cases: at least one.
        reader: reads them.
        seed: of the draw.

    Raises:
        ValueError: if a file is not as it should be.
    """
    order = torch.randperm(len(cases), generator=torch.Generator().manual_seed(seed)).tolist()
    found: dict[str, torch.Tensor] = {}
    patients: list[str] = []
    count: Counter[str] = Counter()
    for index in order[:_MOST_READ]:
        # Enough for the patient with the most masks in the draw is enough for all.
        if count.total() - max(count.values(), default=0) >= MOST_OTHERS:
            break
        if count[cases[index].patient] >= MOST_OTHERS:
            continue
        pair = reader(cases[index])
        if pair.mask_id not in found:
            found[pair.mask_id] = small_indices(pair.mask)
            patients.append(pair.case.patient)
            count[pair.case.patient] += 1
    return OtherMasks(torch.stack(list(found.values())), tuple(patients))
