from __future__ import annotations

import pytest
import torch
from monai.networks.schedulers import DDIMScheduler

from benchmarks.monai_sampling import MonaiSampling, check_chain
from monai_segdiff.diffusion import EDM, EpsilonVP
from monai_segdiff.inferers import SamplingInferer


class ExactNoise(torch.nn.Module):
    """Predicts the noise of images that are normal with the condition as mean, as a mask-concatenating network does."""

    out_channels = 1
    std = 0.3

    def __init__(self) -> None:
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(()))
        self.abar = EpsilonVP().alphas_cumprod.float()
        self.unet = self._on_one_tensor

    def _on_one_tensor(self, x: torch.Tensor, timesteps: torch.Tensor, context: None) -> torch.Tensor:
        return self(x[:, :1], timesteps.expand(len(x)), x[:, 1:])

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        abar = self.abar[timesteps.long()].reshape(-1, 1, 1, 1)
        return (1 - abar).sqrt() * (x - abar.sqrt() * condition) / (abar * self.std**2 + 1 - abar)


def test_on_all_levels_of_the_chain_monai_gives_the_images_that_ours_gives_from_the_same_starts() -> None:
    network = ExactNoise().eval()
    condition = torch.linspace(-0.5, 0.5, 3).reshape(3, 1, 1, 1).expand(3, 1, 4, 4)
    scheduler = DDIMScheduler(clip_sample=False)
    theirs = MonaiSampling(scheduler, 1000, seed=3)
    ours = SamplingInferer(EpsilonVP(), "ddim", 1000, seed=3)
    expected = ours(condition, network, indices=[4, 7, 9])
    found = theirs(condition, network, [4, 7, 9])
    assert expected.std() > 0.2
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
    assert theirs.evaluations == ours.evaluations == 1000


def test_a_model_of_another_kind_or_chain_is_refused() -> None:
    check_chain(EpsilonVP(), DDIMScheduler())
    for other in (EDM(), EpsilonVP(torch.linspace(1e-4, 0.03, 1000))):
        with pytest.raises(ValueError, match="train a bundle with EpsilonVP"):
            check_chain(other, DDIMScheduler())
