from __future__ import annotations

import pytest
import torch

from monai_segdiff.transforms import EncodeMask, mask_levels


def test_levels_are_even_and_encode_a_mask() -> None:
    levels = mask_levels({"lung_right": 1, "lung_left": 2, "heart": 3})
    assert levels == pytest.approx({"background": -1, "lung_right": -1 / 3, "lung_left": 1 / 3, "heart": 1}, abs=1e-6)
    encoded = EncodeMask({"a": 1, "b": 2}, "values", mask_levels(["a", "b"]))(torch.tensor([[[0, 1, 2]]]))
    torch.testing.assert_close(encoded, torch.tensor([[[-1.0, 0.0, 1.0]]]))


def test_no_class_has_no_level() -> None:
    with pytest.raises(ValueError, match="need a class"):
        mask_levels([])
