"""From monai-generative 0.2.3 to MONAI: weights and configuration files."""

from __future__ import annotations

from monai_segdiff.conversion.checkpoint import FoundWeights, find_weights, read_checkpoint
from monai_segdiff.conversion.classes import CLASSES, NewClass, convert_options
from monai_segdiff.conversion.config import ConvertedConfig, convert_config
from monai_segdiff.conversion.fit import fitting_network
from monai_segdiff.conversion.weights import NETWORKS, ConvertedWeights, convert_weights, network_of

__all__ = [
    "CLASSES",
    "NETWORKS",
    "ConvertedConfig",
    "ConvertedWeights",
    "FoundWeights",
    "NewClass",
    "convert_config",
    "convert_options",
    "convert_weights",
    "find_weights",
    "fitting_network",
    "network_of",
    "read_checkpoint",
]
