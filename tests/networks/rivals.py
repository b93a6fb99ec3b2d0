"""What the tests of networks with other ways to condition have in common."""

from __future__ import annotations

import torch
from torch import nn

from monai_segdiff.diffusion import EDM
from monai_segdiff.inferers import MaskGuidance, SamplingInferer
from monai_segdiff.transforms import EncodeMask

OPTIONS = {"channels": (8, 8), "attention_levels": (False, True), "num_res_blocks": 1, "norm_num_groups": 4}
BAD_SHAPES = [
    ((2, 2, 8, 8), None, "needs a condition of 3 channels and got none"),
    ((2, 2, 8, 8), (2, 4, 8, 8), r"condition of shape \(2, 3, 8, 8\), got \(2, 4, 8, 8\)"),
    ((2, 2, 8, 8), (2, 3, 8, 4), r"condition of shape \(2, 3, 8, 8\), got \(2, 3, 8, 4\)"),
    ((2, 2, 8, 9), (2, 3, 8, 9), r"multiple of 2.*got \(8, 9\): pad or resize"),
    ((2, 1, 8, 8), (2, 3, 8, 8), r"takes 2D images of shape \(B, 2, \*spatial\), got \(2, 1, 8, 8\)"),
]


def with_drawn_weights(network: nn.Module, std: float = 0.1) -> nn.Module:
    """The network with all weights drawn, the zero convolutions and the frozen weights, too."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=std, generator=generator)
    return network


def inputs(batch: int = 2, spatial: tuple[int, ...] = (8, 8)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image with 2 channels, time steps, condition with 3 channels."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 2, *spatial, generator=generator)
    condition = torch.randn(batch, 3, *spatial, generator=generator)
    return x, torch.linspace(-1.5, 1.1, batch), condition


def check_export(network: nn.Module, spatial: tuple[int, ...]) -> None:
    """An exported network gives what the network gives, for any batch size."""
    batch = torch.export.Dim("batch", min=1, max=64)
    x, timesteps, condition = inputs(3, spatial)
    exported = torch.export.export(
        network.eval(),
        (x, timesteps),
        {"condition": condition},
        dynamic_shapes={"x": {0: batch}, "timesteps": {0: batch}, "condition": {0: batch}},
    )
    for size in (1, 3, 5):
        x, timesteps, condition = inputs(size, spatial)
        result = exported.module()(x, timesteps, condition=condition)
        torch.testing.assert_close(result, network(x, timesteps, condition), atol=1e-6, rtol=1e-5)


def check_guidance(network: nn.Module, encoder: EncodeMask) -> None:
    """Guided sampling of a network for one channel equals D_null + w (D_cond - D_null), each evaluated on its own."""
    parameterization, weight = EDM(), 2.5
    labels = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    labels[0, 0, 2:5], labels[1, 0, :, 3:] = 1, 2
    condition = torch.stack([encoder(label) for label in labels])
    null = encoder.null_condition((8, 8)).expand_as(condition)
    inferer = SamplingInferer(
        parameterization, "ddim", num_steps=1, guidance=MaskGuidance(weight, encoder.null_condition, 0.1)
    )
    guided = inferer(condition, network, indices=[0, 1])
    # One DDIM step goes to the denoised image; the same noise without guidance gives either side.
    plain = SamplingInferer(parameterization, "ddim", num_steps=1)
    given, unknown = plain(condition, network, indices=[0, 1]), plain(null, network, indices=[0, 1])
    assert float((given - unknown).abs().max()) > 1e-4
    torch.testing.assert_close(guided, unknown + weight * (given - unknown), atol=1e-4, rtol=1e-4)
