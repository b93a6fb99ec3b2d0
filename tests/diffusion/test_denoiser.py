from __future__ import annotations

import torch

from monai_segdiff.diffusion import CountingDenoiser


def test_counts_calls_and_passes_them_on():
    counting = CountingDenoiser(lambda x, sigma: x * sigma)
    assert counting(torch.tensor([2.0]), torch.tensor([3.0])) == 6
    assert counting(torch.tensor([1.0]), torch.tensor([4.0])) == 4
    assert counting.evaluations == 2
