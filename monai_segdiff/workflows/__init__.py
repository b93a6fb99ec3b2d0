"""Training, and what needs generation and evaluation together: the demo, a segmenter as judge, variants compared."""

from __future__ import annotations

from monai_segdiff.workflows.accept_by_dice import accept_by_dice
from monai_segdiff.workflows.compare_variants import compare_variants, generate_variants, load_variants
from monai_segdiff.workflows.demo import run_demo
from monai_segdiff.workflows.train import train_bundle

__all__ = ["accept_by_dice", "compare_variants", "generate_variants", "load_variants", "run_demo", "train_bundle"]
