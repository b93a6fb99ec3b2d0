"""The score network NCSN++ of Song et al. 2021, in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from monai_segdiff.networks.conditions import check_condition_channels, checked_image, concat_condition, plain_tensor
from monai_segdiff.networks.fir import fir_downsample
from monai_segdiff.networks.ncsnpp_blocks import (
    AttentionBlock,
    Float32Conv2d,
    FourierEmbedding,
    ResidualBlock,
    conv3x3,
    group_norm,
    merge,
)

__all__ = ["NCSNpp"]


class NCSNpp(nn.Module):
    """NCSN++ for 2D images: a U-Net of BigGAN residual blocks for noise levels over many orders of magnitude.

    Halving and doubling happen inside residual blocks, with the filter (1, 3, 3, 1). Every sum of two branches is
    divided by sqrt(2). The noise level enters every residual block, as random Fourier features. The input enters every
    level: what the convolutions make of a level is joined by the filtered and halved input of the level above (residual
    progressive input), and the condition is part of that input. There is attention in the middle, and at the levels
    chosen.

    The output is the plain answer of the last convolution, which starts at zero: sigma * score for `ScoreVE`. The
    image is taken as it comes, at any noise level. Under autocast the Fourier features and whatever touches the
    image itself, first and last convolution included, stay in float32: bfloat16 has 8 bits, which is less than noise of
    0.01 on an image of 1 needs.

    At the published setting for knee radiographs (arXiv 2404.03541; 256x256, all defaults here and
    ``condition_channels=1``) there are 24,938,049 parameters.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the output, as a rule those of the image.
        condition_channels: channels of the encoded mask, concatenated to the image; 0 for a network without condition.
        channels: channels of each level; every level but the first has half the size of the one before.
        num_res_blocks: residual blocks of each level on the way down; there is one more on the way up.
        attention_levels: which levels have attention, one flag for each.
        norm_num_groups: groups of the group normalizations; has to divide all channels.
        num_head_channels: channels of one attention head; one head without it.
        fourier_scale: standard deviation of the random frequencies, in periods per unit of ``timesteps``.
        noise_embedding: whether the noise level enters; without it the network is a plain U-Net, for regression.
        progressive_input: whether the input enters every level.
        dropout: share of the values dropped within residual blocks.

    Raises:
        ValueError: where the settings make no network.

    Source: Song et al. 2021 (arXiv 2011.13456), Section 4.1 and Appendix H.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        condition_channels: int = 0,
        channels: Sequence[int] = (64, 128, 128, 128, 128, 256),
        num_res_blocks: int = 2,
        attention_levels: Sequence[bool] = (False, False, False, False, True, False),
        norm_num_groups: int = 32,
        num_head_channels: int | None = None,
        fourier_scale: float = 16.0,
        noise_embedding: bool = True,
        progressive_input: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not channels:
            raise ValueError("channels needs at least one level.")
        counts = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "num_res_blocks": num_res_blocks,
            "norm_num_groups": norm_num_groups,
            "num_head_channels": channels[-1] if num_head_channels is None else num_head_channels,
        }
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}.")
        check_condition_channels(condition_channels)
        _check_widths(channels, attention_levels, norm_num_groups, num_head_channels)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.condition_channels = condition_channels
        self.size_multiple = 2 ** (len(channels) - 1)
        embedding_channels = 4 * channels[0] if noise_embedding else None
        self.embedding = FourierEmbedding(channels[0], 4 * channels[0], fourier_scale) if noise_embedding else None

        def block(before: int, after: int, resample: str | None = None) -> ResidualBlock:
            return ResidualBlock(before, after, embedding_channels, norm_num_groups, dropout, resample)

        def attention(level: int) -> nn.Module:
            if not attention_levels[level]:
                return nn.Identity()
            return AttentionBlock(channels[level], norm_num_groups, num_head_channels)

        now, path, skips = channels[0], in_channels + condition_channels, [channels[0]]
        self.conv_in = conv3x3(path, now, Float32Conv2d)
        self.down = nn.ModuleList()
        for level, width in enumerate(channels):
            halving = input_conv = None
            if level > 0:
                halving = block(now, now, "down")
                if progressive_input:
                    input_conv = conv3x3(path, now, Float32Conv2d if level == 1 else nn.Conv2d)
                    path = now
                skips.append(now)
            widths = [now] + [width] * num_res_blocks
            blocks = [block(*pair) for pair in pairwise(widths)]
            self.down.append(_DownLevel(halving, input_conv, blocks, [attention(level) for _ in blocks]))
            now = width
            skips += widths[1:]
        self.middle = _Middle(block(now, now), AttentionBlock(now, norm_num_groups, num_head_channels), block(now, now))
        self.up = nn.ModuleList()
        for level in reversed(range(len(channels))):
            blocks = []
            for _ in range(num_res_blocks + 1):
                blocks.append(block(now + skips.pop(), channels[level]))
                now = channels[level]
            self.up.append(_UpLevel(blocks, attention(level), block(now, now, "up") if level > 0 else None))
        self.norm_out = group_norm(norm_num_groups, now)
        self.conv_out = conv3x3(now, out_channels, Float32Conv2d)
        nn.init.zeros_(self.conv_out.weight)

    def forward(
        self, x: torch.Tensor, timesteps: torch.Tensor | None = None, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Run the network.

        Args:
            x: the noisy image, (B, in_channels, H, W); every side a multiple of ``size_multiple``.
            timesteps: (B,), whatever the parameterization hands to the network, of the size of ln(sigma); not used
                without noise embedding.
            condition: the encoded mask, (B, condition_channels, H, W); None only where condition_channels is 0.

        Returns:
            A plain tensor (B, out_channels, H, W).

        Raises:
            ValueError: where a shape does not fit, or condition or timesteps are missing.
        """
        x = checked_image(x, 2, self.in_channels, self.size_multiple)
        path = concat_condition(x, condition, self.condition_channels)
        embedding = self._embed(timesteps, x.shape[0])
        h = self.conv_in(path)
        skips = [h]
        for level in self.down:
            h, path = level(h, path, embedding, skips)
        h = self.middle(h, embedding)
        for level in self.up:
            h = level(h, embedding, skips)
        return self.conv_out(functional.silu(self.norm_out(h)))

    def _embed(self, timesteps: torch.Tensor | None, batch: int) -> torch.Tensor | None:
        if self.embedding is None:
            return None
        if timesteps is None:
            raise ValueError("this network needs timesteps, as ln(sigma), and got none (noise_embedding is True).")
        if tuple(timesteps.shape) != (batch,):
            raise ValueError(f"{batch} images need timesteps of shape ({batch},), got {tuple(timesteps.shape)}.")
        return self.embedding(plain_tensor(timesteps))


class _DownLevel(nn.Module):
    """One level on the way down; every tensor that the way up needs is appended to the skips."""

    def __init__(
        self,
        halving: ResidualBlock | None,
        input_conv: nn.Conv2d | None,
        blocks: list[ResidualBlock],
        attentions: list[nn.Module],
    ) -> None:
        super().__init__()
        self.halving = halving
        self.input_conv = input_conv
        self.blocks = nn.ModuleList(blocks)
        self.attentions = nn.ModuleList(attentions)

    def forward(
        self, h: torch.Tensor, path: torch.Tensor, embedding: torch.Tensor | None, skips: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.halving is not None:
            h = self.halving(h, embedding)
            if self.input_conv is not None:
                # The path starts as the image itself, and is itself a residual network (arXiv 1912.04958, Figure 7).
                h = path = merge(self.input_conv(fir_downsample(path)), h)
            skips.append(h)
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            h = attention(block(h, embedding))
            skips.append(h)
        return h, path


class _Middle(nn.Module):
    def __init__(self, first: ResidualBlock, attention: AttentionBlock, last: ResidualBlock) -> None:
        super().__init__()
        self.first, self.attention, self.last = first, attention, last

    def forward(self, h: torch.Tensor, embedding: torch.Tensor | None) -> torch.Tensor:
        return self.last(self.attention(self.first(h, embedding)), embedding)


class _UpLevel(nn.Module):
    """One level on the way up; takes its skips from the end of the list."""

    def __init__(self, blocks: list[ResidualBlock], attention: nn.Module, doubling: ResidualBlock | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.attention = attention
        self.doubling = doubling

    def forward(self, h: torch.Tensor, embedding: torch.Tensor | None, skips: list[torch.Tensor]) -> torch.Tensor:
        for block in self.blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), embedding)
        h = self.attention(h)
        return h if self.doubling is None else self.doubling(h, embedding)


def _check_widths(
    channels: Sequence[int], attention_levels: Sequence[bool], norm_num_groups: int, num_head_channels: int | None
) -> None:
    if len(attention_levels) != len(channels):
        raise ValueError(f"attention_levels needs one flag for each of {len(channels)} levels, got {attention_levels}.")
    if any(width % norm_num_groups for width in channels):
        raise ValueError(f"norm_num_groups={norm_num_groups} does not divide all of channels={tuple(channels)}.")
    attended = {width for width, wanted in zip(channels, attention_levels, strict=True) if wanted} | {channels[-1]}
    if num_head_channels is not None and any(width % num_head_channels for width in attended):
        raise ValueError(
            f"num_head_channels={num_head_channels} does not divide the channels of the levels with attention and of "
            f"the middle, {sorted(attended)}."
        )
