"""Paired synthetic data sets from label maps."""

from __future__ import annotations

from monai_segdiff.generation.generate import generate_dataset
from monai_segdiff.generation.generator import TrainedGenerator, load_generator
from monai_segdiff.generation.manifest import Manifest
from monai_segdiff.generation.masks import collect_masks
from monai_segdiff.generation.variants import generate_variants, load_variants

__all__ = [
    "Manifest",
    "TrainedGenerator",
    "collect_masks",
    "generate_dataset",
    "generate_variants",
    "load_generator",
    "load_variants",
]
