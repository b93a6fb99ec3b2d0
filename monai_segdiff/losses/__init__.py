"""Training objectives. Engines put them to use, so they lie one layer below."""

from __future__ import annotations

from monai_segdiff.losses.autoencoder import AutoencoderLoss, kl_divergence

__all__ = ["AutoencoderLoss", "kl_divergence"]
