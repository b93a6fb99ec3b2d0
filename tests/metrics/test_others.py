"""How much better another patient's mask fits, against the definition and in cases whose answer is known."""

from __future__ import annotations

import pytest
import torch

from monai_segdiff.metrics import MOST_OTHERS, dice_per_class, foreground_dice, other_mask_advantage
from monai_segdiff.metrics import others as module


def label_maps(number: int, shape: tuple[int, ...], classes: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, classes + 1, (number, 1, *shape), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("shape", [(9, 7), (5, 4, 6)])
@pytest.mark.parametrize("chunk", [37, 2**22])
def test_agrees_with_dice_of_every_pair(shape, chunk, monkeypatch):
    """Every mask holds every class here, so that the mean is `foreground_dice` for the other masks, too."""
    monkeypatch.setattr(module, "_CHUNK", chunk)
    read, mask, others = (label_maps(n, shape, 3, seed) for n, seed in ((11, 0), (11, 1), (6, 2)))
    patients, other_patients = [f"p{i % 4}" for i in range(11)], [f"p{i % 4}" for i in range(6)]
    found = other_mask_advantage(read, mask, patients, others, other_patients, 3)
    for i in range(11):
        fits = [
            foreground_dice(dice_per_class(read[i : i + 1], other[None], 3))
            for other, patient in zip(others, other_patients, strict=True)
            if patient != patients[i]
        ]
        own = foreground_dice(dice_per_class(read[i : i + 1], mask[i : i + 1], 3))
        assert found[i] == pytest.approx((max(fits) - own).item(), abs=1e-6)


def test_only_classes_of_the_own_mask_count():
    """The own mask holds a speck that is not read; a mask without it gains nothing, one without class 1 loses it."""
    own = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    own[..., :4, :] = 1
    read = own.clone()
    own[..., 7, 7] = 2
    others = torch.stack([read[0], torch.zeros_like(read[0]), torch.zeros_like(read[0])])
    found = other_mask_advantage(read, own, ["a"], others, ["b", "c", "d"], 2)
    assert found.item() == pytest.approx(0, abs=1e-6)
    assert other_mask_advantage(read, own, ["a"], others[1:], ["c", "d"], 2).item() == pytest.approx(-0.5)


def test_the_right_mask_under_another_name_is_found_and_an_identical_one_is_not():
    masks = label_maps(3, (16, 16), 2, 0)
    wrong = other_mask_advantage(masks[:1], masks[1:2], ["b"], masks[[0, 2]], ["a", "c"], 2)
    assert wrong.item() > 0.4
    same = other_mask_advantage(masks[:1], masks[:1], ["b"], masks[[0, 2]], ["a", "c"], 2)
    assert same.item() == pytest.approx(0, abs=1e-6)


def test_masks_of_the_same_patient_and_beyond_the_limit_do_not_count():
    masks = label_maps(MOST_OTHERS + 2, (16, 16), 2, 0)
    read, own = masks[-1:], masks[:1]  # the last one fits perfectly
    names = [f"p{i}" for i in range(len(masks))]
    found = [
        other_mask_advantage(read, own, [patient], masks[start:], names[start:], 2).item()
        for patient, start in ((names[-1], 2), ("x", 1), ("x", 2))
    ]
    assert found[0] < 0.2
    assert found[1] < 0.2
    assert found[2] > 0.4


def test_unknown_where_masks_of_others_are_few_or_the_own_one_is_empty():
    masks = label_maps(4, (8, 8), 2, 0)
    own = masks.clone()
    own[2] = 0
    found = other_mask_advantage(masks, own, ["a", "b", "b", "c"], masks[:3], ["a", "b", "a"], 2)
    assert torch.isnan(found).tolist() == [True, False, True, False]
    assert torch.isnan(other_mask_advantage(masks, own, list("abcd"), masks[:0], [], 2)).all()


def test_sizes_and_patients_must_fit():
    masks = label_maps(2, (8, 8), 1, 0)
    with pytest.raises(ValueError, match="must have one size"):
        other_mask_advantage(masks, masks, ["a", "b"], masks[..., :4], ["c", "d"], 1)
    with pytest.raises(ValueError, match="every mask needs its patient"):
        other_mask_advantage(masks, masks, ["a"], masks, ["c", "d"], 1)
