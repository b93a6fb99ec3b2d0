"""A U-Net that takes findings, or any other prompt, by cross-attention."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.nets import DiffusionModelUNet
from torch import nn

from monai_segdiff.networks.conditions import checked_image, plain_tensor

__all__ = ["FindingEmbedding", "FindingUNet"]

_SPECIAL_TOKENS = 2  # 0: unknown, the null token; 1: nothing found


class FindingEmbedding(nn.Module):
    """One learned vector for each token of a finding prompt, and nothing of the tokens' order.

    Tokens are those of :class:`~monai_segdiff.transforms.EncodeFindings`: 0 for unknown, 1 for nothing found, 2 + k for
    the k-th finding. A 0 that fills up a prompt is a token like others, with the vector of the null token, and takes
    its share of the attention: train and sample with prompts of one length.

    Args:
        num_findings: findings of the vocabulary; 0 for data of which none are known.
        context_dim: length of the vectors.

    Raises:
        ValueError: when there is no finding.
    """

    def __init__(self, num_findings: int, context_dim: int) -> None:
        super().__init__()
        if num_findings < 0:
            raise ValueError(f"num_findings must not be negative, got {num_findings}.")
        self.embedding = nn.Embedding(num_findings + _SPECIAL_TOKENS, context_dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Look the vectors up.

        Args:
            tokens: (B, L), long.

        Returns:
            (B, L, context_dim).
        """
        return self.embedding(tokens)


class FindingUNet(nn.Module):
    """MONAI's ``DiffusionModelUNet`` with a prompt as its condition, by cross-attention.

    The prompt's tokens become vectors, to which the pixels of every level with attention, and always those of the
    middle block, attend (Rombach et al. 2022, arXiv 2112.10752, Section 3.3). Attention has no order, so that several
    findings are a set. The call is ``network(x, timesteps, condition=tokens)``, as for every network here.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image, or of its latent.
        out_channels: channels of the output, as a rule the same.
        num_findings: findings of the vocabulary: ids go up to ``num_findings + 1``. None only beside a text encoder
            with a vocabulary of its own, which then refuses what it does not know.
        context_dim: length of the vectors that the prompt becomes.
        text_encoder: ``text_encoder(tokens)`` maps (B, L) long to (B, L', context_dim); a ``FindingEmbedding`` by
            default. It is part of the network: its weights are trained and saved with it, unless they are frozen.
        **unet_options: everything else that ``DiffusionModelUNet`` takes.

    Raises:
        ValueError: where there is neither a vocabulary nor a text encoder, or options contradict the prompt.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        num_findings: int | None,
        context_dim: int = 64,
        text_encoder: nn.Module | None = None,
        **unet_options: Any,
    ) -> None:
        super().__init__()
        if unet_options.pop("cross_attention_dim", context_dim) != context_dim:
            raise ValueError(f"cross_attention_dim must equal context_dim, {context_dim}; leave it out.")
        if not unet_options.pop("with_conditioning", True):
            raise ValueError("with_conditioning cannot be off, as the prompt enters by it; leave it out.")
        if text_encoder is None:
            if num_findings is None:
                raise ValueError("give num_findings, or a text encoder with a vocabulary of its own.")
            text_encoder = FindingEmbedding(num_findings, context_dim)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_findings = num_findings
        self.context_dim = context_dim
        self.text_encoder = text_encoder
        # Levels without attention have no cross-attention either, but MONAI's middle block always has: whatever the
        # levels are, the prompt gets in.
        self.unet = DiffusionModelUNet(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            with_conditioning=True,
            cross_attention_dim=context_dim,
            **unet_options,
        )
        self.size_multiple = 2 ** (len(self.unet.block_out_channels) - 1)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """Run the network.

        Args:
            x: the scaled noisy image, (B, in_channels, *spatial); every side a multiple of ``size_multiple``.
            timesteps: (B,), whatever the parameterization hands to the network.
            condition: the prompt's token ids, (B, L), floating point or integers; None for a prompt of one null token,
                0, which says the same as one of many.

        Returns:
            A plain tensor (B, out_channels, *spatial).

        Raises:
            ValueError: where a shape does not fit, or an id is not one of the vocabulary.
        """
        x = checked_image(x, self.spatial_dims, self.in_channels, self.size_multiple)
        context = self.text_encoder(self._tokens(x, condition))
        if context.ndim != 3 or context.shape[0] != x.shape[0] or context.shape[2] != self.context_dim:
            raise ValueError(
                f"the text encoder must give (B, tokens, {self.context_dim}) for {x.shape[0]} prompts, "
                f"but gave {tuple(context.shape)}."
            )
        return self.unet(x, plain_tensor(timesteps), context=context.to(x.dtype))

    def _tokens(self, x: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        if condition is None:
            return torch.zeros((x.shape[0], 1), dtype=torch.long, device=x.device)
        ids = plain_tensor(condition)
        if ids.ndim != 2 or ids.shape[0] != x.shape[0] or ids.shape[1] == 0:
            raise ValueError(f"expected prompts of token ids, ({x.shape[0]}, L), got {tuple(ids.shape)}.")
        tokens = ids.to(x.device, torch.long)
        # The graph of a compiled or exported network cannot branch on values.
        if not torch.compiler.is_compiling():
            self._check_ids(ids.to(x.device), tokens)
        return tokens

    def _check_ids(self, ids: torch.Tensor, tokens: torch.Tensor) -> None:
        wrong = (ids != tokens) | (tokens < 0)
        if self.num_findings is not None:
            wrong = wrong | (tokens >= self.num_findings + _SPECIAL_TOKENS)
        if bool(wrong.any()):
            sample = int(wrong.any(dim=1).nonzero()[0, 0])
            limit = "" if self.num_findings is None else f" up to {self.num_findings + _SPECIAL_TOKENS - 1}"
            raise ValueError(
                f"the prompt of sample {sample} holds {ids[sample].tolist()}, but token ids are whole numbers from 0"
                f"{limit}: encode it with the vocabulary that the network was made for."
            )
