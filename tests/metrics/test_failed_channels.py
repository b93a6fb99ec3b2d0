from __future__ import annotations

import torch

from monai_segdiff.metrics import FailedSampleDetector, channel_noise, noise_level


def test_a_sample_fails_if_its_worst_channel_does() -> None:
    draw = torch.Generator().manual_seed(0)
    smooth = torch.linspace(-1, 1, 32).expand(20, 4, 32, 32)
    real = smooth + 0.02 * torch.randn(20, 4, 32, 32, generator=draw)
    detector = FailedSampleDetector.from_images(real)
    assert isinstance(detector.noise_limit, tuple)
    assert len(detector.noise_limit) == 4
    made = real[:2].clone()
    made[1, 2] += 0.06 * torch.randn(32, 32, generator=draw)
    assert detector(made).tolist() == [False, True]
    levels = channel_noise(made)
    assert levels.shape == (2, 4)
    assert torch.allclose(levels.mean(1), noise_level(made))
    assert channel_noise(made[:, :1]).shape == (2,)
