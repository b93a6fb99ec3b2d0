"""Networks under one call, ``network(x, timesteps, condition=None)``, and their weights."""

from __future__ import annotations

from monai_segdiff.networks.cards import open_card, read_card, save_weights
from monai_segdiff.networks.finding_unet import FindingEmbedding, FindingUNet
from monai_segdiff.networks.latent_space import LatentSpace
from monai_segdiff.networks.mask_concat import MaskConcatUNet
from monai_segdiff.networks.mask_control import MaskControlNet
from monai_segdiff.networks.mask_spade import MaskSPADEUNet
from monai_segdiff.networks.ncsnpp import NCSNpp
from monai_segdiff.networks.one_tensor import OneTensorNetwork
from monai_segdiff.networks.unconditional import UnconditionalUNet
from monai_segdiff.networks.weights import load_autoencoder, load_weights, weights_hash

__all__ = [
    "FindingEmbedding",
    "FindingUNet",
    "LatentSpace",
    "MaskConcatUNet",
    "MaskControlNet",
    "MaskSPADEUNet",
    "NCSNpp",
    "OneTensorNetwork",
    "UnconditionalUNet",
    "load_autoencoder",
    "load_weights",
    "open_card",
    "read_card",
    "save_weights",
    "weights_hash",
]
